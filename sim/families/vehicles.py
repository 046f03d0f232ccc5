"""Vehicles: on the road, on rails, on water, in the air and in space. Fronts towards -y."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import in_space, rectangle, spline
from sim.solids import bar, beam, box, cylinder, extrude, lathe, slab, superellipsoid, torus, tube


def tyre(radius: float, width: float) -> Solid:
    """Tyre with its axis along x."""
    inner = radius * 0.62
    profile = [[inner, -width / 2], [radius * 0.93, -width / 2], [radius, -width * 0.3], [radius, width * 0.3]]
    return lathe([*profile, [radius * 0.93, width / 2], [inner, width / 2]], 24).sideways()


def hub(radius: float, width: float) -> Solid:
    """What fills the tyre of the same size."""
    inner = radius * 0.64
    return lathe(
        [
            [0, -width / 2],
            [inner * 0.3, -0.52 * width],
            [inner, -0.42 * width],
            [inner, 0.42 * width],
            [inner * 0.3, 0.52 * width],
            [0, width / 2],
        ],
        16,
    ).sideways()


def wheels(radius: float, width: float, track: float, places: list[float]) -> Parts:
    """Pairs of wheels at x = +- track / 2 and the given places along y, standing on z = 0."""
    rubber = join([tyre(radius, width).at(track / 2, y, radius) for y in places])
    metal = join([hub(radius, width).at(track / 2, y, radius) for y in places])
    return [("tyre", rubber.both("x")), ("hub", metal.both("x"))]


def spoked_wheel(radius: float, thick: float, spokes: int, sides: int = 28) -> tuple[Solid, Solid]:
    """Tyre and spokes of a thin wheel with its axis along x, centred on the origin."""
    rim = torus(radius, thick, sides=sides, section=6).sideways()
    rods = bar([0, 0, 0], [radius, 0, 0], thick * 0.25, sides=5).ring(spokes)
    return rim, join([rods, cylinder(radius * 0.09, radius * 0.24, sides=12)]).sideways()


def car(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, low, high = u(3.6, 4.6), u(1.6, 1.8), 0.32, u(0.75, 0.95)
    style = rng.choice(["sedan", "hatchback", "estate", "sports", "pickup"])
    roof = high + (0.42 if style == "sports" else u(0.5, 0.65))
    half = length / 2
    lower = spline(
        [
            [-half, low + 0.1],
            [-half + 0.05, high * 0.78],
            [-half * 0.55, high * 0.95],
            [0, high],
            [half * 0.7, high],
            [half, high * 0.85],
            [half - 0.02, low + 0.1],
        ],
        4,
    )
    outline = np.concatenate([lower, [[half - 0.2, low - 0.05], [-half + 0.2, low - 0.05]]])
    body = extrude(outline[::-1], width, bevel=0.12).sideways()
    front, rear = (
        -half * u(0.35, 0.5),
        {"sedan": 0.62, "hatchback": 0.86, "estate": 0.95, "sports": 0.7, "pickup": 0.12}[style] * half,
    )
    top_front, top_rear = (
        front + u(0.45, 0.75),
        rear - {"sedan": 0.5, "hatchback": 0.3, "estate": 0.12, "sports": 0.8, "pickup": 0.08}[style],
    )
    top_rear = max(top_rear, top_front + 0.3)
    glass = extrude(
        [[rear, high - 0.05], [top_rear, roof], [top_front, roof], [front, high - 0.05]], width * 0.86, bevel=0.09
    )
    panel = extrude(
        [
            [top_rear + 0.03, roof - 0.03],
            [top_rear, roof + 0.03],
            [top_front, roof + 0.03],
            [top_front - 0.03, roof - 0.03],
        ],
        width * 0.84,
        bevel=0.02,
    )
    pillar = beam(
        [width * 0.42, (top_front + top_rear) / 2, high], [width * 0.42, (top_front + top_rear) / 2, roof], 0.06, 0.1
    ).both("x")
    radius = u(0.29, 0.36)
    lights = superellipsoid(0.14, 0.06, 0.08).at(width * 0.34, -half + 0.04, high * 0.72).both("x")
    bumper = box(width * 0.96, 0.16, 0.16, bevel=0.05).at(0, -half + 0.02, low + 0.08).both("y")
    parts: Parts = [("body", body), ("glass", glass.sideways()), ("body", panel.sideways()), ("body", pillar)]
    if style == "pickup":
        bed = join(
            [
                box(0.08, half - rear, 0.25).at(width * 0.46, (half + rear) / 2, high + 0.08).both("x"),
                box(width, 0.08, 0.25).at(0, half - 0.05, high + 0.05),
            ]
        )
        parts.append(("body", bed))
    return [*parts, ("light", lights), ("hub", bumper), *wheels(radius, 0.22, width - 0.15, [-half * 0.6, half * 0.6])]


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


def bicycle(rng: Rng) -> Parts:
    u = rng.uniform
    radius, base = u(0.31, 0.36), u(0.98, 1.1)
    front, rear = np.array([0, -base / 2, radius]), np.array([0, base / 2, radius])
    tyre_part, spokes = spoked_wheel(radius, u(0.016, 0.032), int(rng.integers(8, 15)))
    crank = np.array([0, base * 0.08, radius - 0.04])
    seat = np.array([0, base * 0.2, radius + u(0.45, 0.56)])
    head = np.array([0, -base * 0.34, radius + u(0.42, 0.52)])
    low_head = np.add(head, [0, -0.03, -0.12])
    tubes = [
        (crank, seat),
        (crank, low_head),
        (rear, crank),
        (rear, seat - [0, 0.02, 0.08]),
        (low_head, front),
        (head, low_head),
    ]
    if rng.random() < 0.75:
        tubes.append((seat - [0, 0.02, 0.06], head))
    else:
        tubes.append((np.add(crank, [0, 0.04, 0.18]), head))
    steel = join([bar(a, b, u(0.016, 0.024), sides=8) for a, b in tubes])
    wide = u(0.2, 0.3)
    if rng.random() < 0.5:
        grip = spline(
            [[wide, 0.12, 0.06], [wide * 0.8, 0, 0.08], [0, 0, 0.04], [-wide * 0.8, 0, 0.08], [-wide, 0.12, 0.06]], 4
        )
    else:
        grip = spline(
            [
                [wide, 0, -0.12],
                [wide, -0.12, -0.06],
                [wide, -0.06, 0.03],
                [0, 0, 0.03],
                [-wide, -0.06, 0.03],
                [-wide, -0.12, -0.06],
                [-wide, 0, -0.12],
            ],
            4,
        )
    bars = join([tube(grip, 0.014).at(*head), bar(head, np.add(head, [0, 0, 0.05]), 0.015)])
    saddle = superellipsoid(0.075, 0.14, 0.035, square=0.8).tapered(0.9).at(*(np.add(seat, [0, 0.01, 0.09])))
    post = bar(seat, np.add(seat, [0, 0.01, 0.08]), 0.013)
    pedals = join(
        [
            cylinder(0.09, 0.01, sides=20).sideways().at(0.05, crank[1], crank[2]),
            bar(np.add(crank, [0.06, 0, 0]), np.add(crank, [0.06, -0.05, -0.15]), 0.01),
            bar(crank - [0.06, 0, 0], np.add(crank, [-0.06, 0.05, 0.15]), 0.01),
            box(0.1, 0.07, 0.02).at(0.11, crank[1] - 0.05, crank[2] - 0.15),
            box(0.1, 0.07, 0.02).at(-0.11, crank[1] + 0.05, crank[2] + 0.15),
        ]
    )
    return [
        ("tyre", join([tyre_part.at(*front), tyre_part.at(*rear)])),
        ("spokes", join([spokes.at(*front), spokes.at(*rear)])),
        ("frame", steel),
        ("spokes", bars),
        ("saddle", saddle),
        ("spokes", join([post, pedals])),
    ]


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


def truck(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, cab_h, box_h = u(5.5, 7.5), 2.0, u(1.6, 2.0), u(1.5, 2.3)
    cab_l = u(1.3, 1.7)
    front = -length / 2
    cab = (
        extrude([[cab_l, 0], [cab_l, cab_h], [u(0.15, 0.5), cab_h], [0, cab_h * 0.5], [0, 0]], width * 0.96, bevel=0.12)
        .sideways()
        .at(0, front, 0.6)
    )
    windscreen = box(width * 0.8, 0.5, cab_h * 0.34, bevel=0.05).at(0, front + 0.33, 0.6 + cab_h * 0.72)
    side_window = box(width, 0.6, cab_h * 0.3, bevel=0.05).at(0, front + cab_l * 0.62, 0.6 + cab_h * 0.72)
    load_l = length - cab_l - 0.15
    middle = front + cab_l + 0.15 + load_l / 2
    kind = rng.integers(3)
    if kind == 0:
        load: Solid = box(width, load_l, box_h, bevel=0.04).at(0, middle, 0.75 + box_h / 2)
    elif kind == 1:
        load = cylinder(box_h * 0.48, load_l, sides=28).turned(x=90).at(0, middle, 0.8 + box_h * 0.48)
    else:
        sides = join(
            [
                box(0.1, load_l, 0.7).at(width / 2 - 0.05, middle, 1.1).both("x"),
                box(width, 0.1, 0.7).at(0, middle + load_l / 2 - 0.05, 1.1),
                box(width, load_l, 0.1).at(0, middle, 0.8),
            ]
        )
        heap = superellipsoid(width * 0.42, load_l * 0.42, 0.55, square=0.6).at(0, middle, 1.1)
        load = join([sides, heap])
    chassis = box(width * 0.6, length, 0.25).at(0, 0.0, 0.62)
    places = [front + 0.7, length / 2 - 0.6] + ([length / 2 - 1.65] if length > 6.2 else [])
    return [
        ("cab", cab),
        ("glass", join([windscreen, side_window])),
        ("load", load),
        ("chassis", chassis),
        *wheels(0.48, 0.35, width - 0.2, places),
    ]


def bus(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, height = u(6.5, 9.0), 2.2, u(2.2, 2.6)
    decks = 2 if rng.random() < 0.35 else 1
    height *= 1 + 0.75 * (decks - 1)
    body = box(width, length, height, bevel=0.18).at(0, 0, 0.35 + height / 2)
    windows = []
    count = int(rng.integers(5, 8))
    for deck in range(decks):
        z = 0.35 + (height / decks) * (deck + 0.66)
        for y in np.linspace(-length * 0.38, length * 0.38, count):
            windows.append(box(width * 1.02, length / count * 0.68, height / decks * 0.34, bevel=0.04).at(0, y, z))
        windows.append(box(width * 0.86, 0.3, height / decks * 0.4, bevel=0.04).at(0, -length / 2 + 0.12, z))
    lights = cylinder(0.13, 0.1, sides=14).turned(x=90).at(width * 0.36, -length / 2, 0.75).both("x")
    stripe = box(width * 1.01, length * 0.99, 0.14).at(0, 0, 0.75)
    return [
        ("body", body),
        ("glass", join(windows)),
        ("hub", lights),
        ("stripe", stripe),
        *wheels(0.45, 0.3, width - 0.2, [-length * 0.32, length * 0.28]),
    ]


def locomotive(rng: Rng) -> Parts:
    u = rng.uniform
    length, radius = u(3.4, 4.4), u(0.42, 0.55)
    boiler = cylinder(radius, length * 0.62, sides=28).turned(x=90).at(0, -length * 0.17, 0.75 + radius)
    front = (
        lathe([[radius * 1.03, -0.05], [radius * 1.03, 0.03], [radius * 0.5, 0.1], [0, 0.12]], 28)
        .turned(x=90)
        .at(0, -length * 0.48, 0.75 + radius)
    )
    bands = join(
        [
            torus(radius, 0.025, section=6).turned(x=90).at(0, y, 0.75 + radius)
            for y in np.linspace(-length * 0.4, length * 0.05, 4)
        ]
    )
    cab = box(radius * 2.4, length * 0.24, 1.35, bevel=0.03).at(0, length * 0.27, 1.4)
    roof = cylinder(radius * 1.5, length * 0.3, sides=24).scaled(1, 0.35, 1).turned(x=90).at(0, length * 0.27, 2.05)
    window = box(radius * 2.45, length * 0.12, 0.4).at(0, length * 0.27, 1.65)
    chimney = lathe([[0.12, 0], [0.1, 0.3], [u(0.14, 0.26), 0.6], [0.1, 0.6], [0, 0.4]], 20).at(
        0, -length * 0.4, 0.7 + 2 * radius
    )
    dome = superellipsoid(0.2, 0.2, 0.25).at(0, -length * 0.12, 0.75 + 2 * radius)
    floor = box(radius * 2.2, length * 0.95, 0.15).at(0, 0, 0.7)
    catcher = extrude([[-0.5, 0], [0.5, 0], [0.0, 0.55]], 0.35).at(0, 0, 0).turned(z=180).at(0, -length * 0.5, 0.4)
    big, small = u(0.38, 0.48), 0.25
    rims, rods = [], []
    for y, r in (
        (-length * 0.42, small),
        (-length * 0.28, small),
        (-0.05 * length, big),
        (0.15 * length, big),
        (0.35 * length, big),
    ):
        rim, spokes = spoked_wheel(r, 0.06, 6, sides=18)
        rims.append(rim.at(radius * 0.95, y, r + 0.06))
        rods.append(spokes.at(radius * 0.95, y, r + 0.06))
    rods.append(box(0.06, 0.45 * length, 0.08).at(radius * 1.1, 0.15 * length, big))
    return [
        ("boiler", join([boiler, front, dome])),
        ("trim", join([bands, chimney])),
        ("cab", join([cab, catcher])),
        ("trim", roof),
        ("glass", window),
        ("wheel", floor),
        ("wheel", join(rims + rods).both("x")),
    ]


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


def tractor(rng: Rng) -> Parts:
    u = rng.uniform
    hood = box(0.75, 1.3, 0.6, bevel=0.08).at(0, -0.75, 1.05)
    grille = box(0.5, 0.05, 0.4).at(0, -1.4, 1.05)
    cab = join([bar([0.5, y, 1.0], [0.45, y, 2.1], 0.04).both("x") for y in (-0.1, 0.75)])
    roof = box(1.15, 1.1, 0.1, bevel=0.04).at(0, 0.32, 2.13)
    glass = box(0.9, 0.75, 0.75).at(0, 0.33, 1.65)
    fender = superellipsoid(0.2, 0.75, 0.25, upright=0.6).at(0.7, 0.55, u(1.35, 1.5)).both("x")
    seat = box(0.9, 0.9, 0.5, bevel=0.05).at(0, 0.4, 0.95)
    pipe = bar([0.2, -0.9, 1.3], [0.2, -0.9, u(1.8, 2.2)], 0.05)
    big, small = u(0.65, 0.78), u(0.34, 0.44)
    rear, front = wheels(big, 0.4, 1.5, [0.6]), wheels(small, 0.25, 1.2, [-1.05])
    return [
        ("body", join([hood, fender, seat, roof])),
        ("pipe", join([grille, cab, pipe])),
        ("glass", glass),
        *rear,
        *front,
    ]


def scooter(rng: Rng) -> Parts:
    u = rng.uniform
    radius = u(0.1, 0.16)
    wheel = tyre(radius, 0.06)
    deck = box(0.16, u(0.55, 0.7), 0.03, bevel=0.012).at(0, 0.05, radius * 1.05)
    neck, top = [0, -0.36, radius], [0, -0.24, u(0.85, 1.05)]
    stem = join(
        [
            bar(neck, top, 0.02),
            bar([0, -0.26, radius], [0, -0.34, radius * 1.3], 0.03),
            bar([-0.22, *top[1:]], [0.22, *top[1:]], 0.014),
        ]
    )
    grips = bar([0.14, *top[1:]], [0.25, *top[1:]], 0.02).both("x")
    guard = tube(in_space(spline([[0.3, radius * 1.2], [0.42, radius * 2.1], [0.54, radius * 1.3]], 3), "yz"), 0.025)
    tyres = join([wheel.at(0, -0.38, radius), wheel.at(0, 0.46, radius)])
    return [("deck", deck), ("stem", join([stem, guard])), ("grip", grips), ("tyre", tyres)]


def wheelbarrow(rng: Rng) -> Parts:
    u = rng.uniform
    low, high = rectangle(0.4, 0.5, 0.08), rectangle(u(0.65, 0.8), u(0.85, 1.0), 0.1)
    levels = [
        np.column_stack([low, np.full(len(low), 0.35)]),
        np.column_stack([high, np.full(len(high), u(0.65, 0.75))]),
    ]
    inner = [
        np.column_stack([high * 0.95, np.full(len(high), levels[1][0, 2])]),
        np.column_stack([low * 0.92, np.full(len(low), 0.38)]),
    ]
    tray = loft(np.array([*levels, *inner]))
    handle = tube(
        spline([[0.1, -0.75, 0.2], [0.2, -0.2, 0.33], [0.28, 0.5, 0.45], [0.3, 1.05, u(0.5, 0.65)]], 4), 0.025
    )
    grip = bar([0.3, 0.9, 0.56], [0.3, 1.08, 0.6], 0.035)
    leg = tube(spline([[0.26, 0.2, 0.38], [0.28, 0.35, 0.0], [0.25, 0.5, 0.42]], 3), 0.02)
    wheel = join([tyre(0.2, 0.09), hub(0.2, 0.09)]).at(0, -0.75, 0.2)
    return [("tray", tray), ("bar", join([handle, leg]).both("x")), ("grip", grip.both("x")), ("wheel", wheel)]


def skateboard(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, kick = 0.8, u(0.19, 0.24), u(0.05, 0.1)
    y, x = np.linspace(-0.5, 0.5, 15)[:, None], np.linspace(-1, 1, 6)[None, :]
    half = width / 2 * (1 - np.abs(2 * y) ** 8 * 0.7)
    rise = kick * np.clip((np.abs(y) - 0.3) / 0.2, 0, 1) ** 1.6
    deck = slab(np.stack([half * x, length * y + 0 * x, rise + 0.012 * x**2], axis=2), 0.018).at(z=0.11)
    truck_part = join([bar([-0.09, 0, 0.045], [0.09, 0, 0.045], 0.016), box(0.06, 0.07, 0.06).at(z=0.075)])
    wheel = cylinder(u(0.035, 0.05), 0.045, sides=18).sideways()
    pairs = join([wheel.at(0.09, y0, 0.045) for y0 in (-0.24, 0.24)]).both("x")
    return [("deck", deck), ("truck", join([truck_part.at(0, -0.24), truck_part.at(0, 0.24)])), ("wheel", pairs)]


PAINT = "plastic:bright|metal:bright|plastic:white,dark"
VEHICLES: tuple[Recipe, ...] = (
    recipe(car, body=PAINT, glass="glass:dark|plastic:black", tyre="rubber", hub="metal", light="glass:white"),
    recipe(
        airplane,
        hull="metal:white,silver|plastic:bright,white",
        wing="metal:white,silver|plastic:bright,white",
        engine="metal",
        glass="glass:dark|plastic:black",
    ),
    recipe(bicycle, tyre="rubber", spokes="metal", frame="metal:bright|metal:dark", saddle="leather|plastic:black"),
    recipe(sailboat, hull="plastic:white,blue,red|wood", deck="wood", mast="metal|wood", sail="fabric:white,pale,red"),
    recipe(rowing_boat, hull="wood|plastic:green,blue,red", rail="wood", oar="wood"),
    recipe(
        truck,
        cab=PAINT,
        load="metal|plastic:white,any|wood",
        chassis="metal:dark",
        glass="glass:dark|plastic:black",
        tyre="rubber",
        hub="metal",
    ),
    recipe(bus, body=PAINT, glass="glass:dark|plastic:black", stripe="plastic:white,dark", tyre="rubber", hub="metal"),
    recipe(
        locomotive,
        boiler="metal:dark,black|metal:green",
        trim="metal:brass|metal:red,black",
        cab="metal:red,green,black",
        glass="glass:dark|plastic:black",
        wheel="metal:dark|metal:red",
    ),
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
    recipe(
        tractor,
        body="metal:red,green,blue,yellow",
        pipe="metal:dark",
        glass="glass:white,blue",
        tyre="rubber",
        hub="metal:yellow,red,white",
    ),
    recipe(
        scooter,
        deck="wood|plastic:bright|metal",
        stem="metal",
        grip="rubber|plastic:bright",
        tyre="rubber|plastic:bright",
    ),
    recipe(
        wheelbarrow, tray="metal:green,red,grey|plastic", bar="metal|wood", grip="rubber|plastic:bright", wheel="rubber"
    ),
    recipe(skateboard, deck="wood|plastic:bright", truck="metal", wheel="plastic:bright,white"),
)
