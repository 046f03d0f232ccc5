"""Household appliances, electronics and desk things."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import Array, ellipse, in_space, rectangle, spline, symmetric
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
    superellipsoid,
    torus,
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


def laptop(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, thick, angle = u(0.85, 1.0), u(0.58, 0.7), u(0.025, 0.05), u(95, 125)
    base = box(wide, deep, thick, bevel=0.01)
    keys = []
    for row in range(5):
        for column in range(12):
            keys.append(
                box(wide * 0.066, deep * 0.085, 0.012).at(
                    (column - 5.5) * wide * 0.077, deep * (0.36 - 0.1 * row), thick / 2 + 0.004
                )
            )
    pad = box(wide * 0.28, deep * 0.24, 0.006).at(0, -deep * 0.32, thick / 2 + 0.002)
    lid = box(wide, deep, thick * 0.5, bevel=0.008).at(0, deep / 2, 0)
    screen = box(wide * 0.93, deep * 0.86, 0.01).at(0, deep / 2, thick * 0.27)
    hinge = bar([-wide * 0.35, deep / 2, thick / 2], [wide * 0.35, deep / 2, thick / 2], 0.018)

    def opened(solid: Solid) -> Solid:
        return solid.turned(x=180 - angle).at(0, deep / 2, thick / 2)

    return [
        ("case", base),
        ("key", join([*keys, pad])),
        ("case", opened(lid)),
        ("screen", opened(screen)),
        ("case", hinge),
    ]


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


def camera(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, deep = u(0.85, 1.0), u(0.5, 0.62), u(0.25, 0.34)
    body = box(wide, deep, tall, bevel=0.05)
    hump = (
        extrude([[-0.18, 0], [0.18, 0], [0.12, 0.13], [-0.12, 0.13]], deep * 0.8).turned(x=90).at(0, 0, tall / 2 - 0.01)
    )
    radius, long = tall * u(0.34, 0.42), u(0.2, 0.45)
    lens = (
        lathe(
            [
                [radius * 0.9, 0],
                [radius, long * 0.3],
                [radius * 0.92, long * 0.55],
                [radius, long],
                [radius * 0.82, long],
                [radius * 0.75, long * 0.75],
                [0, long * 0.75],
            ],
            28,
        )
        .turned(x=90)
        .at(u(-0.08, 0.05), -deep / 2)
    )
    glass = superellipsoid(radius * 0.76, 0.04, radius * 0.76).at(lens.vertices[:, 0].mean(), -deep / 2 - long * 0.78)
    grip = superellipsoid(0.09, 0.1, tall * 0.42, upright=0.4).at(-wide * 0.42, -deep * 0.45)
    knobs = join(
        [
            cylinder(0.06, 0.06, sides=16).at(-wide * 0.36, 0, tall / 2 + 0.02),
            cylinder(0.08, 0.05, sides=20).at(wide * 0.34, 0, tall / 2 + 0.02),
        ]
    )
    flash = box(0.14, 0.03, 0.07).at(wide * 0.33, -deep / 2, tall * 0.33)
    return [
        ("body", join([body, hump])),
        ("lens", join([lens, grip])),
        ("glass", join([glass, flash])),
        ("knob", knobs),
    ]


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


def light_bulb(rng: Rng) -> Parts:
    u = rng.uniform
    radius, neck = u(0.24, 0.32), 0.11
    bulb = lathe(
        spline(
            [
                [neck, -0.05],
                [neck * 1.1, 0.05],
                [radius, 0.38],
                [radius * 0.75, 0.38 + radius * 0.75],
                [0.001, 0.38 + radius],
            ],
            6,
        ),
        28,
    )
    z = np.linspace(-0.34, -0.06, 40)
    thread = tube(np.column_stack([0.105 * np.cos(z * 80), 0.105 * np.sin(z * 80), z]), 0.022, 6)
    socket = join([cylinder(0.1, 0.3, sides=18).at(z=-0.2), thread])
    tip = lathe([[0.08, -0.34], [0.045, -0.4], [0, -0.41]], 14)
    wires = bar([0.02, 0, -0.05], [0.07, 0, 0.28], 0.006, sides=5).both("x")
    coil = np.linspace(-1, 1, 40)
    filament = tube(
        np.column_stack(
            [0.07 * coil, 0.015 * np.cos(coil * 40), 0.28 + 0.015 * np.sin(coil * 40) + 0.05 * (1 - coil**2)]
        ),
        0.006,
        5,
    )
    return [("glass", bulb), ("socket", socket), ("tip", tip), ("wire", join([wires, filament]))]


def fan(rng: Rng) -> Parts:
    u = rng.uniform
    blades, radius = int(rng.integers(3, 6)), u(0.3, 0.38)
    x, y = np.linspace(0.06, radius, 7)[:, None], np.linspace(-1, 1, 5)[None, :]
    blade = slab(np.stack([x + 0 * y, y * 0.09 * (0.5 + x / radius), 0.05 * y + 0 * x], axis=2), 0.012)
    rotor = join([blade.ring(blades), lathe([[0.07, -0.04], [0.07, 0.03], [0, 0.07]], 18)]).turned(x=90)
    rings = join(
        [torus(radius * s, 0.008, 32, 6).at(z=z) for s, z in ((1.12, 0), (1.05, 0.09), (1.05, -0.09), (0.5, 0.12))]
    )
    wires = tube(
        np.array(
            [
                [0.03, 0, 0.13],
                [radius * 0.5, 0, 0.12],
                [radius * 1.05, 0, 0.09],
                [radius * 1.12, 0, 0],
                [radius * 1.05, 0, -0.09],
            ]
        ),
        0.005,
        5,
    ).ring(int(rng.integers(12, 18)))
    motor = lathe([[0, 0], [0.11, 0.02], [0.1, 0.18], [0, 0.2]], 18).turned(x=-90).at(0, 0.06)
    tall = u(0.45, 1.0)
    stand = join(
        [
            bar([0, 0.12, -0.05], [0, 0.12, -tall], 0.03),
            lathe([[0, 0], [0.28, 0], [0.26, 0.03], [0.04, 0.06], [0, 0.06]], 24).at(0, 0.12, -tall - 0.03),
        ]
    )
    return [("blade", rotor), ("cage", join([rings, wires]).turned(x=90)), ("stand", join([motor, stand]))]


def refrigerator(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, tall = u(0.6, 0.8), u(0.55, 0.68), u(1.3, 1.75)
    split = u(0.25, 0.4) if rng.random() < 0.5 else u(0.6, 0.75)
    body = box(wide, deep, tall, bevel=0.02).at(z=tall / 2)
    lower = box(wide * 0.99, 0.07, tall * split - 0.02, bevel=0.02).at(0, -deep / 2 - 0.03, tall * split / 2 + 0.01)
    upper = box(wide * 0.99, 0.07, tall * (1 - split) - 0.02, bevel=0.02).at(
        0, -deep / 2 - 0.03, tall * (1 + split) / 2
    )
    handles = join(
        [
            bar([-wide * 0.4, -deep / 2 - 0.12, z - 0.13], [-wide * 0.4, -deep / 2 - 0.12, z + 0.13], 0.018)
            for z in (tall * split - 0.2, tall * split + 0.2)
        ]
    )
    feet = cylinder(0.04, 0.06, sides=10).at(wide * 0.42, deep * 0.4, 0).both("x").both("y")
    return [("body", body), ("door", join([lower, upper])), ("handle", join([handles, feet]))]


def washing_machine(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.62, 0.72), u(0.8, 0.95)
    body = box(wide, wide * 0.95, tall, bevel=0.025).at(z=tall / 2)
    y, z, radius = -wide * 0.475, tall * 0.44, wide * u(0.3, 0.36)
    door = torus(radius, 0.045, 32, 10).turned(x=90).at(0, y, z)
    glass = superellipsoid(radius * 0.95, 0.06, radius * 0.95).at(0, y, z)
    panel = box(wide * 0.96, 0.03, tall * 0.15).at(0, y - 0.005, tall * 0.88)
    knob = cylinder(0.05, 0.06, sides=18).turned(x=90).at(wide * u(-0.1, 0.35), y - 0.03, tall * 0.88)
    buttons = join(
        [
            cylinder(0.016, 0.04, sides=10).turned(x=90).at(-wide * 0.4 + 0.05 * i, y - 0.02, tall * 0.88)
            for i in range(3)
        ]
    )
    return [("body", body), ("door", join([door, knob, buttons])), ("glass", glass), ("panel", panel)]


def cooker(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.62, 0.75), u(0.78, 0.9)
    body = box(wide, 0.62, tall, bevel=0.015).at(z=tall / 2)
    back = box(wide, 0.05, u(0.1, 0.25)).at(0, 0.29, tall + 0.08)
    window = box(wide * 0.7, 0.03, tall * 0.32).at(0, -0.315, tall * 0.45)
    rail = bar([-wide * 0.38, -0.37, tall * 0.68], [wide * 0.38, -0.37, tall * 0.68], 0.016)
    knobs = join(
        [
            cylinder(0.03, 0.05, sides=12).turned(x=90).at(x, -0.33, tall * 0.86)
            for x in np.linspace(-wide * 0.38, wide * 0.38, int(rng.integers(4, 7)))
        ]
    )
    plates = join(
        [
            join([torus(r, 0.014, 24, 6), cylinder(r * 0.5, 0.02, sides=16)]).at(x, y, tall + 0.01)
            for x, y, r in ((-0.16, -0.14, 0.1), (0.16, -0.14, 0.075), (-0.16, 0.14, 0.075), (0.16, 0.14, 0.1))
        ]
    )
    return [("body", join([body, back])), ("glass", window), ("metal", join([rail, knobs])), ("plate", plates)]


def toaster(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, tall = u(0.75, 0.95), u(0.38, 0.5), u(0.5, 0.62)
    body = box(wide, deep, tall, bevel=u(0.05, 0.12)).at(z=tall / 2 + 0.04)
    slots = join([box(wide * 0.72, 0.08, 0.04).at(0, y, tall + 0.035) for y in (-deep * 0.2, deep * 0.2)])
    up = u(0.02, 0.2)
    toast = extrude(
        symmetric(
            [[0, 0], [wide * 0.28, 0], [wide * 0.28, 0.3], [wide * 0.32, 0.38], [wide * 0.2, 0.45], [0, 0.44]], 3
        ),
        0.05,
    ).turned(x=90)
    toasts = join([toast.at(0, y, tall - 0.35 + up) for y in (-deep * 0.2, deep * 0.2)])
    lever = join(
        [
            box(0.06, 0.1, 0.04, bevel=0.01).at(wide / 2 + 0.03, 0, tall * 0.65),
            cylinder(0.045, 0.04, sides=16).sideways().at(wide / 2 + 0.01, -deep * 0.25, tall * 0.3),
        ]
    )
    feet = cylinder(0.04, 0.05, sides=10).at(wide * 0.38, deep * 0.33, 0.025).both("x").both("y")
    return [("body", body), ("slot", join([slots, feet, lever])), ("toast", toasts)]


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


def iron(rng: Rng) -> Parts:
    u = rng.uniform
    side = [[0, -0.5], [u(0.1, 0.16), -0.25], [0.24, 0.15], [0.24, 0.4], [0, 0.4]]
    outline = symmetric(side, 3)
    sole = extrude(outline, 0.05)
    rings = [(1.0, 0.03), (0.96, 0.16), (0.55, 0.28), (0.5, 0.3)]
    body = loft(
        np.stack([np.column_stack([outline * s + [0, 0.06 * (1 - s) * 5], np.full(len(outline), z)]) for s, z in rings])
    )
    high = u(0.5, 0.6)
    handle = tube(
        in_space(spline([[0.36, 0.24], [0.4, high - 0.06], [0.3, high], [-0.05, high - 0.02], [-0.16, 0.26]], 5), "yz"),
        0.045,
        10,
    )
    dial = cylinder(0.08, 0.05, sides=18).at(0, 0.12, 0.31)
    cord = tube(
        spline([[0, 0.42, high - 0.08], [0.1, 0.6, high - 0.1], [0.3, 0.6, 0.2], [0.25, 0.75, 0.0]], 5), 0.018, 6
    )
    return [("sole", sole), ("body", body), ("handle", handle), ("dial", join([dial, cord]))]


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
        laptop, case="metal|plastic:dark,white", key="plastic:black,dark", screen="glass:dark,blue|plastic:black,blue"
    ),
    recipe(
        telephone,
        body="plastic:black,red,bright,pale",
        dial="plastic:white,dark|metal",
        hole="plastic:black",
        handset="plastic:black,red,bright",
    ),
    recipe(
        camera,
        body="metal|plastic:black,dark|leather",
        lens="plastic:black|metal:dark",
        glass="glass:dark,blue",
        knob="metal",
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
    recipe(
        light_bulb, glass="glass:white|glass:yellow", socket="metal:brass,silver", tip="metal:dark", wire="metal:copper"
    ),
    recipe(fan, blade="plastic|metal", cage="metal", stand="plastic:white,dark|metal"),
    recipe(
        refrigerator,
        body="metal:white,silver|plastic:white,bright",
        door="metal:white,silver|plastic:white,bright",
        handle="metal",
    ),
    recipe(
        washing_machine,
        body="metal:white,silver",
        door="metal|plastic:dark",
        glass="glass:dark,blue",
        panel="plastic:white,grey,dark",
    ),
    recipe(cooker, body="metal:white,silver|metal:dark", glass="glass:dark", metal="metal", plate="metal:dark,black"),
    recipe(toaster, body="metal|plastic:bright,white", slot="plastic:black", toast="bread"),
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
    recipe(iron, sole="metal", body="plastic:bright,white", handle="plastic:dark,white,bright", dial="plastic:dark"),
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
