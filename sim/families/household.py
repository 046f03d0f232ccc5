"""Things about the house and the desk."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import Array, ellipse, in_space, rectangle, spline
from sim.solids import (
    ball,
    bar,
    beam,
    blob,
    box,
    cylinder,
    extrude,
    lathe,
    plate_with_hole,
    slab,
    tube,
)


def book(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, thick = u(0.5, 0.7), u(0.7, 0.95), u(0.08, 0.22)
    if rng.random() < 0.4:  # open
        x, y = np.linspace(0, 1, 12)[:, None], np.linspace(-0.5, 0.5, 3)[None, :]
        page = np.stack(
            [wide * x + 0 * y, tall * y + 0 * x, 0.12 * np.sin(np.pi * x**0.6) * (1 - 0.4 * x) + 0 * y], axis=2
        )
        pages = slab(page, 0.08).both("x")
        cover = box(wide * 2.08, tall * 1.05, 0.025).at(z=-0.05)
        ribbon = box(0.03, tall * 0.6, 0.01).at(0.01, -tall * 0.35, 0.08)
        return [("cover", cover.turned(x=25)), ("page", pages.turned(x=25)), ("title", ribbon.turned(x=25))]
    covers = join([box(wide, tall, 0.02).at(z=z) for z in (-thick / 2, thick / 2)])
    spine = (
        extrude(
            [
                [-thick * 0.2, -thick / 2 - 0.01],
                [0, -thick / 2 - 0.01],
                [0, thick / 2 + 0.01],
                [-thick * 0.2, thick / 2 + 0.01],
            ],
            tall,
        )
        .turned(x=90)
        .at(-wide / 2)
    )
    pages = box(wide * 0.94, tall * 0.95, thick).at(0.005)
    title = join(
        [
            box(wide * 0.6, 0.05, 0.012).at(0, tall * 0.25, thick / 2 + 0.008),
            box(wide * 0.4, 0.03, 0.012).at(0, tall * 0.12, thick / 2 + 0.008),
        ]
    )
    return [(n, s.turned(z=u(-4, 4))) for n, s in (("cover", join([covers, spine])), ("page", pages), ("title", title))]


def telephone(rng: Rng) -> Parts:
    u = rng.uniform
    levels = [(0.62, 0.5, 0.0, 0.0), (0.6, 0.46, 0.08, 0.02), (0.36, 0.22, 0.32, 0.1)]
    body = loft(
        np.stack([np.column_stack([np.add(rectangle(w, d, 0.06), [0, y]), np.full(16, z)]) for w, d, z, y in levels])
    )
    slope = u(30, 40)
    dial = cylinder(0.16, 0.03, sides=28).turned(x=slope).at(0, -0.12, 0.2)
    holes = cylinder(0.026, 0.02, sides=10).at(0.11, 0, 0.02).ring(10).turned(x=slope).at(0, -0.12, 0.2)
    path = spline([[-0.34, 0.08, 0.36], [-0.28, 0.08, 0.45], [0, 0.08, 0.5], [0.28, 0.08, 0.45], [0.34, 0.08, 0.36]], 5)
    handset = join(
        [
            tube(path, np.interp(np.linspace(0, 1, 21), [0, 0.2, 0.5, 0.8, 1], [0.08, 0.05, 0.045, 0.05, 0.08]), 12),
            cylinder(0.09, 0.07, 0.07, sides=18).at(0.34, 0.08, 0.34).both("x"),
        ]
    )
    cradle = box(0.05, 0.12, 0.14).at(0.13, 0.09, 0.38).both("x")
    t = np.linspace(0, 1, 50)
    cord = tube(
        np.column_stack(
            [-0.38 - 0.1 * np.sin(t * np.pi) + 0.02 * np.cos(t * 60), 0.05 + 0.02 * np.sin(t * 60), 0.33 * (1 - t)]
        ),
        0.012,
        5,
    )
    return [("body", join([body, cradle])), ("dial", dial), ("hole", holes), ("handset", handset), ("hole", cord)]


def alarm_clock(rng: Rng) -> Parts:
    u = rng.uniform
    radius, deep = 0.4, u(0.18, 0.28)
    case = lathe(
        [
            [0, -deep / 2],
            [radius * 0.95, -deep / 2],
            [radius, 0],
            [radius * 0.97, deep / 2],
            [radius * 0.85, deep / 2],
            [radius * 0.85, deep * 0.4],
            [0, deep * 0.4],
        ],
        32,
    ).turned(x=90)
    dial = cylinder(radius * 0.84, 0.02, sides=32).turned(x=90).at(0, -deep * 0.43)
    marks = join(
        [box(0.02, 0.02, 0.06 if i % 3 else 0.09).at(0, -deep * 0.46, radius * 0.7).turned(y=30 * i) for i in range(12)]
    )
    hands = join(
        [
            beam([0, -deep * 0.5, 0], [r * np.cos(a), -deep * 0.5, r * np.sin(a)], 0.03, 0.015)
            for r, a in ((radius * 0.4, u(0, 6)), (radius * 0.62, u(0, 6)))
        ]
    )
    bell_part = (
        lathe(spline([[0.17, 0], [0.14, 0.08], [0.001, 0.13]], 4), 20).turned(y=32).at(0.24, 0, radius * 0.88).both("x")
    )
    striker = join([bar([0, 0, radius * 0.9], [0, 0, radius + 0.2], 0.015), ball(0.04, 10).at(0, 0, radius + 0.18)])
    leg = bar([0.2, 0, -radius * 0.85], [0.3, 0, -radius - 0.14], 0.03, 0.02).both("x")
    return [("case", case), ("dial", dial), ("hand", join([marks, hands])), ("bell", join([bell_part, striker, leg]))]


def hourglass(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall, level = u(0.2, 0.27), 0.45, u(0.2, 0.8)
    half = spline([[0.025, 0], [radius * 0.55, 0.12], [radius, 0.28], [radius * 0.9, tall]], 5)
    glass = lathe(np.concatenate([half[::-1] * [1, -1], half[1:]]), 28)
    sand_r = np.interp(tall * level, half[:, 1], half[:, 0]) * 0.93
    top_sand = lathe(
        np.concatenate(
            [half[half[:, 1] < tall * level] * [0.93, 1], [[sand_r, tall * level], [0.001, tall * level * 0.85]]]
        ),
        24,
    )
    heap = lathe(
        [[radius * 0.85, -tall + 0.02], [radius * 0.8, -tall + 0.06], [0.001, -tall + 0.1 + 0.2 * (1 - level)]], 24
    )
    discs = join(
        [
            lathe([[0, -0.03], [radius * 1.25, -0.03], [radius * 1.3, 0], [radius * 1.25, 0.03], [0, 0.03]], 28).at(z=z)
            for z in (-tall, tall)
        ]
    )
    posts = (
        lathe(spline([[0.02, -tall], [0.035, -tall * 0.5], [0.02, 0], [0.035, tall * 0.5], [0.02, tall]], 3), 10)
        .at(radius * 1.12)
        .ring(int(rng.integers(3, 5)), 45)
    )
    return [("glass", glass), ("sand", join([top_sand, heap])), ("wood", join([discs, posts]))]


def globe(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tilt = 0.36, u(15, 28)
    ball_part = ball(radius, 32)
    lands = []
    for _ in range(int(rng.integers(5, 8))):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        patch = blob(rng, u(0.1, 0.2), 0.3, 4, 14)
        v = patch.vertices - direction * np.dot(patch.vertices, direction)[:, None] * 0.9 + direction * radius
        v *= (radius * 1.012 / np.linalg.norm(v, axis=1))[:, None] * np.where(
            patch.vertices @ direction > 0, 1.0, 0.97
        )[:, None]
        lands.append(Solid(v, patch.faces, patch.smooth))
    arc_path = in_space(
        np.stack(
            [(radius + 0.06) * np.cos(a := np.radians(np.linspace(-92, 92, 22))), (radius + 0.06) * np.sin(a)], axis=1
        ),
        "xz",
    )
    meridian = tube(arc_path, 0.022, 8)
    pins = join(
        [
            bar([0, 0, radius - 0.02], [0, 0, radius + 0.09], 0.018),
            bar([0, 0, -radius + 0.02], [0, 0, -radius - 0.09], 0.018),
        ]
    )
    stand = lathe(spline([[0.28, -0.62], [0.2, -0.58], [0.045, -0.52], [0.04, -0.42]], 4), 22)
    return [
        ("sea", ball_part.turned(y=tilt)),
        ("land", join(lands).turned(y=tilt)),
        ("stand", join([meridian.turned(y=tilt), pins.turned(y=tilt), stand])),
    ]


def bathtub(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, tall = 1.5, u(0.65, 0.8), u(0.45, 0.55)

    def ring(a: float, b: float, z: float, slope: float = 0.0) -> Array:
        o = ellipse(1.0, sides=32)
        o = np.sign(o) * np.abs(o) ** 0.75
        return np.column_stack([a * o[:, 0], b * o[:, 1], z + slope * np.maximum(o[:, 0], 0) ** 3])

    lift = u(0.0, 0.2)
    levels = [
        ring(long * 0.38, wide * 0.36, 0.12),
        ring(long * 0.46, wide * 0.46, tall * 0.7),
        ring(long * 0.5, wide * 0.5, tall + 0.1, lift),
        ring(long * 0.46, wide * 0.44, tall + 0.1, lift),
        ring(long * 0.4, wide * 0.36, 0.25),
    ]
    tub = loft(np.array(levels))
    water = loft(np.stack([ring(long * 0.44, wide * 0.42, tall - 0.1), ring(long * 0.44, wide * 0.42, tall - 0.08)]))
    feet = tube(spline([[0.42, 0.2, 0.22], [0.52, 0.27, 0.12], [0.5, 0.28, 0.0]], 4), 0.04).both("x").both("y")
    tap = join(
        [
            tube(
                spline(
                    [
                        [-long * 0.56, 0, 0],
                        [-long * 0.56, 0, tall + 0.2],
                        [-long * 0.5, 0, tall + 0.32],
                        [-long * 0.4, 0, tall + 0.22],
                    ],
                    4,
                ),
                0.025,
            ),
            bar([-long * 0.56, -0.1, tall + 0.14], [-long * 0.56, 0.1, tall + 0.14], 0.018),
        ]
    )
    return [("tub", tub), ("water", water), ("metal", join([feet, tap]))]


def toilet(rng: Rng) -> Parts:
    u = rng.uniform
    rings = [(0.16, 0.24, 0.0, 0.05), (0.14, 0.2, 0.15, 0.02), (0.22, 0.3, 0.36, -0.04), (0.25, 0.34, 0.42, -0.05)]
    bowl = loft(
        np.stack([np.column_stack([np.add(ellipse(a, b, 28), [0, y]), np.full(28, z)]) for a, b, z, y in rings])
    )
    outer = ellipse(0.26, 0.35, 28)
    seat = plate_with_hole(outer, outer * 0.7, 0.04).at(0, -0.05, 0.44)
    water = extrude(outer * 0.7, 0.02).at(0, -0.05, 0.425)
    lid = extrude(outer, 0.03).turned(x=u(78, 95)).at(0, 0.28, 0.46 + 0.33)
    tank_h = u(0.35, 0.45)
    tank = box(u(0.45, 0.55), 0.2, tank_h, bevel=0.03).at(0, 0.43, 0.42 + tank_h / 2)
    top = box(0.56, 0.24, 0.04, bevel=0.015).at(0, 0.43, 0.44 + tank_h)
    button = cylinder(0.035, 0.03, sides=14).at(0, 0.43, 0.47 + tank_h)
    return [("ceramic", join([bowl, tank, top])), ("seat", join([seat, lid])), ("water", water), ("button", button)]


def dustbin(rng: Rng) -> Parts:
    u = rng.uniform
    low, high, tall, ribs = u(0.26, 0.32), u(0.34, 0.4), u(0.75, 0.95), int(rng.integers(10, 18))
    body = lathe([[low, 0], [high, tall]], 4 * ribs)
    angle = np.arctan2(body.vertices[:, 1], body.vertices[:, 0])
    wave = (1 + 0.03 * np.cos(ribs * angle))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
    lid = lathe([[high * 1.07, tall], [high * 1.07, tall + 0.06], [high * 0.6, tall + 0.14], [0, tall + 0.16]], 32)
    grip = tube(spline([[-0.1, 0, 0.14], [-0.08, 0, 0.22], [0.08, 0, 0.22], [0.1, 0, 0.14]], 3), 0.02).at(z=tall)
    side = (
        tube(
            spline(
                [
                    [high * 0.92, -0.1, 0],
                    [high * 0.92 + 0.1, -0.08, -0.03],
                    [high * 0.92 + 0.1, 0.08, -0.03],
                    [high * 0.92, 0.1, 0],
                ],
                3,
            ),
            0.018,
        )
        .at(z=tall * 0.75)
        .both("x")
    )
    return [("body", body.warped(lambda v: v * wave)), ("lid", lid), ("handle", join([grip, side]))]


def padlock(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, deep = u(0.5, 0.65), u(0.42, 0.6), u(0.16, 0.26)
    body = box(wide, deep, tall, bevel=0.05)
    reach, up = wide * 0.32, u(0.3, 0.45)
    lift = u(0, 0.15)
    arch = spline(
        [
            [-reach, -0.1],
            [-reach, up * 0.4],
            [-reach * 0.75, up * 0.85],
            [0, up],
            [reach * 0.75, up * 0.85],
            [reach, up * 0.4],
            [reach, lift if lift > 0.07 else -0.1],
        ],
        4,
    )
    shackle = tube(in_space(arch, "xz"), u(0.045, 0.065), 10).at(z=tall / 2)
    hole = join(
        [
            cylinder(0.05, 0.03, sides=16).turned(x=90).at(0, -deep / 2, 0),
            box(0.035, 0.03, 0.12).at(0, -deep / 2, -0.07),
        ]
    )
    plate_part = cylinder(0.13, 0.02, sides=24).turned(x=90).at(0, -deep / 2, -0.03)
    return [("body", body), ("shackle", shackle), ("plate", plate_part), ("hole", hole)]


def pencil(rng: Rng) -> Parts:
    u = rng.uniform
    long, radius = u(0.8, 1.0), u(0.045, 0.06)
    tilt = 60
    shaft = lathe([[radius, 0], [radius, long]], 6).at(z=0.16)
    cone = lathe([[0.014, 0.04], [radius * 0.95, 0.17], [0, 0.17]], 16)
    lead = lathe([[0.001, 0], [0.015, 0.042], [0, 0.042]], 10)
    band = cylinder(radius * 1.02, 0.07, sides=16).at(z=long + 0.18)
    rubber = lathe([[radius * 0.95, 0], [radius * 0.95, 0.06], [radius * 0.6, 0.09], [0, 0.095]], 16).at(z=long + 0.2)
    return [
        (n, s.turned(y=tilt))
        for n, s in (("paint", shaft), ("wood", cone), ("lead", lead), ("band", band), ("rubber", rubber))
    ]


HOUSEHOLD: tuple[Recipe, ...] = (
    recipe(book, cover="leather|fabric|paper:bright", page="paper:pale,white", title="metal:gold|paper:white,bright"),
    recipe(
        telephone,
        body="plastic:black,red,bright,pale",
        dial="plastic:white,dark|metal",
        hole="plastic:black",
        handset="plastic:black,red,bright",
    ),
    recipe(
        alarm_clock,
        case="metal:bright,brass|plastic:bright",
        dial="paper:white,pale",
        hand="plastic:black",
        bell="metal",
    ),
    recipe(hourglass, glass="glass:white", sand="stone:tan,pale,red", wood="wood|metal:brass"),
    recipe(globe, sea="plastic:blue|paper:blue,pale", land="paper:green,tan,brown,yellow", stand="wood|metal:brass"),
    recipe(bathtub, tub="ceramic:white,pale", water="glass:blue,white", metal="metal:gold,silver"),
    recipe(
        toilet, ceramic="ceramic:white,pale", seat="plastic:white,pale|wood", water="glass:blue,white", button="metal"
    ),
    recipe(
        dustbin,
        body="metal|plastic:green,grey,blue",
        lid="metal|plastic:green,grey,bright",
        handle="metal|plastic:dark",
    ),
    recipe(padlock, body="metal:brass,gold,bright", shackle="metal", plate="metal:dark,silver", hole="plastic:black"),
    recipe(
        pencil,
        paint="plastic:yellow,red,green,blue",
        wood="wood:tan",
        lead="plastic:black",
        band="metal",
        rubber="rubber|plastic:pink",
    ),
)
