"""What stands outdoors: tent, well, bridge, signs and lamps."""

from __future__ import annotations

import numpy as np

from sim.families.buildings import gable
from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join, loft
from sim.outlines import arc, in_space, spline
from sim.solids import (
    ball,
    bar,
    beam,
    box,
    cylinder,
    extrude,
    lathe,
    superellipsoid,
    tube,
)


def tent(rng: Rng) -> Parts:
    u = rng.uniform
    if rng.random() < 0.5:
        width, depth, height = u(0.9, 1.2), u(1.1, 1.6), u(0.7, 0.95)
        cloth = gable(width, depth, height, 0.03, 0.02)
        back = extrude([[-width / 2, 0], [width / 2, 0], [0, height]], 0.02).turned(x=90).at(y=depth / 2)
        flap = extrude([[width * 0.1, 0], [width / 2, 0], [0, height]], 0.02).turned(x=90).at(y=-depth / 2).both("x")
        pole = bar([0, -depth / 2, 0], [0, -depth / 2, height + 0.12], 0.02).both("y")
        lines = bar([0, -depth / 2 - 0.45, 0], [0, -depth / 2, height], 0.008, sides=5).both("y")
        return [("cloth", cloth), ("inner", join([back, flap])), ("pole", join([pole, lines]))]
    radius, height = u(0.6, 0.75), u(1.0, 1.4)
    sides = int(rng.integers(7, 11))
    cloth = lathe([[radius, 0], [0.06, height]], sides).faceted()
    inner = (
        extrude([[-0.2, 0], [0.2, 0], [0, height * 0.5]], 0.02)
        .turned(x=90 + np.degrees(-np.arctan(radius / height)))
        .at(0, -radius * 0.97, 0.02)
    )
    poles = bar([0.12, 0, height - 0.12], [-0.15, 0, height + 0.3], 0.02, sides=6).ring(5)
    return [("cloth", cloth), ("inner", inner), ("pole", poles)]


