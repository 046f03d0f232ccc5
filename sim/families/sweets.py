"""Sweets and cakes."""

from __future__ import annotations

import numpy as np

from sim.families.meals import plate
from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import in_space, spline
from sim.solids import (
    ball,
    bar,
    blob,
    box,
    cylinder,
    lathe,
    superellipsoid,
    torus,
    tube,
)


def donut(rng: Rng) -> Parts:
    u = rng.uniform
    ring, thick = 0.32, u(0.14, 0.19)
    dough = torus(ring, thick, 32, 14)
    glaze = torus(ring, thick * 1.04, 32, 14)
    angle = np.arctan2(glaze.vertices[:, 1], glaze.vertices[:, 0])
    floor = 0.03 + 0.03 * np.sin(angle * int(rng.integers(5, 9)))
    glaze = glaze.warped(lambda v: np.column_stack([v[:, :2], np.maximum(v[:, 2], floor)]))
    sprinkles = []
    for _ in range(28):
        a, b = u(0, 2 * np.pi), u(np.radians(30), np.radians(150))
        r = ring + thick * 1.05 * np.cos(b)
        sprinkles.append(
            bar([-0.03, 0, 0], [0.03, 0, 0], 0.01, sides=5)
            .turned(z=u(0, 180))
            .at(r * np.cos(a), r * np.sin(a), thick * 1.05 * np.sin(b))
        )
    return [("dough", dough), ("glaze", glaze), ("sprinkle", join(sprinkles))]


def layer_cake(rng: Rng) -> Parts:
    u = rng.uniform
    tiers = int(rng.integers(1, 4))
    radius, z = 0.5, 0.0
    sponge, cream, candles = [], [], []
    for _ in range(tiers):
        tall = u(0.2, 0.32)
        sponge.append(cylinder(radius, tall, sides=32).at(z=z + tall / 2))
        z += tall
        cream.append(cylinder(radius * 1.02, 0.05, sides=32).at(z=z))
        drips = [
            superellipsoid(0.045, 0.03, u(0.05, 0.12), sides=8, rings=5).at(
                radius * np.cos(a), radius * np.sin(a), z - 0.05
            )
            for a in np.linspace(0, 2 * np.pi, 14)[:-1]
        ]
        cream += drips
        last, radius = radius, radius * u(0.62, 0.78)
    count = int(rng.integers(4, 9))
    for i in range(count):
        a = 2 * np.pi * i / count
        candles.append(cylinder(0.018, 0.2, sides=8).at(last * 0.65 * np.cos(a), last * 0.65 * np.sin(a), z + 0.11))
    flames = [
        superellipsoid(0.016, 0.016, 0.035, sides=8, rings=6).at(
            last * 0.65 * np.cos(2 * np.pi * i / count), last * 0.65 * np.sin(2 * np.pi * i / count), z + 0.24
        )
        for i in range(count)
    ]
    return [
        ("sponge", join(sponge)),
        ("cream", join(cream)),
        ("candle", join(candles)),
        ("flame", join(flames)),
        ("plate", plate(0.68)),
    ]


def cupcake(rng: Rng) -> Parts:
    u = rng.uniform
    pleats, low, high, tall = int(rng.integers(14, 20)), u(0.24, 0.3), u(0.34, 0.42), u(0.32, 0.42)
    case = lathe([[low, 0], [high, tall]], 3 * pleats)
    angle = np.arctan2(case.vertices[:, 1], case.vertices[:, 0])
    wave = (1 + 0.04 * np.cos(pleats * angle))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
    turns, t = u(2.2, 3.5), np.linspace(0, 1, 60)
    radius = high * 0.85 * (1 - t) ** 0.8 + 0.01
    swirl = tube(
        np.stack(
            [radius * np.cos(2 * np.pi * turns * t), radius * np.sin(2 * np.pi * turns * t), tall + 0.05 + 0.42 * t],
            axis=1,
        ),
        0.13 * (1 - 0.75 * t),
        10,
    )
    core = lathe([[high * 0.95, tall - 0.02], [high * 0.5, tall + 0.25], [0, tall + 0.4]], 20)
    cherry = ball(0.075, 14).at(z=tall + 0.52)
    return [("case", case.warped(lambda v: v * wave)), ("icing", join([swirl, core])), ("cherry", cherry)]


