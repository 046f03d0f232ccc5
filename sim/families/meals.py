"""Bread and fast food."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join
from sim.outlines import arc, ellipse, in_space, lobes, spline
from sim.solids import (
    box,
    cylinder,
    extrude,
    lathe,
    slab,
    superellipsoid,
    torus,
    tube,
)


def plate(radius: float) -> Solid:
    """A flat plate whose upper side is at z = 0."""
    return lathe(
        [[0, -0.05], [radius * 0.6, -0.05], [radius, 0.02], [radius * 0.97, 0.035], [radius * 0.62, 0.0], [0, 0.0]], 36
    )


def bread_loaf(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, cuts = u(0.8, 1.1), u(0.2, 0.28), int(rng.integers(3, 6))
    body = superellipsoid(long / 2, wide, wide * u(0.65, 0.9), square=u(0.6, 0.95))
    slashes = [
        superellipsoid(0.045, wide * 0.6, 0.03, sides=12, rings=6).turned(z=-30).at(x, 0, wide * 0.72)
        for x in np.linspace(-long * 0.3, long * 0.3, cuts)
    ]
    board = box(long * 1.2, wide * 3, 0.05, bevel=0.02).at(z=-wide * 0.75)
    return [("crust", body), ("cut", join(slashes)), ("board", board)]


def hamburger(rng: Rng) -> Parts:
    u = rng.uniform
    radius = 0.48
    bottom = lathe(spline([[radius * 0.9, 0], [radius, 0.06], [radius * 0.96, 0.13]], 4), 28)
    z = 0.13
    parts: Parts = [("bun", bottom)]
    wave = lobes(int(rng.integers(9, 14)), radius * 1.06, 0.06, 48)
    parts.append(("salad", extrude(wave, 0.035).at(z=z + 0.02)))
    z += 0.04
    for _ in range(int(rng.integers(1, 3))):
        tall = u(0.1, 0.15)
        parts.append(
            (
                "patty",
                lathe(spline([[radius * 0.93, z], [radius * 1.02, z + tall / 2], [radius * 0.93, z + tall]], 4), 28),
            )
        )
        z += tall
        parts.append(("cheese", box(radius * 1.5, radius * 1.5, 0.025).turned(z=u(0, 90)).at(z=z + 0.012)))
        z += 0.025
    parts.append(("tomato", cylinder(radius * 0.85, 0.05).at(z=z + 0.025)))
    z += 0.05
    dome = u(0.24, 0.36)
    parts.append(
        (
            "bun",
            lathe(
                spline(
                    [[radius, z], [radius * 0.97, z + dome * 0.4], [radius * 0.55, z + dome * 0.9], [0.001, z + dome]],
                    5,
                ),
                28,
            ),
        )
    )
    for i in range(16):
        r = 0.1 + 0.2 * np.sqrt(i / 16)
        parts.append(
            (
                "seed",
                superellipsoid(0.022, 0.014, 0.01, sides=8, rings=4).at(
                    r * np.cos(2.4 * i), r * np.sin(2.4 * i), z + dome * (1 - 1.1 * r**2) + 0.003
                ),
            )
        )
    return parts


def hot_dog(rng: Rng) -> Parts:
    u = rng.uniform
    long = u(0.85, 1.0)
    half = superellipsoid(0.11, long * 0.46, 0.12, square=0.7).turned(y=-18)
    bun = join(
        [
            half.at(0.12, 0, 0.02),
            half.mirrored("x").at(-0.12, 0, 0.02),
            superellipsoid(0.15, long * 0.44, 0.08, square=0.7).at(z=-0.07),
        ]
    )
    t = np.linspace(-1, 1, 15)
    sausage = tube(
        np.column_stack([0 * t, t * long * 0.52, 0.09 + 0.05 * t**2]),
        0.085 * np.clip((1 - np.abs(t)) * 7, 0.25, 1) ** 0.5,
        14,
    )
    w = np.linspace(-0.85, 0.85, 60)
    sauce = tube(np.column_stack([0.045 * np.sin(w * u(16, 26)), w * long * 0.5, 0.18 + 0.05 * w**2]), 0.018, 6)
    return [("bun", bun), ("sausage", sausage), ("sauce", sauce)]


def pizza(rng: Rng) -> Parts:
    u = rng.uniform
    radius = 0.5
    missing = u(0, 50) if rng.random() < 0.6 else 0
    outline = arc(radius * 0.94, missing, 360 - 0.01 if missing else 352, 30)
    wedge = np.concatenate([outline, [[0.0, 0.0]]]) if missing else ellipse(radius * 0.94, sides=36)
    base = extrude(wedge, 0.035)
    cheese = extrude(wedge * 0.95, 0.02).at(z=0.025)
    path = in_space(arc(radius, missing, 360 if missing else 359, 36), "xy")
    crust = tube(path, 0.05, 8) if missing else torus(radius, 0.05, 36, 8)
    slices, bits = [], []
    for i in range(int(rng.integers(7, 13))):
        r, a = (
            radius * 0.8 * np.sqrt((i + 0.5) / 13),
            np.radians(missing + 14) + (2 * np.pi - np.radians(missing + 28)) * ((i * 0.381966) % 1),
        )
        slices.append(cylinder(0.07, 0.018, sides=16).at(r * np.cos(a), r * np.sin(a), 0.04))
    for i in range(14):
        r, a = (
            radius * 0.82 * np.sqrt((i + 0.3) / 14),
            np.radians(missing + 8) + (2 * np.pi - np.radians(missing + 16)) * ((i * 0.618) % 1),
        )
        bits.append(
            superellipsoid(0.03, 0.018, 0.014, sides=8, rings=5)
            .turned(z=u(0, 180))
            .at(r * np.cos(a), r * np.sin(a), 0.042)
        )
    return [("crust", join([base, crust])), ("cheese", cheese), ("salami", join(slices)), ("herb", join(bits))]


def cheese_wedge(rng: Rng) -> Parts:
    u = rng.uniform
    span, tall = u(35, 65), u(0.25, 0.4)
    outline = np.concatenate([[[0.0, 0.0]], arc(0.9, -span / 2, span / 2, 10)])
    body = extrude(outline, tall).turned(z=-120)
    rind = extrude(
        np.concatenate([arc(0.93, -span / 2, span / 2, 10), arc(0.89, span / 2, -span / 2, 10)]), tall * 1.02
    ).turned(z=-120)
    holes = []
    for _ in range(14):
        side = rng.choice([-1, 1])
        a, r, z = np.radians(side * span / 2 - 120), u(0.25, 0.8), u(-0.4, 0.4) * tall
        size = u(0.03, 0.06)
        holes.append(
            superellipsoid(size, 0.012, size, sides=12, rings=6)
            .turned(z=np.degrees(a))
            .at(r * np.cos(a), r * np.sin(a), z)
        )
    for _ in range(5):
        a, r = np.radians(u(-0.35, 0.35) * span - 120), u(0.4, 0.8)
        holes.append(
            superellipsoid(s := u(0.03, 0.05), s, 0.012, sides=12, rings=6).at(r * np.cos(a), r * np.sin(a), tall / 2)
        )
    return [("cheese", body), ("rind", rind), ("hole", join(holes))]


def fried_egg(rng: Rng) -> Parts:
    u = rng.uniform
    count = int(rng.integers(3, 6))
    outline = lobes(count, 0.45, u(0.06, 0.14), 40) * [1, u(0.8, 1.0)]
    white = extrude(outline, 0.06, bevel=0.025)
    yolk = superellipsoid(s := u(0.14, 0.2), s, s * 0.6).at(u(-0.08, 0.08), u(-0.08, 0.08), 0.03)
    return [("white", white), ("yolk", yolk), ("plate", plate(0.72).at(z=-0.03))]


def sushi(rng: Rng) -> Parts:
    u = rng.uniform
    if rng.random() < 0.5:
        radius, tall = 0.38, u(0.42, 0.6)
        rice = cylinder(radius * 0.93, tall * 1.01, sides=24)
        nori = lathe(
            [
                [radius, -tall / 2],
                [radius, tall / 2],
                [radius * 0.92, tall / 2],
                [radius * 0.92, -tall / 2],
                [radius, -tall / 2],
            ],
            24,
        )
        core = cylinder(radius * 0.4, tall * 1.05, sides=8)
        return [("rice", rice), ("nori", nori), ("fish", core)]
    rice = superellipsoid(0.5, 0.24, 0.2, square=0.6, upright=0.7)
    x, y = np.linspace(-0.58, 0.58, 14)[:, None], np.linspace(-0.25, 0.25, 7)[None, :]
    fish_part = slab(np.stack([x + 0 * y, y + 0 * x, 0.24 - 0.35 * x**2 - 1.1 * y**2], axis=2), u(0.05, 0.09))
    band = box(u(0.1, 0.2), 0.5, 0.46, bevel=0.08).at(z=0.05)
    return [("rice", rice), ("fish", fish_part), ("nori", band)]


MEALS: tuple[Recipe, ...] = (
    recipe(bread_loaf, crust="bread:brown,tan", cut="bread:pale,tan", board="wood"),
    recipe(
        hamburger,
        bun="bread:tan,orange",
        salad="foliage:lime",
        patty="bread:brown,dark",
        cheese="plastic:yellow,orange",
        tomato="fruit:red",
        seed="bread:pale",
    ),
    recipe(hot_dog, bun="bread:tan", sausage="fruit:red,brown", sauce="plastic:yellow,red"),
    recipe(pizza, crust="bread:tan,brown", cheese="bread:yellow,pale", salami="fruit:red", herb="foliage:green"),
    recipe(cheese_wedge, cheese="wax:yellow,orange", rind="wax:orange,red", hole="wax:brown,orange"),
    recipe(fried_egg, white="wax:white", yolk="wax:orange,yellow", plate="ceramic"),
    recipe(sushi, rice="bread:white", nori="leather:dark", fish="fruit:orange,red,pink"),
)