def well(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall, roof_z = u(0.4, 0.5), u(0.4, 0.55), u(1.15, 1.4)
    ring = lathe(
        [
            [radius, 0],
            [radius, tall],
            [radius * 1.08, tall],
            [radius * 1.08, tall + 0.06],
            [radius * 0.75, tall + 0.06],
            [radius * 0.75, 0.05],
            [0, 0.05],
        ],
        20,
    )
    posts = beam([radius * 0.9, 0, 0], [radius * 0.9, 0, roof_z], 0.08, 0.08).both("x")
    roof = gable(0.8, radius * 2.3, u(0.3, 0.45), 0.08).turned(z=90).at(z=roof_z)
    beam_part = bar([-radius * 0.9, 0, roof_z * 0.8], [radius * 1.15, 0, roof_z * 0.8], 0.05)
    rope = bar([0, 0, roof_z * 0.8], [0, 0, tall + 0.2], 0.015)
    pail = lathe([[0, 0], [0.09, 0], [0.12, 0.18], [0.1, 0.17], [0, 0.05]], 16).at(z=tall + 0.02)
    crank = tube(
        np.array([[radius * 1.1, 0, 0], [radius * 1.2, 0, 0], [radius * 1.2, 0, -0.18], [radius * 1.4, 0, -0.18]]), 0.02
    ).at(z=roof_z * 0.8)
    return [
        ("stone", ring),
        ("wood", join([posts, beam_part])),
        ("roof", roof),
        ("rope", join([rope, crank])),
        ("pail", pail),
    ]


def bridge(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, rise, arches = 2.2, u(0.4, 0.6), u(0.25, 0.5), int(rng.integers(1, 4))
    x = np.linspace(-long / 2, long / 2, 25)
    top = rise * (1 - (2 * x / long) ** 2) + 0.35
    span = long / arches
    lower = []
    for i in range(arches):
        center = -long / 2 + span * (i + 0.5)
        radius = span * 0.4
        height = float(np.interp(center, x, top)) - 0.12
        a = np.linspace(np.pi, 0, 11)
        lower += [
            [center - radius, 0],
            *[[center + radius * np.cos(t), height * np.sin(t)] for t in a],
            [center + radius, 0],
        ]
    outline = np.concatenate([[[-long / 2, 0]], lower, [[long / 2, 0]], np.column_stack([x, top])[::-1]])
    keep = np.concatenate([[True], np.linalg.norm(np.diff(outline, axis=0), axis=1) > 1e-6])
    body = extrude(outline[keep], wide).turned(x=90)
    rail_path = np.stack([x, np.full(25, wide / 2), top + 0.16], axis=1)
    rail = tube(rail_path, 0.025, 6)
    posts = join(
        [bar([a, wide / 2, b], [a, wide / 2, b + 0.16], 0.018, sides=6) for a, b in zip(x[::2], top[::2], strict=True)]
    )
    deck = loft(
        np.stack(
            [
                np.column_stack([[a] * 4, [-wide / 2, wide / 2, wide / 2, -wide / 2], [b, b, b + 0.03, b + 0.03]])
                for a, b in zip(x, top, strict=True)
            ]
        )
    )
    return [("stone", body), ("rail", join([rail, posts]).both("y")), ("deck", deck)]


def street_lamp(rng: Rng) -> Parts:
    u = rng.uniform
    height = u(1.8, 2.3)
    post = lathe(spline([[0.14, 0], [0.1, 0.12], [0.05, 0.25], [0.035, height * 0.6], [0.03, height]], 4), 14)
    if rng.random() < 0.5:
        lantern = lathe([[0.06, 0], [0.13, 0.25], [0.0, 0.26]], 6).at(z=height)
        cap = lathe([[0.16, 0.25], [0.05, 0.36], [0.02, 0.42], [0, 0.43]], 6).at(z=height)
        rods = bar([0.06, 0, 0], [0.135, 0, 0.26], 0.012, sides=5).ring(6).at(z=height)
        return [("post", post), ("lamp", lantern), ("cap", join([cap, rods]))]
    reach, count = u(0.3, 0.5), int(rng.integers(1, 4))
    arm = tube(
        in_space(
            spline(
                [[0, height - 0.05], [reach * 0.3, height + 0.16], [reach * 0.8, height + 0.14], [reach, height]], 4
            ),
            "xz",
        ),
        0.022,
    )
    shade = lathe([[0.02, 0.02], [0.13, -0.06], [0.12, -0.07], [0, -0.03]], 18).at(reach, 0, height)
    globe = ball(u(0.07, 0.1), 14).at(reach, 0, height - 0.09)
    return [("post", post), ("post", arm.ring(count)), ("cap", shade.ring(count)), ("lamp", globe.ring(count))]


def fountain(rng: Rng) -> Parts:
    u = rng.uniform
    tiers = int(rng.integers(2, 4))
    basin = lathe(
        [[0, 0], [0.75, 0], [0.78, 0.2], [0.84, 0.22], [0.84, 0.27], [0.72, 0.27], [0.7, 0.08], [0, 0.08]], 36
    )
    water, stone, z, radius = [cylinder(0.71, 0.02, sides=32).at(z=0.2)], [basin], 0.08, u(0.38, 0.48)
    for _ in range(tiers):
        tall = u(0.3, 0.4)
        stone.append(lathe(spline([[0.1, z], [0.05, z + tall * 0.4], [0.09, z + tall]], 4), 16))
        z += tall
        stone.append(
            lathe(
                [[0.06, z], [radius * 0.7, z + 0.05], [radius, z + 0.13], [radius * 0.93, z + 0.13], [0, z + 0.05]], 28
            )
        )
        water.append(cylinder(radius * 0.92, 0.015, sides=28).at(z=z + 0.11))
        z, radius = z + 0.06, radius * 0.6
    jet = lathe(spline([[0.03, z], [0.03, z + 0.15], [0.08, z + 0.25], [0.0, z + 0.32]], 4), 12)
    return [("stone", join(stone)), ("water", join([*water, jet]))]


def fence(rng: Rng) -> Parts:
    u = rng.uniform
    count, tall, gap = int(rng.integers(6, 11)), u(0.55, 0.85), u(0.13, 0.18)
    wide = gap * u(0.5, 0.8)
    point = u(0.0, 0.14)
    picket = extrude(
        [[-wide / 2, 0], [wide / 2, 0], [wide / 2, tall - point], [0, tall], [-wide / 2, tall - point]], 0.03
    ).turned(x=90)
    pickets = picket.row(count, (gap, 0, 0)).at(-(count - 1) * gap / 2)
    rails = join([box(count * gap, 0.04, 0.06).at(0, 0.035, tall * z) for z in (0.25, 0.7)])
    post = box(0.09, 0.09, tall * 1.1).at(count * gap / 2, 0.04, tall * 0.55).both("x")
    caps = ball(0.07, 12).at(count * gap / 2, 0.04, tall * 1.13).both("x")
    return [("picket", pickets), ("rail", rails), ("post", join([post, caps]))]


def traffic_light(rng: Rng) -> Parts:
    u = rng.uniform
    lamps, size = ["red", "yellow", "green"], u(0.11, 0.14)
    case = box(size * 2.9, 0.22, size * 8.4, bevel=0.03)
    parts: Parts = [("case", case)]
    for i, name in enumerate(lamps):
        z = size * 2.6 * (1 - i)
        parts.append((name, superellipsoid(size, 0.05, size).at(0, -0.12, z)))
        hood = (
            lathe([[size * 1.15, 0], [size * 1.15, 0.16], [size * 1.1, 0.16], [size * 1.1, 0]], 18)
            .turned(x=90)
            .at(0, -0.1, z)
        )
        parts.append(("case", hood))
    pole = bar([0, 0.05, -size * 4], [0, 0.05, -size * 4 - u(0.6, 1.2)], 0.05)
    return [*parts, ("pole", pole)]


def road_sign(rng: Rng) -> Parts:
    u = rng.uniform
    style = rng.integers(4)
    sides = [3, 4, 8, 28][style]
    angles = np.arange(sides) * 2 * np.pi / sides + {3: np.pi / 2, 4: 0.0, 8: np.pi / 8, 28: 0.0}[sides]
    radius = u(0.28, 0.36)
    shape = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    plate = extrude(shape, 0.03).turned(x=90)
    inner = extrude(shape * u(0.72, 0.85), 0.036).turned(x=90).at(y=-0.002)
    mark = (
        box(radius * u(0.6, 0.9), 0.045, radius * u(0.14, 0.25)).turned(y=float(rng.choice([0, 90, 45]))).at(y=-0.002)
    )
    pole = bar([0, 0.04, radius * 0.8], [0, 0.04, -1.2], 0.03)
    return [("plate", plate), ("inner", inner), ("mark", mark), ("pole", pole)]


def mailbox(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide = u(0.5, 0.65), u(0.26, 0.34)
    outline = np.concatenate([[[-wide / 2, -0.14], [wide / 2, -0.14]], arc(wide / 2, 0, 180, 12)])
    body = extrude(outline, long).turned(x=90)
    door = extrude(outline * 1.04, 0.03).turned(x=90).at(y=-long / 2)
    knob = ball(0.025, 10).at(0, -long / 2 - 0.03, wide * 0.3)
    flag = join(
        [
            box(0.015, 0.03, 0.2).at(wide / 2 + 0.01, -0.05, 0.05),
            box(0.015, 0.12, 0.07).at(wide / 2 + 0.01, -0.01, 0.14),
        ]
    ).turned(x=0)
    post = join([box(0.08, 0.08, u(0.7, 0.95)).at(z=-0.55), box(wide * 0.8, long * 0.8, 0.04).at(z=-0.16)])
    return [("body", body), ("door", join([door, knob])), ("flag", flag), ("post", post)]


def traffic_cone(rng: Rng) -> Parts:
    u = rng.uniform
    low, high, tall, bands = u(0.24, 0.3), u(0.04, 0.07), u(0.75, 1.0), int(rng.integers(1, 3))
    cone = lathe([[low, 0.04], [high, tall], [high * 0.6, tall], [high * 0.5, tall * 0.9], [0, tall * 0.9]], 28)
    foot = box(low * 2.6, low * 2.6, 0.07, bevel=0.025)
    stripes = []
    for z in [0.35, 0.65][:bands]:
        r = [low + (high - low) * (z * tall + dz - 0.04) / (tall - 0.04) + 0.006 for dz in (0, 0.15 * tall)]
        stripes.append(lathe([[r[0], z * tall], [r[1], z * tall + 0.15 * tall]], 28))
    return [("cone", cone), ("foot", foot), ("stripe", join(stripes))]


def fire_hydrant(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall = u(0.17, 0.21), u(0.55, 0.75)
    body = lathe(
        [
            [radius * 1.5, 0],
            [radius * 1.5, 0.07],
            [radius, 0.09],
            [radius, tall],
            [radius * 1.25, tall],
            [radius * 1.25, tall + 0.05],
            [radius * 1.1, tall + 0.06],
        ],
        26,
    )
    dome = lathe(spline([[radius * 1.1, tall + 0.055], [radius * 0.85, tall + 0.17], [0.05, tall + 0.24]], 4), 26)
    bolt = lathe([[0.05, 0], [0.05, 0.08], [0, 0.08]], 5).at(z=tall + 0.23)
    nozzle = (
        join(
            [
                cylinder(0.085, 0.14, sides=18),
                cylinder(0.11, 0.05, sides=8).at(z=0.09),
                lathe([[0.035, 0], [0.035, 0.05], [0, 0.05]], 5).at(z=0.11),
            ]
        )
        .turned(y=90)
        .at(radius, 0, tall * 0.72)
    )
    front = (
        join(
            [
                cylinder(0.12, 0.12, sides=20),
                cylinder(0.145, 0.05, sides=8).at(z=0.08),
                lathe([[0.04, 0], [0.04, 0.05], [0, 0.05]], 5).at(z=0.1),
            ]
        )
        .turned(x=90)
        .at(0, -radius, tall * 0.55)
    )
    studs = cylinder(0.02, 0.05, sides=6).at(radius * 1.3, 0, 0.08).ring(8)
    return [("body", join([body, dome])), ("cap", join([nozzle.both("x"), front])), ("bolt", join([bolt, studs]))]


STREET: tuple[Recipe, ...] = (
    recipe(tent, cloth="fabric:bright|fabric", inner="fabric:pale,dark", pole="wood|metal"),
    recipe(well, stone="stone|brick", wood="wood", roof="brick|wood", rope="fabric:tan", pail="wood|metal"),
    recipe(bridge, stone="stone|brick|concrete", rail="metal:dark|wood", deck="stone:grey|wood"),
    recipe(street_lamp, post="metal:dark,black,green", lamp="glass:white,yellow", cap="metal:dark,black"),
    recipe(fountain, stone="stone", water="glass:blue,white"),
    recipe(fence, picket="wood|wood:white", rail="wood|wood:white", post="wood|stone"),
    recipe(
        traffic_light,
        case="metal:black,dark,yellow|plastic:dark",
        red="plastic:red",
        yellow="plastic:orange",
        green="plastic:lime",
        pole="metal",
    ),
    recipe(
        road_sign,
        plate="metal:red,blue,white",
        inner="plastic:white,yellow,red,blue",
        mark="plastic:black,white,red",
        pole="metal",
    ),
    recipe(mailbox, body="metal:bright,silver", door="metal", flag="plastic:red,yellow", post="wood"),
    recipe(traffic_cone, cone="plastic:orange,red,yellow", foot="rubber|plastic:orange", stripe="plastic:white"),
    recipe(fire_hydrant, body="metal:red,yellow", cap="metal:red,yellow,silver", bolt="metal:silver,dark"),
)
