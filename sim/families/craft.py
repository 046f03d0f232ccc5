"""On water, under water, in the air and in space; fronts towards -y."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import in_space, spline
from sim.solids import (
    bar,
    box,
    cylinder,
    extrude,
    lathe,
    slab,
    superellipsoid,
    tube,
)


def airplane(rng: Rng) -> Parts:
    u = rng.uniform
    length, radius, span, sweep_back = 4.0, u(0.2, 0.3), u(3.4, 4.6), u(0.1, 1.0)
    places = np.array([0, 0.03, 0.1, 0.22, 0.7, 0.88, 1.0])
    radii = radius * np.array([0.05, 0.45, 0.8, 1, 1, 0.6, 0.15])
    lift = radius * np.array([-0.2, -0.12, 0, 0, 0, 0.25, 0.55])
    path = np.stack([0 * places, (places - 0.5) * length, lift], axis=1)
    hull = tube(spline(path, 3), np.interp(np.linspace(0, 1, 19), np.linspace(0, 1, 7), radii), 18)
    root, tip = u(0.7, 1.0), u(0.25, 0.5)

    def wing(reach: float, chord: float, end: float, back: float, rise: float) -> Solid:
        section = np.array([[-0.5, 0], [-0.3, 0.06], [0.1, 0.05], [0.5, 0], [0.1, -0.03], [-0.3, -0.03]])
        inner = in_space(section * [chord, chord], "yz", 0.0)
        outer = np.add(in_space(section * [end, end], "yz", reach), [0, back, rise])
        return loft(np.stack([inner, outer]))

    high = rng.random() < 0.35
    main = wing(span / 2, root, tip, sweep_back, u(0.05, 0.3)).at(0, -0.1, radius * (0.8 if high else -0.5)).both("x")
    tail = wing(span * 0.19, root * 0.6, tip * 0.6, sweep_back * 0.5, 0.02).at(0, length * 0.44, radius * 0.4).both("x")
    fin_shape = [
        [0.3 * length, 0.5 * radius],
        [0.47 * length, 0.4 * radius],
        [0.51 * length, radius + u(0.5, 0.75)],
        [0.44 * length, radius + 0.6],
    ]
    fin = extrude(fin_shape, 0.06).sideways()
    parts: Parts = [("hull", hull), ("wing", main), ("wing", tail), ("wing", fin)]
    if rng.random() < 0.5:
        spinner = lathe([[0.09, 0], [0.06, 0.12], [0, 0.18]], 16).turned(x=90).at(0, -length / 2 + 0.06, -0.03)
        blade = superellipsoid(0.05, 0.015, u(0.35, 0.5), sides=10, rings=8).at(z=0.36).turned(y=u(0, 90))
        blades = join(
            [blade, blade.turned(y=180), *([blade.turned(y=90), blade.turned(y=270)] if rng.random() < 0.4 else [])]
        )
        parts += [("engine", spinner), ("engine", blades.at(0, -length / 2 - 0.06, -0.03))]
    else:
        pod = lathe(
            [[0.02, -0.35], [0.09, -0.3], [0.13, 0.1], [0.12, 0.3], [0.08, 0.28], [0.07, 0.1], [0, 0.1]], 16
        ).turned(x=90)
        parts.append(
            (
                "engine",
                pod.at(span * 0.2, 0.2 * sweep_back - 0.2, -radius * 0.9 if not high else radius * 0.4).both("x"),
            )
        )
    cockpit = superellipsoid(radius * 0.6, 0.28, radius * 0.5).at(0, -length * 0.33, radius * 0.72)
    return [*parts, ("glass", cockpit)]


def sailboat(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, mast = 3.0, u(0.75, 1.05), u(3.0, 4.0)
    hull = hull_of_boat(length, width, u(0.4, 0.55))
    deck = box(width * 0.5, length * 0.3, 0.22, bevel=0.06).at(0, 0.15, 0.12)
    foot = -0.25
    pole = join([bar([0, foot, 0], [0, foot, mast], 0.035, 0.022), bar([0, foot, 0.5], [0, foot + 1.45, 0.45], 0.028)])

    def sail(corners: list[list[float]], belly: float) -> Solid:
        a, b, c = (np.array(p) for p in corners)
        s, t = np.linspace(0, 1, 8)[:, None, None], np.linspace(0, 1, 6)[None, :, None]
        grid = (1 - s) * ((1 - t) * a + t * b) + s * c
        bulge = belly * np.sin(np.pi * t) * (1 - s) ** 0.7
        grid = grid + np.concatenate([bulge, 0 * bulge, 0 * bulge], axis=2)
        surface = np.stack([grid[..., 1], grid[..., 2], grid[..., 0]], axis=2)  # thickness along x
        return slab(surface, 0.015).sideways()

    main = sail([[0, foot + 0.05, 0.6], [0, foot + 1.4, 0.55], [0, foot + 0.05, mast * 0.96]], u(0.1, 0.25))
    parts: Parts = [("hull", hull), ("deck", deck), ("mast", pole), ("sail", main)]
    if rng.random() < 0.8:
        jib = sail(
            [[0, foot - 0.08, 0.5], [0, -length / 2 + 0.1, 0.35], [0, foot - 0.05, mast * u(0.7, 0.9)]], u(0.1, 0.25)
        )
        parts.append(("sail", jib))
    return parts


def hull_of_boat(length: float, width: float, depth: float, fullness: float = 0.5, transom: float = 0.7) -> Solid:
    """Open-topped shape closed by a deck: sections along y from bow (-y) to stern."""
    places = np.linspace(0, 1, 12)
    beams = width / 2 * np.minimum(1.0, np.sin(np.pi * np.clip(places * 0.62, 0.015, 1)) ** 0.8)
    beams *= np.where(places > 0.6, 1 - (1 - transom) * ((places - 0.6) / 0.4) ** 2, 1)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 9)
    sections = []
    for place, half in zip(places, beams, strict=True):
        sheer = 0.25 * depth * (2 * place - 1.1) ** 2
        keel = -depth * min(1.0, 0.35 + 1.6 * place)
        x = half * np.sin(angles)
        z = sheer + (keel - sheer) * np.cos(angles) ** (1 - fullness * 0.6)
        sections.append(np.stack([x, np.full(9, (place - 0.5) * length), z], axis=1))
    return loft(np.array(sections))


def rowing_boat(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, depth = 2.6, u(0.8, 1.05), u(0.35, 0.5)
    hull = hull_of_boat(length, width, depth, fullness=u(0.3, 0.7), transom=u(0.5, 0.9))
    rim_x = np.minimum(1.0, np.sin(np.pi * np.clip(np.linspace(0, 1, 12) * 0.62, 0.015, 1)) ** 0.8) * width / 2 * 0.97
    y = (np.linspace(0, 1, 12) - 0.5) * length
    sheer = 0.25 * depth * (2 * np.linspace(0, 1, 12) - 1.1) ** 2 + 0.1
    rail = tube(np.stack([rim_x, y, sheer], axis=1), 0.05, 6).both("x")
    side = box(width * 0.9, 0.2, 0.04).at(z=0.08)
    seats = join([side.at(y=place) for place in np.linspace(-0.35, 0.8, rng.integers(2, 4))])
    oar = join(
        [
            bar([0.2, 0, 0.22], [1.35, u(-0.3, 0.5), -0.12], 0.025),
            superellipsoid(0.2, 0.08, 0.02).turned(y=16).at(1.45, 0.1, -0.14),
        ]
    )
    return [("hull", hull), ("rail", rail), ("rail", seats), ("oar", oar.both("x"))]


def helicopter(rng: Rng) -> Parts:
    u = rng.uniform
    cabin = superellipsoid(u(0.5, 0.62), u(0.85, 1.05), 0.6, upright=0.85).at(z=1.0)
    glass = superellipsoid(0.46, 0.55, 0.45).at(0, -0.5, 1.08)
    path = np.array([[0, 0.6, 1.15], [0, 1.6, 1.25], [0, 2.7, 1.35]])
    boom = tube(path, np.array([0.28, 0.14, 0.07]), 12)
    fin = extrude([[2.4, 1.2], [2.7, 1.2], [2.9, 1.85], [2.7, 1.85]], 0.05).sideways()
    plane = box(0.9, 0.25, 0.04).at(0, 2.2, 1.3)
    blades, reach = int(rng.integers(2, 6)), u(1.6, 2.2)
    blade = box(reach, 0.16, 0.03).at(reach / 2, 0, 0)
    rotor = blade.ring(blades, u(0, 90)).at(0, 0.1, 1.85)
    mast = bar([0, 0.1, 1.4], [0, 0.1, 1.92], 0.07)
    tail = join([box(0.02, 0.09, 0.7), box(0.02, 0.7, 0.09)]).turned(x=u(0, 90)).at(0.1, 2.72, 1.4)
    skid = tube(spline([[0.5, -0.95, 0.2], [0.5, -0.8, 0.05], [0.5, 0.7, 0.05]], 4), 0.04).both("x")
    struts = join([bar([0.5, y, 0.05], [0.25, y, 0.6], 0.03).both("x") for y in (-0.45, 0.4)])
    return [
        ("body", join([cabin, boom, fin, plane])),
        ("glass", glass),
        ("rotor", join([rotor, tail, mast])),
        ("skid", join([skid, struts])),
    ]


def rocket(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall, fins = u(0.22, 0.42), 2.0, int(rng.integers(3, 6))
    profile = spline(
        [[radius * 0.6, 0], [radius, 0.5], [radius * u(0.9, 1), tall * 0.6], [radius * 0.55, tall * 0.85]], 5
    )
    body = lathe(np.concatenate([[[0, 0]], profile]))
    nose = lathe(spline([[radius * 0.56, tall * 0.845], [radius * 0.3, tall * 0.95], [0, tall * u(1.03, 1.15)]], 4))
    fin = (
        extrude([[radius * 0.5, 0.6], [radius * 0.6, 0.05], [radius + u(0.25, 0.45), -0.25], [radius + 0.4, 0.1]], 0.05)
        .turned(x=90)
        .ring(fins)
    )
    nozzle = lathe([[radius * 0.3, 0.02], [radius * 0.55, -0.2], [radius * 0.45, -0.2], [0, 0]])
    window = join(
        [
            cylinder(0.1, 0.06, sides=18).turned(x=90).at(0, -radius * 0.97, z)
            for z in np.linspace(0.7, 1.3, rng.integers(1, 4))
        ]
    )
    return [("body", body), ("trim", nose), ("trim", fin), ("nozzle", nozzle), ("window", window)]


def hot_air_balloon(rng: Rng) -> Parts:
    u = rng.uniform
    radius, gores = u(0.8, 1.0), int(rng.integers(8, 15))
    profile = spline([[0.18, -1.15], [radius * 0.75, -0.45], [radius, 0.2], [radius * 0.7, 0.8], [0.0, 1.0]], 5)
    envelope = lathe(profile, gores * 4)
    angles = np.arctan2(envelope.vertices[:, 1], envelope.vertices[:, 0])
    bulge = 1 + 0.035 * np.abs(np.sin(gores / 2 * angles))
    envelope = envelope.warped(lambda v: v * np.stack([bulge, bulge, np.ones_like(bulge)], axis=1))
    band = lathe([[radius * 0.99, 0.02], [radius * 1.06, 0.2], [radius * 0.97, 0.4]], gores * 4)
    basket = box(0.3, 0.3, 0.26, bevel=0.03).at(z=-1.75)
    ropes = bar([0.13, 0.13, -1.62], [0.14, 0.14, -1.12], 0.012, sides=6).both("x").both("y")
    return [("cloth", envelope), ("band", band), ("basket", basket), ("rope", ropes)]


def submarine(rng: Rng) -> Parts:
    u = rng.uniform
    radius = u(0.4, 0.55)
    hull = superellipsoid(radius, 1.6, radius, upright=0.8, square=0.75)
    tower = superellipsoid(0.2, u(0.35, 0.5), u(0.35, 0.5), upright=0.4).at(0, -0.25, radius)
    scope = join(
        [
            bar([0, -0.2, radius], [0, -0.2, radius + 0.75], 0.03),
            bar([0, -0.2, radius + 0.75], [0, -0.35, radius + 0.75], 0.035),
        ]
    )
    fins = box(u(0.6, 0.8), 0.25, 0.05).at(0.3, 1.35, 0).both("x")
    rudder = box(0.05, 0.25, 1.0).at(0, 1.4, 0)
    blade = superellipsoid(0.07, 0.02, 0.18).at(z=0.18).turned(y=20)
    screw = join([blade.turned(y=a) for a in range(0, 360, 90)]).at(0, 1.7, 0)
    ports = (
        cylinder(0.09, 0.06, sides=16)
        .sideways()
        .row(int(rng.integers(3, 6)), (0, 0.35, 0))
        .at(radius * 0.97, -0.7, 0.08)
        .both("x")
    )
    return [
        ("hull", join([hull, tower])),
        ("fin", join([fins, rudder])),
        ("metal", join([scope, screw])),
        ("port", ports),
    ]


PAINT = "plastic:bright|metal:bright|plastic:white,dark"
CRAFT: tuple[Recipe, ...] = (
    recipe(
        airplane,
        hull="metal:white,silver|plastic:bright,white",
        wing="metal:white,silver|plastic:bright,white",
        engine="metal",
        glass="glass:dark|plastic:black",
    ),
    recipe(sailboat, hull="plastic:white,blue,red|wood", deck="wood", mast="metal|wood", sail="fabric:white,pale,red"),
    recipe(rowing_boat, hull="wood|plastic:green,blue,red", rail="wood", oar="wood"),
    recipe(helicopter, body=PAINT, glass="glass:dark|plastic:black", rotor="metal:dark|plastic:dark", skid="metal"),
    recipe(
        rocket,
        body="metal:white,silver|plastic:white",
        trim="plastic:red,blue,orange|metal:red",
        nozzle="metal:dark",
        window="glass:blue|plastic:black",
    ),
    recipe(hot_air_balloon, cloth="fabric:bright", band="fabric:bright", basket="wood:tan", rope="fabric:dark"),
    recipe(
        submarine,
        hull="metal:yellow,grey,dark",
        fin="metal:red,grey",
        metal="metal:brass,dark",
        port="glass:blue|plastic:black",
    ),
)
