"""Tools of the garden, the desk and the kitchen drawer."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.families.tools import grip
from sim.geometry import Parts, join
from sim.outlines import ellipse, in_space, spline, symmetric
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


def scissors(rng: Rng) -> Parts:
    u = rng.uniform
    blade_l, ring, spread = u(0.5, 0.75), u(0.09, 0.14), u(8, 26)
    blade = extrude([[0, -0.05], [0.05, 0], [0.035, blade_l * 0.6], [-0.012, blade_l], [-0.02, 0]], 0.018)
    shank = extrude([[-0.03, 0.02], [-0.05, -0.25], [-0.02, -0.26], [0.045, 0.0]], 0.02)
    long = u(1.0, 1.7)
    loop = (
        tube(in_space(ellipse(ring, ring * long, 24), "xy"), u(0.022, 0.035), 8, closed=True)
        .turned(z=18)
        .at(-0.13, -0.26 - ring * long)
    )
    metal, plastic = join([blade, shank]).turned(z=spread), loop.turned(z=spread)
    screw = cylinder(0.035, 0.07, sides=14)
    return [
        (name, solid.turned(x=90))
        for name, solid in (
            ("blade", join([metal.at(z=0.01), metal.turned(y=180).at(z=-0.01)])),
            ("handle", join([plastic, plastic.turned(y=180)])),
            ("screw", screw),
        )
    ]


def shovel(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, tall = u(0.9, 1.2), u(0.22, 0.32), u(0.3, 0.42)
    x, z = np.linspace(-1, 1, 9)[None, :], np.linspace(0, 1, 10)[:, None]
    point = rng.random() < 0.6
    half = wide / 2 * ((1 - 0.999 * z**3) ** 0.5 if point else 1 - 0.12 * z)
    blade = slab(
        np.stack([half * x, -tall * z + 0 * x, 0.06 * (x**2) * (1 - 0.5 * z) + 0.1 * (z - 0.4) ** 2], axis=2), 0.016
    ).turned(x=90)
    shaft = bar([0, 0.03, -0.05], [0, 0.05, long], 0.02)
    socket = bar([0, 0.025, -0.1], [0, 0.035, 0.14], 0.03, 0.026)
    if rng.random() < 0.6:
        top = tube(
            spline(
                [
                    [0, 0.05, long - 0.02],
                    [0.09, 0.05, long + 0.05],
                    [0.09, 0.05, long + 0.12],
                    [-0.09, 0.05, long + 0.12],
                    [-0.09, 0.05, long + 0.05],
                    [0, 0.05, long - 0.02],
                ],
                3,
            ),
            0.018,
        )
    else:
        top = bar([-0.1, 0.05, long], [0.1, 0.05, long], 0.022)
    return [("blade", join([blade, socket])), ("shaft", join([shaft, top]))]


def rake(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, count = u(1.0, 1.3), u(0.3, 0.45), int(rng.integers(8, 15))
    shaft = bar([0, 0, 0], [0, 0, long], 0.02)
    if rng.random() < 0.5:
        head = [bar([-wide / 2, 0, 0], [wide / 2, 0, 0], 0.02)]
        head += [
            bar([x, 0, 0], [x, -0.14, -0.04], 0.012, 0.006, sides=6) for x in np.linspace(-wide / 2, wide / 2, count)
        ]
    else:
        head = [
            tube(spline([[0, 0, 0.1], [0.55 * x, 0, -0.15], [x, -0.01, -0.32], [x * 1.02, -0.08, -0.36]], 3), 0.009, 5)
            for x in np.linspace(-wide / 2, wide / 2, count)
        ]
        head.append(bar([-wide * 0.4, 0, -0.2], [wide * 0.4, 0, -0.2], 0.012))
    return [("shaft", shaft), ("head", join(head))]


def broom(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, deep, tall = u(1.0, 1.3), u(0.3, 0.5), 0.1, u(0.16, 0.3)
    shaft = bar([0, 0, 0], [0, 0.03, long], 0.02)
    if rng.random() < 0.5:
        block = box(wide, deep, 0.06, bevel=0.015).at(z=0.0)
        hair = box(wide * 0.96, deep * 0.9, tall).tapered(1 / u(1.1, 1.4)).scaled(u(1.05, 1.25), 1.2, 1).at(z=-tall / 2)
    else:
        block = lathe([[0, 0.1], [0.05, 0.08], [0.07, -0.08], [0, -0.1]], 16)
        hair = (
            lathe([[0, 0], [0.065, 0], [0.08, -0.1], [wide * 0.42, -0.35 - tall * 0.5], [0, -0.38 - tall * 0.5]], 20)
            .scaled(1, 0.55, 1)
            .at(z=-0.04)
        )
    count = 14
    strands = join(
        [
            bar([x * 0.5, s * 0.03, -0.1], [x, s * 0.05, -tall * 1.0], 0.006, sides=4)
            for x in np.linspace(-wide * 0.45, wide * 0.45, count)
            for s in (-1, 1)
        ]
    )
    return [("shaft", shaft), ("block", block), ("hair", join([hair, strands]))]


def paint_brush(rng: Rng) -> Parts:
    u = rng.uniform
    wide, long, hair = u(0.1, 0.3), u(0.4, 0.6), u(0.18, 0.28)
    outline = symmetric(
        [
            [0, 0],
            [wide / 2, 0],
            [wide * 0.45, 0.12],
            [0.05, 0.22],
            [0.035, long * 0.6],
            [0.055, long * 0.92],
            [0, long],
        ],
        3,
    )
    handle = extrude(outline, 0.06, bevel=0.015).turned(x=90)
    band = box(wide * 1.03, 0.09, 0.13, bevel=0.01).at(z=-0.05)
    bristles = box(wide, 0.075, hair).tapered(1.0).at(z=-0.1 - hair / 2)
    tip = bristles.warped(
        lambda v: v * np.stack([np.ones(len(v)), np.where(v[:, 2] < -0.12, 0.35, 1.0), np.ones(len(v))], axis=1)
    )
    return [("handle", handle), ("band", band), ("bristle", tip)]


def magnifying_glass(rng: Rng) -> Parts:
    u = rng.uniform
    radius = u(0.26, 0.38)
    rim = torus(radius, u(0.03, 0.05), 32, 10).turned(x=90)
    lens = superellipsoid(radius, radius, 0.04).turned(x=90)
    neck = bar([0, 0, -radius], [0, 0, -radius - 0.12], 0.03)
    handle = grip(u(0.45, 0.65), 0.05).at(z=-radius - 0.1)
    return [("rim", join([rim, neck])), ("lens", lens), ("handle", handle)]


def spoon(rng: Rng) -> Parts:
    u = rng.uniform
    rx, ry, long = u(0.12, 0.18), u(0.18, 0.26), u(0.6, 0.85)
    bowl = superellipsoid(rx, 0.075, ry).turned(x=0)
    dish = bowl.warped(
        lambda v: np.column_stack([v[:, 0], np.where(v[:, 1] < 0, -0.75 * v[:, 1] + 0.0, v[:, 1]) + 0.02, v[:, 2]])
    )
    path = spline([[0, 0.03, ry * 0.9], [0, 0.0, ry + 0.12], [0, 0.01, ry + long * 0.7], [0, -0.03, ry + long]], 4)
    stem = tube(path, np.interp(np.linspace(0, 1, 13), [0, 0.3, 1], [0.035, 0.022, 0.05]), 8).scaled(1, 0.55, 1)
    return [("bowl", dish), ("stem", stem)]


def fork(rng: Rng) -> Parts:
    u = rng.uniform
    tines, wide, deep, long = int(rng.integers(3, 5)), u(0.16, 0.22), u(0.2, 0.32), u(0.6, 0.85)
    xs = np.linspace(-wide / 2, wide / 2, tines)
    prongs = join(
        [
            tube(spline([[x, 0, 0], [x, 0.02, -deep * 0.6], [x, -0.02, -deep]], 4), np.linspace(0.018, 0.008, 9), 6)
            for x in xs
        ]
    )
    palm = extrude(
        symmetric(
            [[0, -0.02], [wide / 2 + 0.02, -0.02], [wide / 2 + 0.02, 0.08], [0.04, 0.24], [0.025, 0.32], [0, 0.32]], 2
        ),
        0.03,
        0.008,
    ).turned(x=90)
    path = spline([[0, 0, 0.27], [0, 0.0, 0.4], [0, 0.01, 0.3 + long * 0.7], [0, -0.03, 0.3 + long]], 4)
    stem = tube(path, np.interp(np.linspace(0, 1, 13), [0, 0.3, 1], [0.026, 0.022, 0.045]), 8).scaled(1, 0.55, 1)
    return [("prong", join([prongs, palm])), ("stem", stem)]


def knife(rng: Rng) -> Parts:
    u = rng.uniform
    blade_l, wide = u(0.6, 0.9), u(0.1, 0.22)
    edge = spline(
        [
            [wide * 0.25, 0],
            [wide, 0.03],
            [wide * 0.98, blade_l * 0.5],
            [wide * u(0.3, 0.7), blade_l * 0.9],
            [0, blade_l],
        ],
        4,
    )
    blade = extrude(np.concatenate([edge, [[0, 0]]]), 0.02).turned(x=90)
    handle = (
        extrude(symmetric([[0, 0], [0.05, 0], [0.045, 0.15], [0.06, 0.3], [0.055, 0.38], [0, 0.42]], 3), 0.07, 0.02)
        .turned(x=-90)
        .at(0.05, 0, 0.02)
    )
    rivets = join([cylinder(0.014, 0.085, sides=8).turned(x=90).at(0.05, 0, -z) for z in (0.08, 0.2, 0.3)])
    return [("blade", blade), ("handle", handle), ("rivet", rivets)]


def whisk(rng: Rng) -> Parts:
    u = rng.uniform
    tall, wide, wires = u(0.5, 0.65), u(0.13, 0.2), int(rng.integers(4, 7))
    loop = spline(
        [
            [0.025, 0, 0],
            [wide * 0.6, 0, -tall * 0.4],
            [wide, 0, -tall * 0.75],
            [0, 0, -tall],
            [-wide, 0, -tall * 0.75],
            [-wide * 0.6, 0, -tall * 0.4],
            [-0.025, 0, 0],
        ],
        4,
    )
    cage = join([tube(loop, 0.009, 5).turned(z=180 * i / wires) for i in range(wires)])
    handle = grip(u(0.4, 0.5), 0.042, 1.2).mirrored("z")
    return [("wire", cage), ("handle", handle)]


UTENSILS: tuple[Recipe, ...] = (
    recipe(scissors, blade="metal", handle="plastic:bright,black|metal", screw="metal"),
    recipe(shovel, blade="metal", shaft="wood|metal"),
    recipe(rake, shaft="wood|metal", head="metal:dark,green|wood"),
    recipe(broom, shaft="wood|metal", block="wood|plastic:bright", hair="fur:tan,yellow|plastic:bright"),
    recipe(paint_brush, handle="wood|plastic:bright", band="metal", bristle="fur:dark,tan"),
    recipe(magnifying_glass, rim="metal", lens="glass:white", handle="wood|plastic:black"),
    recipe(spoon, bowl="metal|wood", stem="metal|wood"),
    recipe(fork, prong="metal", stem="metal|wood"),
    recipe(knife, blade="metal", handle="wood|plastic:black", rivet="metal"),
    recipe(whisk, wire="metal", handle="metal|wood|plastic"),
)
