"""Toys, sports and adventure: balls and rackets, snowman and robot, sword and treasure."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import Array, arc, ellipse, gear, in_space, rectangle, spline, star, symmetric
from sim.solids import ball, bar, box, cylinder, extrude, lathe, plate_with_hole, superellipsoid, torus, tube


def football(rng: Rng) -> Parts:
    """A ball with patches at the corners of an icosahedron."""
    u = rng.uniform
    golden = (1 + 5**0.5) / 2
    corners = np.array(
        [p for a in (-1, 1) for b in (-golden, golden) for p in ((0, a, b), (a, b, 0), (b, 0, a))]
    ) / np.hypot(1, golden)
    sides, wide, turn = int(rng.choice([5, 5, 6, 16])), u(0.26, 0.42), u(0, 90)
    t = np.linspace(0, 1, 4)[1:]
    rim = ellipse(1.0, sides=sides)
    patches = []
    for corner in corners:
        first = np.cross(corner, [0.3, 0.5, 0.8])
        first /= np.linalg.norm(first)
        second = np.cross(corner, first)
        flat = np.concatenate([[[0.0, 0.0]], *[rim * wide * s for s in t]])
        points = corner + flat[:, :1] * first + flat[:, 1:] * second
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        j = np.arange(sides)
        faces = [np.stack([0 * j, 1 + j, 1 + (j + 1) % sides], axis=1)]
        for ring_index in range(2):
            a, b = 1 + ring_index * sides + j, 1 + ring_index * sides + (j + 1) % sides
            faces += [np.stack([a, a + sides, b + sides], axis=1), np.stack([a, b + sides, b], axis=1)]
        top = np.concatenate(faces)
        n, last = len(points), 1 + 2 * sides
        wall = np.concatenate(
            [
                np.stack([last + j, last + j + n, last + (j + 1) % sides + n], axis=1),
                np.stack([last + j, last + (j + 1) % sides + n, last + (j + 1) % sides], axis=1),
            ]
        )
        vertices = np.concatenate([points * 0.508, points * 0.49])
        patches.append(
            Solid(
                vertices, np.concatenate([top, top[:, ::-1] + n, wall]), np.ones(2 * len(top) + len(wall), dtype=bool)
            )
        )
    return [("leather", ball(0.5, 30).turned(x=turn)), ("patch", join(patches).turned(x=turn))]


def tennis_racket(rng: Rng) -> Parts:
    u = rng.uniform
    rx, rz = u(0.2, 0.26), u(0.26, 0.34)
    head = tube(in_space(ellipse(rx, rz, 36), "xz"), 0.022, 8, closed=True).at(z=0.4)
    count = int(rng.integers(7, 11))
    strings = []
    for t in np.linspace(-0.85, 0.85, count):
        half = np.sqrt(1 - t * t)
        strings.append(bar([-rx * half, 0, 0.4 + rz * t], [rx * half, 0, 0.4 + rz * t], 0.005, sides=4))
        strings.append(bar([rx * t, 0, 0.4 - rz * half], [rx * t, 0, 0.4 + rz * half], 0.005, sides=4))
    throat = bar([rx * 0.6, 0, 0.4 - rz * 0.78], [0.02, 0, 0.4 - rz - 0.2], 0.018).both("x")
    low = 0.4 - rz - 0.18
    shaft = bar([0, 0, low], [0, 0, low - 0.15], 0.024)
    handle = lathe([[0.036, 0], [0.036, -0.26], [0.046, -0.28], [0.046, -0.3]], 8).at(z=low - 0.12)
    toy = ball(u(0.08, 0.11), 16).at(u(0.25, 0.4), -0.05, -0.3)
    return [("frame", join([head, throat, shaft])), ("string", join(strings)), ("grip", handle), ("ball", toy)]


def bowling_pin(rng: Rng) -> Parts:
    u = rng.uniform
    belly, neck, head = u(0.17, 0.2), u(0.06, 0.085), u(0.09, 0.11)
    profile = spline([[0.085, 0], [belly, 0.32], [neck, 0.7], [head, 0.88], [0.001, 1.0]], 7)
    bands = []
    for z in [0.66, 0.74][: int(rng.integers(1, 3))]:
        r = float(np.interp(z, profile[:, 1], profile[:, 0])) + 0.004
        bands.append(cylinder(r, 0.035, sides=26).at(z=z))
    pins = [lathe(profile, 26)]
    count = int(rng.integers(1, 4))
    spots = [(0, 0), (0.42, 0.1), (-0.2, 0.42)][:count]
    return [
        ("pin", join([pins[0].at(x, y) for x, y in spots])),
        ("band", join([b.at(x, y) for b in bands for x, y in spots])),
    ]


def dumbbell(rng: Rng) -> Parts:
    u = rng.uniform
    long, plates = u(0.3, 0.5), int(rng.integers(1, 4))
    discs = []
    style = rng.integers(3)
    x = long / 2
    for i in range(plates):
        radius, thick = u(0.28, 0.34) * (1 - 0.22 * i), u(0.08, 0.14)
        sides = [28, 6, 8][style]
        discs.append(
            lathe(
                [
                    [0, -thick / 2],
                    [radius * 0.93, -thick / 2],
                    [radius, -thick * 0.3],
                    [radius, thick * 0.3],
                    [radius * 0.93, thick / 2],
                    [0, thick / 2],
                ],
                sides,
            )
            .sideways()
            .at(x + thick / 2)
        )
        x += thick
    grip = tube(
        np.array([[-long / 2, 0, 0], [-long / 4, 0, 0], [0, 0, 0], [long / 4, 0, 0], [long / 2, 0, 0]]),
        np.array([0.05, 0.055, 0.065, 0.055, 0.05]),
        14,
    )
    ends = cylinder(0.07, 0.06, sides=12).sideways().at(x + 0.02).both("x")
    return [("plate", join(discs).both("x")), ("grip", grip), ("end", ends)]


def kite(rng: Rng) -> Parts:
    u = rng.uniform
    wide, high, low = u(0.3, 0.42), u(0.25, 0.35), u(0.5, 0.65)
    quarters = [
        [[0, 0], [wide, 0], [0, high]],
        [[0, 0], [0, high], [-wide, 0]],
        [[0, 0], [-wide, 0], [0, -low]],
        [[0, 0], [0, -low], [wide, 0]],
    ]
    sails = [extrude(np.array(q), 0.008).turned(x=70) for q in quarters]
    sticks = (
        join([bar([-wide, 0, 0], [wide, 0, 0], 0.012), bar([0, high, 0], [0, -low, 0], 0.012)])
        .turned(x=70)
        .at(0, 0.015, 0)
    )
    start = np.array([0, -low * np.cos(np.radians(70)), -low * np.sin(np.radians(70))])
    t = np.linspace(0, 1, 30)
    tail_line = start + np.column_stack([0.08 * np.sin(t * u(8, 14)), -0.1 * t, -u(0.5, 0.8) * t])
    tail = tube(tail_line, 0.007, 5)
    bow = join(
        [
            lathe([[0.001, 0], [0.045, 0.09], [0.001, 0.09]], 8).turned(y=90),
            lathe([[0.001, 0], [0.045, 0.09], [0.001, 0.09]], 8).turned(y=-90),
        ]
    )
    bows = join([bow.at(*tail_line[i]) for i in range(6, 30, int(rng.integers(5, 8)))])
    return [("first", join(sails[::2])), ("second", join(sails[1::2])), ("stick", join([sticks, tail])), ("bow", bows)]


def spinning_top(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.36, 0.48), u(0.35, 0.55)
    lower = lathe(spline([[0.001, 0], [0.05, 0.05], [wide * 0.75, tall * 0.5], [wide, tall * 0.75]], 5), 30)
    upper = lathe(spline([[wide, tall * 0.745], [wide * 0.8, tall * 0.95], [0.06, tall * u(1.0, 1.25)]], 5), 30)
    band = torus(wide, 0.03, 36, 8).at(z=tall * 0.75)
    stick = join(
        [
            bar([0, 0, tall], [0, 0, tall + u(0.2, 0.4)], 0.035),
            ball(0.06, 12).at(z=tall + 0.4),
            bar([0, 0, 0.02], [0, 0, -0.08], 0.03, 0.005),
        ]
    )
    lean = u(0, 18)
    return [(n, s.turned(y=lean)) for n, s in (("lower", lower), ("upper", upper), ("band", band), ("stick", stick))]


def dice(rng: Rng) -> Parts:
    u = rng.uniform
    spots = {
        1: [(0, 0)],
        2: [(-1, -1), (1, 1)],
        3: [(-1, -1), (0, 0), (1, 1)],
        4: [(-1, -1), (-1, 1), (1, -1), (1, 1)],
        5: [(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)],
        6: [(-1, -1), (-1, 0), (-1, 1), (1, -1), (1, 0), (1, 1)],
    }
    dot = superellipsoid(r := u(0.075, 0.11), r, 0.03, sides=12, rings=6)
    turns = [{}, {"x": 180.0}, {"x": 90.0}, {"x": -90.0}, {"y": 90.0}, {"y": -90.0}]
    values = rng.permutation(6) + 1
    dots = [
        dot.at(0.26 * x, 0.26 * y, 0.495).turned(**turn)
        for turn, value in zip(turns, values, strict=True)
        for x, y in spots[int(value)]
    ]
    if rng.random() < 0.5:
        cube = superellipsoid(0.5, 0.5, 0.5, square=0.22, upright=0.22, sides=32, rings=16)
    else:
        cube = box(1, 1, 1, bevel=u(0.03, 0.1))
    return [("cube", cube), ("dot", join(dots))]


def chess_piece(rng: Rng) -> Parts:
    u = rng.uniform
    kind = rng.integers(4)
    wide = u(0.24, 0.3)
    base = [[0, 0], [wide, 0], [wide, 0.07], [wide * 0.8, 0.1], [wide * 0.85, 0.15], [wide * 0.6, 0.19]]
    tall = [0.5, 0.55, 0.85, 0.95][kind]
    body = lathe(
        np.concatenate(
            [
                base,
                spline([[wide * 0.55, 0.2], [wide * 0.32, tall * 0.5], [wide * 0.36, tall]], 5),
                [[wide * 0.62, tall + 0.01], [wide * 0.62, tall + 0.05], [0, tall + 0.05]],
            ]
        ),
        26,
    )
    if kind == 0:
        head: Solid = ball(wide * 0.62, 20).at(z=tall + wide * 0.55)
    elif kind == 1:
        head = join(
            [
                cylinder(wide * 0.6, 0.2, wide * 0.7, sides=24).at(z=tall + 0.13),
                box(0.07, 0.14, 0.09).at(0, wide * 0.55, tall + 0.26).ring(4),
            ]
        )
    elif kind == 2:
        head = join(
            [
                lathe(
                    spline(
                        [
                            [wide * 0.35, tall + 0.03],
                            [wide * 0.6, tall + 0.16],
                            [wide * 0.35, tall + 0.3],
                            [0.001, tall + 0.38],
                        ],
                        4,
                    ),
                    22,
                ),
                ball(0.05, 12).at(z=tall + 0.4),
            ]
        )
    else:
        head = join(
            [
                lathe([[wide * 0.42, tall], [wide * 0.7, tall + 0.26], [0, tall + 0.3]], 24),
                box(0.06, 0.06, 0.24).at(z=tall + 0.4),
                box(0.18, 0.06, 0.06).at(z=tall + 0.42),
            ]
        )
    felt = cylinder(wide * 0.98, 0.03, sides=26)
    return [("body", body), ("head", head), ("felt", felt)]


def snowman(rng: Rng) -> Parts:
    u = rng.uniform
    r1, r2, r3 = u(0.34, 0.42), u(0.25, 0.3), u(0.18, 0.22)
    z2 = r1 * 1.75 + r2 * 0.6
    z3 = z2 + r2 * 0.75 + r3 * 0.75
    snow = join([ball(r1, 22).at(z=r1 * 0.9), ball(r2, 20).at(z=z2), ball(r3, 20).at(z=z3)])
    nose = lathe([[0.035, 0], [0.001, u(0.16, 0.26)]], 10).turned(x=90).at(0, -r3 * 0.95, z3)
    coal = [ball(0.026, 8).at(s * 0.07, -r3 * 0.93, z3 + 0.06) for s in (-1, 1)] + [
        ball(0.03, 8).at(0, -r2 * 0.99, z2 + dz) for dz in (-0.08, 0.02, 0.12)
    ]
    coal += [
        ball(0.016, 6).at(0.085 * np.sin(a), -r3 * 0.94, z3 - 0.05 - 0.03 * np.cos(a)) for a in np.linspace(-1, 1, 5)
    ]
    brim = lathe(
        [[0, 0], [r3 * 1.3, 0], [r3 * 1.3, 0.025], [r3 * 0.8, 0.03], [r3 * 0.75, u(0.16, 0.3)], [0, 0.25]], 24
    ).at(z=z3 + r3 * 0.75)
    scarf = torus(r3 * 0.85, 0.055, 26, 8).at(z=z3 - r3 * 0.75)
    end = box(0.1, 0.04, 0.26).turned(x=-10, z=10).at(0.12, -r3 * 0.85, z3 - r3 * 0.75 - 0.13)
    arm = join(
        [
            bar([r2 * 0.9, 0, z2 + 0.05], [r2 + 0.32, 0, z2 + u(0.1, 0.3)], 0.016, sides=6),
            bar([r2 + 0.2, 0, z2 + 0.12], [r2 + 0.28, -0.08, z2 + 0.26], 0.012, sides=6),
        ]
    )
    return [
        ("snow", snow),
        ("nose", nose),
        ("coal", join([*coal, brim])),
        ("scarf", join([scarf, end])),
        ("stick", arm.both("x")),
    ]


def robot(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, head = u(0.36, 0.5), u(0.42, 0.55), u(0.26, 0.34)
    legs_z = u(0.25, 0.4)
    torso = box(wide, 0.28, tall, bevel=0.04).at(z=legs_z + tall / 2)
    neck_z = legs_z + tall
    skull = (
        box(head, head * 0.85, head * u(0.75, 1.0), bevel=0.03).at(z=neck_z + 0.05 + head * 0.45)
        if rng.random() < 0.65
        else superellipsoid(head * 0.58, head * 0.55, head * 0.55).at(z=neck_z + 0.05 + head * 0.45)
    )
    eyes = (
        cylinder(0.05, 0.06, sides=16).turned(x=90).at(head * 0.24, -head * 0.45, neck_z + 0.08 + head * 0.5).both("x")
    )
    mouth = box(head * 0.5, 0.03, 0.05).at(0, -head * 0.44, neck_z + 0.05 + head * 0.16)
    antenna = join(
        [
            bar([0, 0, neck_z + head * 0.9], [0, 0, neck_z + head + u(0.1, 0.25)], 0.012, sides=6),
            ball(0.035, 10).at(z=neck_z + head + 0.2),
        ]
    )
    lift = u(-20, 60)
    arm = (
        join(
            [
                ball(0.07, 12),
                bar([0, 0, 0], [0, 0, -0.22], 0.045),
                ball(0.055, 12).at(z=-0.22),
                bar([0, 0, -0.22], [0, -0.16, -0.34], 0.04),
            ]
        )
        .turned(x=-lift * 0.5, y=-lift * 0.4)
        .at(wide / 2 + 0.07, 0, neck_z - 0.08)
    )
    claw = (
        torus(0.06, 0.022, 14, 6)
        .turned(y=90)
        .at(0, -0.2, -0.37)
        .turned(x=-lift * 0.5, y=-lift * 0.4)
        .at(wide / 2 + 0.07, 0, neck_z - 0.08)
    )
    leg = join(
        [
            cylinder(0.06, legs_z, sides=14).at(wide * 0.28, 0, legs_z / 2),
            box(0.16, 0.26, 0.08, bevel=0.02).at(wide * 0.28, -0.04, 0.03),
        ]
    )
    dial = join(
        [
            cylinder(0.06, 0.03, sides=18).turned(x=90).at(-wide * 0.2, -0.15, legs_z + tall * 0.65),
            *[
                cylinder(0.025, 0.03, sides=10).turned(x=90).at(wide * 0.08 + 0.07 * i, -0.15, legs_z + tall * 0.68)
                for i in range(2)
            ],
            box(wide * 0.6, 0.02, 0.1).at(0, -0.145, legs_z + tall * 0.3),
        ]
    )
    return [
        ("body", join([torso, skull])),
        ("limb", join([arm, leg]).both("x")),
        ("limb", cylinder(0.07, 0.1, sides=14).at(z=neck_z + 0.03)),
        ("light", join([eyes, dial])),
        ("metal", join([claw.both("x"), antenna, mouth])),
    ]


def teddy_bear(rng: Rng) -> Parts:
    u = rng.uniform
    belly = superellipsoid(u(0.24, 0.3), 0.23, 0.3).at(z=0.3)
    z = 0.75
    head = superellipsoid(0.22, 0.2, 0.2).at(z=z)
    ear = superellipsoid(r := u(0.07, 0.1), 0.04, r).at(0.17, 0.02, z + 0.16).both("x")
    inner = superellipsoid(0.05, 0.03, 0.05).at(0.17, -0.02, z + 0.16).both("x")
    snout = superellipsoid(0.1, 0.09, 0.075).at(0, -0.18, z - 0.05)
    arm = superellipsoid(0.085, 0.085, 0.2).turned(y=-u(20, 70), x=25).at(0.28, -0.06, 0.46).both("x")
    leg = superellipsoid(0.11, 0.22, 0.11).turned(z=20).at(0.2, -0.22, 0.1).both("x")
    pads = superellipsoid(0.075, 0.03, 0.075).turned(z=20).at(0.27, -0.42, 0.1).both("x")
    tummy = superellipsoid(0.16, 0.06, 0.2).at(0, -0.19, 0.3)
    eyes_nose = join(
        [ball(0.024, 10).at(0.08, -0.185, z + 0.04).both("x"), superellipsoid(0.04, 0.03, 0.026).at(0, -0.27, z - 0.02)]
    )
    bow = (
        join([lathe([[0.001, 0], [0.06, 0.12], [0.001, 0.11]], 10).turned(y=s * 90) for s in (-1, 1)])
        .scaled(1, 0.6, 1)
        .at(0, -0.17, z - 0.2)
    )
    return [
        ("fur", join([belly, head, ear, arm, leg])),
        ("pale", join([inner, snout, pads, tummy])),
        ("black", eyes_nose),
        ("bow", bow),
    ]


def sword(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide = u(0.7, 1.0), u(0.05, 0.09)
    levels = [(1.0, 0.0), (u(0.75, 1.0), 0.85), (0.02, 1.0)]
    section = np.array([[1, 0], [0, 0.25], [-1, 0], [0, -0.25]])
    blade = loft(np.stack([np.column_stack([section * wide * s, np.full(4, long * z)]) for s, z in levels])).faceted()
    reach, droop = u(0.14, 0.24), u(-0.06, 0.08)
    guard = tube(
        spline(
            [[-reach, 0, droop], [-reach * 0.5, 0, 0.0], [0, 0, -0.01], [reach * 0.5, 0, 0.0], [reach, 0, droop]], 4
        ),
        np.interp(np.linspace(0, 1, 17), [0, 0.5, 1], [0.028, 0.04, 0.028]),
        8,
    )
    handle = lathe([[0.028, -0.02], [0.036, -0.12], [0.028, -0.24]], 12)
    wrap = join([torus(0.034, 0.008, 14, 5).at(z=z) for z in np.linspace(-0.05, -0.22, 7)])
    pommel = superellipsoid(r := u(0.045, 0.065), r * 0.7, r).at(z=-0.27)
    return [("blade", blade), ("guard", join([guard, pommel])), ("handle", join([handle, wrap]))]


def shield(rng: Rng) -> Parts:
    u = rng.uniform
    if rng.random() < 0.5:
        outline = ellipse(0.5, sides=40)
    else:
        outline = symmetric(spline([[0, -0.6], [0.25, -0.35], [0.42, 0.05], [0.42, 0.42], [0, u(0.42, 0.52)]], 5))
    bend = u(0.15, 0.35)

    def curve(v: Array) -> Array:
        result: Array = v - np.column_stack([0 * v[:, 0], 0 * v[:, 0], bend * v[:, 0] ** 2])
        return result

    body = bendable_plate(outline, 0.05).warped(curve).turned(x=80)
    rim = tube(in_space(outline, "xy"), 0.03, 6, closed=True).warped(curve).turned(x=80)
    boss = superellipsoid(r := u(0.1, 0.15), r, 0.1).at(z=0.03).turned(x=80)
    emblem = (
        extrude(
            [
                star(int(rng.integers(4, 8)), 0.32, 0.13),
                np.array([[-0.06, -0.36], [0.06, -0.36], [0.06, 0.36], [-0.06, 0.36]]),
                gear(8, 0.3, 0.2),
            ][int(rng.integers(3))],
            0.02,
        )
        .at(z=0.035)
        .turned(x=80)
    )
    return [("body", body), ("rim", rim), ("rim", boss), ("emblem", emblem)]


def bendable_plate(outline: Array, thickness: float) -> Solid:
    """A plate over a star-shaped outline, fine enough to be bent."""
    rings = np.linspace(0.02, 1, 7)
    levels = [
        np.column_stack([outline * s, np.full(len(outline), z)])
        for z, order in ((thickness / 2, rings), (-thickness / 2, rings[::-1]))
        for s in order
    ]
    return loft(np.array(levels))


def bow_and_arrow(rng: Rng) -> Parts:
    u = rng.uniform
    tall, bend = 1.2, u(0.18, 0.3)
    z = np.linspace(-1, 1, 25)
    limb = np.column_stack(
        [0 * z, -bend * (1 - z**2) + 0.08 * np.clip(np.abs(z) - 0.85, 0, 1) * -6 * bend, tall / 2 * z]
    )
    wood = tube(limb, np.interp(np.abs(z), [0, 1], [0.032, 0.012]), 8)
    pull = u(0.05, 0.35)
    string = join([bar(limb[0], [0, pull, 0], 0.006, sides=5), bar(limb[-1], [0, pull, 0], 0.006, sides=5)])
    grip = cylinder(0.042, 0.18, sides=12).at(0, -bend, 0)
    shaft = bar([0, pull, 0], [0, pull - 0.85, 0], 0.011, sides=7)
    head = lathe([[0.035, 0], [0.001, 0.09]], 4).turned(x=90).at(0, pull - 0.85, 0)
    feather = (
        extrude([[0, 0.01], [0.14, 0.01], [0.16, 0.06], [0.04, 0.06]], 0.006)
        .sideways()
        .turned(x=0)
        .turned(x=180)
        .at(0, pull, 0)
    )
    feathers = join(
        [
            feather,
            feather.at(0, -pull, 0).turned(y=120).at(0, pull, 0),
            feather.at(0, -pull, 0).turned(y=240).at(0, pull, 0),
        ]
    )
    return [("wood", wood), ("string", string), ("grip", grip), ("wood", shaft), ("tip", head), ("feather", feathers)]


def trophy(rng: Rng) -> Parts:
    u = rng.uniform
    cup_r, cup_h = u(0.26, 0.36), u(0.35, 0.5)
    profile = spline([[0.05, 0.34], [cup_r * 0.6, 0.42], [cup_r * 0.95, 0.42 + cup_h * 0.5], [cup_r, 0.4 + cup_h]], 5)
    cup = lathe(np.concatenate([profile, profile[::-1] * [0.93, 1]]), 30)
    stem = lathe(spline([[0.16, 0.16], [0.05, 0.22], [0.07, 0.28], [0.05, 0.35]], 4), 20)
    handle = tube(
        in_space(
            spline(
                [
                    [cup_r * 0.95, 0.36 + cup_h * 0.95],
                    [cup_r + 0.16, 0.38 + cup_h],
                    [cup_r + 0.18, 0.4 + cup_h * 0.6],
                    [cup_r * 0.65, 0.45],
                ],
                5,
            ),
            "xz",
        ),
        0.025,
    ).both("x")
    base = join([box(0.36, 0.36, 0.16, bevel=0.015).at(z=0.08), box(0.44, 0.44, 0.06, bevel=0.01)])
    plaque = box(0.22, 0.02, 0.08).at(0, -0.185, 0.09)
    mark = extrude(star(5, 0.12, 0.05), 0.04).turned(x=90).at(0, -cup_r * 0.93, 0.4 + cup_h * 0.6)
    return [("metal", join([cup, stem, handle])), ("base", base), ("plaque", join([plaque, mark]))]


def anchor(rng: Rng) -> Parts:
    u = rng.uniform
    tall, reach, drop = 1.0, u(0.32, 0.42), u(0.25, 0.38)
    shank = bar([0, 0, 0], [0, 0, tall], 0.055, 0.04)
    a = np.linspace(np.radians(200), np.radians(340), 17)
    arms = np.column_stack(
        [reach * np.cos(a) / np.cos(np.radians(20)), 0 * a, drop * 1.3 + drop * 1.3 * np.sin(a) - 0.02]
    )
    crown = tube(arms, np.interp(np.linspace(-1, 1, 17), [-1, 0, 1], [0.035, 0.06, 0.035]), 10)
    fluke = extrude([[-0.09, -0.06], [0.09, -0.06], [0, 0.16]], 0.03).turned(x=90, y=u(20, 40)).at(*arms[-1]).both("x")
    stock = join(
        [bar([-0.3, 0, tall * 0.85], [0.3, 0, tall * 0.85], 0.035), ball(0.05, 12).at(0.3, 0, tall * 0.85).both("x")]
    )
    ring_part = torus(u(0.08, 0.12), 0.025, 22, 8).turned(x=90).at(z=tall + 0.09)
    t = np.linspace(0, 1, 70)
    rope = tube(np.column_stack([0.1 * np.sin(t * 14), 0.09 * np.cos(t * 14), tall * (1.0 - 0.7 * t)]), 0.02, 6)
    return [("iron", join([shank, crown, fluke])), ("stock", join([stock, ring_part])), ("rope", rope)]


def gift_box(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, tall, band = u(0.5, 0.8), u(0.5, 0.8), u(0.3, 0.75), u(0.06, 0.12)
    body = box(wide, deep, tall).at(z=tall / 2)
    lid = box(wide * 1.06, deep * 1.06, tall * 0.2).at(z=tall)
    top = tall * 1.1
    ribbons = join(
        [box(band, deep * 1.07, top * 1.005).at(z=top / 2), box(wide * 1.07, band, top * 1.005).at(z=top / 2)]
    )
    loop = tube(
        spline([[0, 0, 0], [0.14, 0.04, 0.15], [0.28, 0.0, 0.12], [0.2, -0.04, 0.0], [0, 0, 0.01]], 5), 0.03, 6
    ).scaled(1, 1.6, 1)
    bows = join([loop.ring(int(rng.integers(2, 5))), ball(0.06, 12).at(z=0.03)]).turned(z=u(0, 60)).at(z=top)
    return [("paper", body), ("lid", lid), ("ribbon", join([ribbons, bows]))]


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


def treasure_chest(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, tall, angle = u(0.8, 1.0), u(0.5, 0.62), u(0.35, 0.45), u(0, 75)
    walls = plate_with_hole(rectangle(wide, deep), rectangle(wide * 0.92, deep * 0.88), tall).at(z=tall / 2)
    floor = box(wide, deep, 0.05).at(z=0.025)
    half = np.concatenate([arc(deep / 2, 0, 180, 14), [[-deep / 2, -0.03], [deep / 2, -0.03]]])
    lid = extrude(half, wide).sideways().at(0, -deep / 2, 0)
    straps = join(
        [
            extrude(np.concatenate([arc(deep / 2 + 0.018, 0, 180, 14), arc(deep / 2 - 0.01, 180, 0, 14)]), 0.07)
            .sideways()
            .at(x, -deep / 2, 0)
            for x in (-wide * 0.35, 0, wide * 0.35)
        ]
    )
    irons = join([box(0.07, deep + 0.03, tall).at(x, 0, tall / 2) for x in (-wide * 0.35, wide * 0.35)])
    lock = box(0.13, 0.05, 0.15, bevel=0.015).at(0, -deep / 2 - 0.01, tall - 0.06)
    picks = rng.uniform(-1, 1, size=(22, 2)) * [wide * 0.4, deep * 0.38]
    coins = join(
        [
            cylinder(0.055, 0.015, sides=12).turned(x=u(-40, 40), y=u(-40, 40)).at(x, y, tall - 0.03 + u(0, 0.06))
            for x, y in picks
        ]
    )
    heap = superellipsoid(wide * 0.43, deep * 0.4, 0.12, square=0.5).at(z=tall - 0.1)

    def place(part: Solid) -> Solid:
        return part.turned(x=-angle).at(0, deep / 2, tall)

    return [
        ("wood", join([walls, floor])),
        ("wood", place(lid)),
        ("iron", join([irons, lock, place(straps)])),
        ("gold", join([coins, heap])),
    ]


def crystal(rng: Rng) -> Parts:
    u = rng.uniform
    shards = []
    for i in range(int(rng.integers(5, 10))):
        long, wide = u(0.35, 1.0) * (1 if i else 1.1), u(0.07, 0.14)
        one = lathe([[wide * 0.75, 0], [wide, long * u(0.6, 0.78)], [0.001, long]], 6).faceted()
        shards.append(
            one.turned(z=u(0, 60))
            .turned(y=u(8, 50) if i else u(0, 10), z=137.5 * i)
            .at(0.1 * np.cos(2.4 * i) * (i > 0), 0.1 * np.sin(2.4 * i) * (i > 0))
        )
    rock = lathe([[0, -0.12], [0.36, -0.12], [0.42, -0.02], [0.25, 0.08], [0, 0.1]], 9).faceted()
    return [
        ("crystal", join(shards)),
        ("rock", rock.warped(lambda v: v * (1 + 0.15 * np.sin(7 * v[:, :1] + 5 * v[:, 1:2])))),
    ]


def telescope(rng: Rng) -> Parts:
    u = rng.uniform
    segments, z, radius = [], 0.0, u(0.12, 0.16)
    bands = []
    for i in range(int(rng.integers(2, 4))):
        long = u(0.3, 0.45)
        segments.append(cylinder(radius, long, sides=24).at(z=z + long / 2))
        bands.append(cylinder(radius * 1.12, 0.05, sides=24).at(z=z + (0.02 if i else 0.0)))
        z += long - 0.02
        radius *= u(0.68, 0.8)
    eye = lathe([[radius, 0], [radius * 1.4, 0.06], [radius * 1.2, 0.06], [0, 0.03]], 20).at(z=z)
    lift = u(50, 75)
    legs = bar([0, 0, 0], [0.4, 0, -u(0.8, 1.0)], 0.022, 0.016).ring(3, 30)
    lens = superellipsoid(0.1, 0.1, 0.02).at(z=-0.01)

    def place(part: Solid) -> Solid:
        return part.at(z=-z * 0.4).turned(x=-lift)

    return [
        ("tube", place(join(segments))),
        ("brass", place(join([*bands, eye]))),
        ("glass", place(lens)),
        ("leg", join([legs, ball(0.06, 12)]).at(z=-0.1)),
    ]


def cannon(rng: Rng) -> Parts:
    u = rng.uniform
    long = u(0.9, 1.2)
    profile = [
        [0.0, 0.0],
        [0.1, 0.0],
        [0.15, 0.03],
        [0.16, 0.12],
        [0.13, long * 0.5],
        [0.105, long * 0.95],
        [0.13, long * 0.97],
        [0.13, long],
        [0.075, long],
        [0.075, long * 0.7],
        [0, long * 0.7],
    ]
    barrel = (
        join([lathe(profile, 24), ball(0.05, 10).at(z=-0.04), torus(0.14, 0.015, 24, 6).at(z=long * 0.35)])
        .turned(x=90 - u(0, 18))
        .at(0, 0.3, 0.42)
    )
    cheek = (
        extrude([[-0.3, 0.3], [0.5, 0.02], [0.62, 0.02], [0.62, 0.14], [0.05, 0.45], [-0.3, 0.42]], 0.06)
        .sideways()
        .at(0.17)
        .both("x")
    )
    axle = bar([-0.36, -0.1, 0.3], [0.36, -0.1, 0.3], 0.04)
    radius = u(0.26, 0.34)
    rim = torus(radius, 0.035, 28, 8).sideways()
    spokes = bar([0, 0, 0], [radius, 0, 0], 0.022, sides=6).ring(int(rng.integers(6, 11))).sideways()
    wheel = join([rim, spokes, cylinder(0.07, 0.12, sides=12).sideways()]).at(0.32, -0.1, radius)
    shots = join(
        [
            ball(0.075, 12).at(0.5 + x, -0.6 + y, z)
            for x, y, z in ((0, 0, 0.07), (0.15, 0, 0.07), (0.07, 0.13, 0.07), (0.07, 0.04, 0.19))
        ]
    )
    return [("barrel", barrel), ("carriage", join([cheek, axle])), ("wheel", wheel.both("x")), ("shot", shots)]


PLAY: tuple[Recipe, ...] = (
    recipe(football, leather="leather:white,pale|plastic:white,bright", patch="plastic:black,bright|leather:dark"),
    recipe(
        tennis_racket,
        frame="plastic:bright,dark|wood|metal",
        string="plastic:white,yellow",
        grip="leather|rubber",
        ball="fabric:lime,yellow",
    ),
    recipe(bowling_pin, pin="plastic:white,pale|wood", band="plastic:red,blue"),
    recipe(dumbbell, plate="metal:dark,black|rubber|plastic:bright", grip="metal", end="metal|plastic:bright"),
    recipe(
        kite,
        first="fabric:bright|paper:bright",
        second="fabric:bright,white|paper:bright,white",
        stick="wood",
        bow="fabric:bright",
    ),
    recipe(
        spinning_top,
        lower="wood|plastic:bright|metal:bright",
        upper="wood|plastic:bright|metal:bright",
        band="metal|plastic:bright,white",
        stick="wood|metal",
    ),
    recipe(dice, cube="plastic:white,red,bright,pale|wood", dot="plastic:black,white"),
    recipe(
        chess_piece,
        body="wood:dark,pale,brown|plastic:black,white|stone",
        head="wood:dark,pale,brown|plastic:black,white|stone",
        felt="fabric:green,red",
    ),
    recipe(
        snowman,
        snow="wax:white",
        nose="fruit:orange",
        coal="stone:dark,black",
        scarf="fabric:bright",
        stick="bark:brown",
    ),
    recipe(
        robot,
        body="metal|metal:bright|plastic:bright,white",
        limb="metal|plastic:dark,bright",
        light="glass:red,yellow,blue|plastic:bright",
        metal="metal:dark,brass",
    ),
    recipe(teddy_bear, fur="fur:brown,tan,pink,pale", pale="fur:pale,tan", black="plastic:black", bow="fabric:bright"),
    recipe(sword, blade="metal:silver", guard="metal:gold,brass,dark", handle="leather|wood"),
    recipe(
        shield,
        body="wood|metal:bright,silver|leather",
        rim="metal:dark,gold,silver",
        emblem="metal:gold|plastic:white,red,blue",
    ),
    recipe(
        bow_and_arrow, wood="wood", string="fabric:white", grip="leather", tip="metal", feather="paper:bright,white"
    ),
    recipe(trophy, metal="metal:gold,silver,copper", base="wood:dark|stone:dark", plaque="metal:silver,gold"),
    recipe(anchor, iron="metal:dark,grey|metal", stock="metal:dark|wood", rope="fabric:tan"),
    recipe(gift_box, paper="paper:bright,pale", lid="paper:bright,pale", ribbon="fabric:bright,white"),
    recipe(traffic_cone, cone="plastic:orange,red,yellow", foot="rubber|plastic:orange", stripe="plastic:white"),
    recipe(fire_hydrant, body="metal:red,yellow", cap="metal:red,yellow,silver", bolt="metal:silver,dark"),
    recipe(treasure_chest, wood="wood", iron="metal:dark,brass", gold="metal:gold"),
    recipe(crystal, crystal="glass:blue,purple,pink,green|glass:white", rock="stone"),
    recipe(
        telescope,
        tube="metal:dark|leather|plastic:white",
        brass="metal:brass,gold",
        glass="glass:blue,white",
        leg="wood|metal",
    ),
    recipe(cannon, barrel="metal:dark,black|metal:brass", carriage="wood", wheel="wood", shot="metal:black"),
)
