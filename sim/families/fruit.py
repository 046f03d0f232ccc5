"""Fruit and vegetables."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import arc, in_space, lobes, spline
from sim.solids import (
    ball,
    bar,
    extrude,
    lathe,
    leaf,
    superellipsoid,
    tube,
)


def banana(rng: Rng) -> Parts:
    u = rng.uniform
    radius, sweep, thick = u(0.5, 0.8), u(70, 110), u(0.075, 0.1)
    path = in_space(arc(radius, 270 - sweep / 2, 270 + sweep / 2, 18), "xz")
    t = np.linspace(0, 1, 19)
    profile = thick * np.clip(np.minimum(t * 6, (1 - t) * 5) ** 0.5, 0.28, 1)
    one = tube(path, profile, 6)
    ends = join(
        [
            bar(path[-2], path[-1] + [0.07, 0, 0.07], thick * 0.4, thick * 0.34, 6),
            bar(path[1], path[0] + [-0.02, 0, 0.03], thick * 0.33, thick * 0.2, 6),
        ]
    )
    count = int(rng.integers(1, 5))
    skins, tips = [], []
    for i in range(count):
        turn = (i - (count - 1) / 2) * u(16, 22)
        skins.append(one.at(-path[-1][0], 0, 0).turned(x=turn, z=turn).at(path[-1][0]))
        tips.append(ends.at(-path[-1][0], 0, 0).turned(x=turn, z=turn).at(path[-1][0]))
    return [("skin", join(skins)), ("tip", join(tips))]


def apple(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, low = u(0.46, 0.54), u(0.78, 0.98), u(0.55, 0.8)
    profile = spline(
        [
            [0.001, 0.08 * tall],
            [0.16 * low, 0],
            [wide * low, 0.12 * tall],
            [wide, 0.58 * tall],
            [wide * 0.7, 0.93 * tall],
            [0.15, 0.95 * tall],
            [0.001, 0.82 * tall],
        ],
        5,
    )
    stem = tube([[0, 0, tall * 0.8], [0.01, 0, tall * 0.95], [u(0.03, 0.08), 0, tall * u(1.05, 1.2)]], 0.02, 6)
    parts: Parts = [("skin", lathe(profile, 28)), ("stem", stem)]
    parts.append(("leaf", leaf(u(0.2, 0.35), 0.14, 0.1).turned(y=-25, z=u(0, 360)).at(0.02, 0, tall)))
    return parts


def pear(rng: Rng) -> Parts:
    u = rng.uniform
    wide, neck, tall = u(0.36, 0.44), u(0.14, 0.22), u(1.0, 1.2)
    profile = spline(
        [
            [0.001, 0.04],
            [wide * 0.6, 0.03],
            [wide, 0.33 * tall],
            [neck * 1.15, 0.72 * tall],
            [neck * 0.85, 0.95 * tall],
            [0.001, 0.97 * tall],
        ],
        6,
    )
    stem = tube([[0, 0, tall * 0.95], [0.02, 0, tall * 1.05], [u(0.05, 0.1), 0, tall * 1.17]], 0.02, 6)
    return [
        ("skin", lathe(profile, 28)),
        ("stem", stem),
        ("leaf", leaf(0.25, 0.13, 0.2).turned(y=-20, z=u(0, 360)).at(0.01, 0, tall)),
    ]


def pineapple(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.26, 0.33), u(0.65, 0.85)
    body = superellipsoid(wide, wide, tall / 2, upright=0.75, sides=32, rings=18)
    v = body.vertices
    angle, height = np.arctan2(v[:, 1], v[:, 0]), v[:, 2] / tall
    bumps = 1 + 0.07 * np.cos(8 * angle + 22 * height) * np.cos(8 * angle - 22 * height)
    body = body.warped(lambda p: p * (bumps[:, None] * [[1, 1, 0]] + [[0, 0, 1]]))
    blades = []
    for ring, count in enumerate((7, 6, 5)):
        blades.append(
            leaf(u(0.35, 0.5), 0.1, 0.25 - 0.1 * ring, 0.3)
            .turned(y=-(45 + 18 * ring))
            .at(0.03, 0, tall / 2 - 0.02)
            .ring(count, 23 * ring)
        )
    return [("skin", body), ("leaf", join(blades))]


def grapes(rng: Rng) -> Parts:
    u = rng.uniform
    rows, radius = int(rng.integers(4, 6)), u(0.09, 0.11)
    berries = []
    for row in range(rows):
        count = max(1, 2 * (rows - row) - 2 + (row == 0))
        spread = radius * 0.33 * count
        for i in range(count):
            angle = 2 * np.pi * (i / count + 0.13 * row)
            berries.append(
                superellipsoid(radius, radius, radius * 1.1, sides=12, rings=8).at(
                    spread * np.cos(angle), spread * np.sin(angle), -row * radius * 1.5 + u(-0.02, 0.02)
                )
            )
        if count > 4:
            berries.append(
                superellipsoid(radius, radius, radius * 1.1, sides=12, rings=8).at(0, 0, -row * radius * 1.5 + 0.03)
            )
    stalk = join(
        [bar([0, 0, -0.2], [0, 0, 0.22], 0.016, sides=6), bar([-0.09, 0, 0.22], [0.07, 0, 0.24], 0.02, sides=6)]
    )
    vine_leaf = extrude(lobes(5, u(0.16, 0.22), 0.28, 30), 0.015).turned(x=u(20, 50)).at(0.1, -0.05, 0.24)
    return [("berry", join(berries)), ("stalk", stalk), ("leaf", vine_leaf)]


def cherries(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall, spread = u(0.17, 0.22), u(0.5, 0.75), u(0.2, 0.3)
    fruit = lathe(spline([[0.001, -radius], [radius, 0], [radius * 0.6, radius * 0.85], [0.001, radius * 0.7]], 6), 20)
    stems = [
        tube(spline([[s * spread, 0, radius * 0.6], [s * spread * 0.7, 0, tall * 0.6], [0.03, 0, tall]], 4), 0.014, 6)
        for s in (-1, 1)
    ]
    green = leaf(u(0.25, 0.4), 0.17, 0.15).turned(y=-10, z=u(-40, 40)).at(0.03, 0, tall)
    return [
        ("fruit", join([fruit.at(-spread), fruit.at(spread, 0.02, u(-0.1, 0.05))])),
        ("stem", join([*stems, ball(0.03, 8).at(0.03, 0, tall)])),
        ("leaf", green),
    ]


def strawberry(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.34, 0.44), u(0.75, 1.0)
    profile = spline(
        [[0.001, 0], [wide * 0.45, 0.22 * tall], [wide, 0.72 * tall], [wide * 0.75, 0.95 * tall], [0.001, 0.97 * tall]],
        5,
    )
    body = lathe(profile, 26)
    seeds = []
    for row, t in enumerate(np.linspace(0.2, 0.85, 6)):
        k = t * (len(profile) - 1) * 0.8
        r, z = (float(np.interp(k, np.arange(len(profile)), profile[:, i])) for i in (0, 1))
        count = max(4, int(r * 26))
        seeds.append(superellipsoid(0.018, 0.012, 0.028, sides=6, rings=4).at(r, 0, z).ring(count, 17 * row))
    crown = leaf(u(0.25, 0.34), 0.13, u(0.1, 0.4)).at(z=tall * 0.95).ring(int(rng.integers(5, 9)))
    stem = bar([0, 0, tall * 0.94], [0.03, 0, tall * 1.12], 0.025, sides=6)
    return [("flesh", body), ("seed", join(seeds)), ("leaf", join([crown, stem]))]


def watermelon_slice(rng: Rng) -> Parts:
    u = rng.uniform
    thick, span = u(0.1, 0.24), u(110, 180)
    start = 270 - span / 2
    wedge = np.concatenate([[[0.0, 0.0]] if span < 179 else np.zeros((0, 2)), arc(0.86, start, start + span, 20)])
    flesh = extrude(wedge, thick).turned(x=90)
    white = extrude(
        np.concatenate([arc(0.92, start, start + span, 20), arc(0.85, start + span, start, 20)]), thick * 0.99
    ).turned(x=90)
    rind = extrude(
        np.concatenate([arc(1.0, start, start + span, 20), arc(0.915, start + span, start, 20)]), thick
    ).turned(x=90)
    seeds = []
    for radius, count in ((0.45, 5), (0.68, 8)):
        for a in np.radians(np.linspace(start + 12, start + span - 12, count)):
            seeds.append(
                superellipsoid(0.022, thick / 2 + 0.012, 0.035, sides=8, rings=6).at(
                    radius * np.cos(a), 0, radius * np.sin(a)
                )
            )
    return [("flesh", flesh), ("white", white), ("rind", rind), ("seed", join(seeds))]


def carrot(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide = u(0.8, 1.1), u(0.11, 0.17)
    places = np.linspace(0, 1, 16)
    wobble = 1 + 0.04 * np.sin(places * 50)
    root = lathe(np.column_stack([wide * (1 - places ** u(1.2, 2.5)) * wobble + 0.004, -long * places])[::-1], 20)
    shoulder = lathe([[wide, -0.005], [wide * 0.7, 0.035], [0, 0.02]], 20)
    tops = [
        tube(
            spline(
                [
                    [0, 0, 0],
                    [0.08 * np.cos(a), 0.08 * np.sin(a), 0.2],
                    [u(0.1, 0.28) * np.cos(a), u(0.1, 0.28) * np.sin(a), u(0.35, 0.5)],
                ],
                4,
            ),
            np.linspace(0.02, 0.012, 9),
            6,
        )
        for a in np.arange(6) * 1.05
    ]
    fronds = [leaf(0.16, 0.06, 0.1).turned(y=-45, z=z).at(*t.vertices[-2]) for t in tops for z in (0, 120, 240)]
    return [("root", join([root, shoulder])), ("green", join([*tops, *fronds]))]


def aubergine(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, bend = u(0.8, 1.1), u(0.17, 0.26), u(0.0, 0.2)
    path = spline([[0, 0, 0], [bend * 0.5, 0, -0.3 * long], [bend * 0.7, 0, -0.7 * long], [bend * 0.2, 0, -long]], 6)
    thick = np.interp(
        np.linspace(0, 1, len(path)), [0, 0.15, 0.4, 0.75, 0.95, 1], np.array([0.4, 0.5, 0.7, 1, 0.6, 0.1]) * wide
    )
    body = tube(path, thick, 20)
    cap = leaf(0.26, 0.16, 0.9, 0.0, 0.02).at(0, 0, 0.03).ring(5)
    stem = tube([[0, 0, -0.02], [0, 0, 0.08], [u(0.02, 0.1), 0, 0.2]], np.array([0.1, 0.045, 0.04]), 8)
    return [("skin", body), ("green", join([cap, stem]))]


FRUIT: tuple[Recipe, ...] = (
    recipe(banana, skin="fruit:yellow,lime", tip="bark:brown"),
    recipe(apple, skin="fruit:red,lime,yellow", stem="bark", leaf="foliage"),
    recipe(pear, skin="fruit:lime,yellow,green", stem="bark", leaf="foliage"),
    recipe(pineapple, skin="fruit:orange,brown,yellow", leaf="foliage:green"),
    recipe(grapes, berry="fruit:purple,lime,red", stalk="bark:brown,lime", leaf="foliage"),
    recipe(cherries, fruit="fruit:red", stem="foliage:lime", leaf="foliage"),
    recipe(strawberry, flesh="fruit:red", seed="fruit:yellow", leaf="foliage"),
    recipe(watermelon_slice, flesh="fruit:red,pink", white="fruit:pale", rind="fruit:green", seed="plastic:black"),
    recipe(carrot, root="fruit:orange", green="foliage:lime,green"),
    recipe(aubergine, skin="fruit:purple", green="foliage:green"),
)
