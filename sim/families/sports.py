"""Sports and games of skill."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join
from sim.outlines import ellipse, in_space, spline, star
from sim.solids import (
    ball,
    bar,
    box,
    cylinder,
    extrude,
    lathe,
    superellipsoid,
    tube,
)


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


SPORTS: tuple[Recipe, ...] = (
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
    recipe(dice, cube="plastic:white,red,bright,pale|wood", dot="plastic:black,white"),
    recipe(
        chess_piece,
        body="wood:dark,pale,brown|plastic:black,white|stone",
        head="wood:dark,pale,brown|plastic:black,white|stone",
        felt="fabric:green,red",
    ),
    recipe(trophy, metal="metal:gold,silver,copper", base="wood:dark|stone:dark", plaque="metal:silver,gold"),
    recipe(
        kite,
        first="fabric:bright|paper:bright",
        second="fabric:bright,white|paper:bright,white",
        stick="wood",
        bow="fabric:bright",
    ),
)