def ice_cream(rng: Rng) -> Parts:
    u = rng.uniform
    scoops, radius, tall = int(rng.integers(1, 4)), u(0.2, 0.25), u(0.6, 0.8)
    cone = lathe([[0, 0], [0.02, 0], [radius * 0.92, tall], [radius * 0.8, tall], [0, tall * 0.6]], 20)
    ring = torus(radius * 0.9, 0.03, 24, 6).at(z=tall)
    balls = [
        blob(rng, radius, 0.06, 5, 18).at(u(-0.02, 0.02), u(-0.02, 0.02), tall + radius * 0.55 + 1.35 * radius * i)
        for i in range(scoops)
    ]
    top = tall + radius * 0.55 + 1.35 * radius * (scoops - 1) + radius
    wafer = cylinder(0.035, 0.4, sides=12).turned(x=20, y=25).at(0.12, -0.03, top)
    cherry = ball(0.06, 12).at(-0.03, 0, top + 0.03)
    return [("cone", join([cone, ring, wafer])), ("ice", join(balls)), ("cherry", cherry)]


def lollipop(rng: Rng) -> Parts:
    u = rng.uniform
    stick = bar([0, 0, 0], [0, 0, -u(0.7, 0.95)], 0.022)
    if rng.random() < 0.5:
        candy = ball(0.24, 22).at(z=0.18)
        band = torus(0.24, 0.018, 28, 6).at(z=0.18)
        return [("stick", stick), ("candy", candy), ("swirl", band)]
    t = np.linspace(0, 1, 90)
    radius = 0.33 * t
    spiral = tube(
        np.add(
            in_space(np.column_stack([radius * np.cos(t * 8 * np.pi), radius * np.sin(t * 8 * np.pi)]), "xz"),
            [0, -0.035, 0.3],
        ),
        0.022,
        6,
    )
    disc = superellipsoid(0.36, 0.36, 0.055, upright=0.6).turned(x=90).at(z=0.3)
    return [("stick", stick), ("candy", disc), ("swirl", spiral)]


def pretzel(rng: Rng) -> Parts:
    u = rng.uniform
    path = spline(
        [
            [-0.2, -0.42],
            [0.14, 0.1],
            [0.38, 0.3],
            [0.5, 0.02],
            [0.3, -0.35],
            [0, -0.45],
            [-0.3, -0.35],
            [-0.5, 0.02],
            [-0.38, 0.3],
            [-0.14, 0.1],
            [0.2, -0.42],
        ],
        6,
    )
    z = 0.07 * np.sin(np.linspace(0, 1, len(path)) * 2 * np.pi * 1.5)
    line = np.column_stack([path[:, 0], z, path[:, 1]])
    thick = u(0.06, 0.09) * np.interp(np.linspace(0, 1, len(path)), [0, 0.1, 0.5, 0.9, 1], [0.55, 0.7, 1.25, 0.7, 0.55])
    dough = tube(line, thick, 10)
    picks = rng.integers(12, len(path) - 12, size=26)
    salt = join(
        [
            box(0.024, 0.024, 0.024)
            .turned(x=30, z=u(0, 90))
            .at(line[p, 0] + u(-0.04, 0.04), line[p, 1] - thick[p] * 0.95, line[p, 2] + u(-0.03, 0.03))
            for p in picks
        ]
    )
    return [("dough", dough), ("salt", salt)]


SWEETS: tuple[Recipe, ...] = (
    recipe(donut, dough="bread:tan,brown", glaze="plastic:pink,brown,white,yellow", sprinkle="plastic:bright"),
    recipe(
        layer_cake,
        sponge="bread:brown,pale,pink",
        cream="wax:white,pink,pale",
        candle="wax:bright",
        flame="fire",
        plate="ceramic",
    ),
    recipe(cupcake, case="paper:bright,pale", icing="wax:pink,white,blue,yellow", cherry="fruit:red"),
    recipe(ice_cream, cone="bread:tan,brown", ice="wax:pink,white,brown,lime", cherry="fruit:red"),
    recipe(lollipop, stick="paper:white", candy="plastic:bright", swirl="plastic:white,bright"),
    recipe(pretzel, dough="bread:brown", salt="stone:white"),
)
