"""Things that run on electricity."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import in_space, spline, symmetric
from sim.solids import (
    bar,
    box,
    cylinder,
    extrude,
    lathe,
    slab,
    superellipsoid,
    torus,
    tube,
)


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


APPLIANCES: tuple[Recipe, ...] = (
    recipe(
        laptop, case="metal|plastic:dark,white", key="plastic:black,dark", screen="glass:dark,blue|plastic:black,blue"
    ),
    recipe(
        camera,
        body="metal|plastic:black,dark|leather",
        lens="plastic:black|metal:dark",
        glass="glass:dark,blue",
        knob="metal",
    ),
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
    recipe(iron, sole="metal", body="plastic:bright,white", handle="plastic:dark,white,bright", dial="plastic:dark"),
)
