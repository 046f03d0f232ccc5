"""Clothes."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join, loft
from sim.outlines import ellipse, heart, in_space, rectangle, spline, star, symmetric
from sim.solids import (
    ball,
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


def hat(rng: Rng) -> Parts:
    u = rng.uniform
    brim, crown, tall = u(0.42, 0.6), u(0.24, 0.28), u(0.2, 0.45)
    top = u(0.8, 1.12)
    style = rng.integers(3)
    if style == 2:  # a cap with a peak
        dome = lathe(spline([[crown, 0], [crown * 0.97, 0.1], [crown * 0.7, 0.22], [0.001, 0.26]], 5), 28)
        x, y = np.linspace(-1, 1, 9)[:, None], np.linspace(0, 1, 6)[None, :]
        reach = crown * 0.9 + u(0.2, 0.3) * y * (1 - 0.55 * x**2)
        peak = slab(
            np.stack(
                [
                    crown * 0.92 * x + 0 * y,
                    -reach * np.sqrt(1 - 0.75 * x**2) + 0 * x,
                    0.02 - 0.05 * y**2 - 0.06 * x**2 + 0 * x,
                ],
                axis=2,
            ),
            0.016,
        )
        return [("felt", dome), ("felt", peak), ("band", join([torus(crown, 0.012, 28, 6), ball(0.03, 10).at(z=0.27)]))]
    profile = [
        [brim, u(-0.04, 0.08)],
        [crown * 1.15, 0.0],
        [crown, 0.03],
        [crown * top, tall],
        [crown * top * 0.9, tall + 0.02],
    ]
    if style == 0:
        profile.append([0.001, tall + 0.02])
    else:
        profile += [[crown * top * 0.5, tall - 0.03], [0.001, tall + 0.0]]
    felt = lathe(np.array([*profile, *[[0.001, tall - 0.04], [crown * 0.95, 0.0], [brim, profile[0][1] - 0.015]]]), 36)
    wave = u(0.0, 0.12)
    felt = felt.warped(
        lambda v: (
            v
            + np.column_stack(
                [
                    0 * v[:, 0],
                    0 * v[:, 0],
                    wave * np.maximum(np.linalg.norm(v[:, :2], axis=1) - crown, 0) * 4 * v[:, 0] ** 2 / brim,
                ]
            )
        )
    )
    band = lathe(
        [
            [crown * 1.02 + 0.006, 0.02],
            [crown * (1 + (top - 1) * 0.25) + 0.012, 0.09],
            [crown * 0.9, 0.09],
            [crown * 0.9, 0.02],
        ],
        36,
    )
    return [("felt", felt), ("band", band)]


def shoe(rng: Rng) -> Parts:
    u = rng.uniform
    long, tall, high = 0.85, u(0.28, 0.4), rng.random() < 0.35
    y = np.linspace(0, 1, 13)
    half = (
        0.155
        * np.sqrt(np.clip(np.sin(np.pi * np.clip(0.06 + 0.9 * y, 0, 1)), 0, 1))
        * (1 + 0.12 * np.sin(2 * np.pi * y + 0.5))
    )
    top = np.interp(y, [0, 0.15, 0.4, 0.62, 0.8, 1.0], [0.12, 0.17, 0.22, tall, tall * 1.05, tall * 0.98])
    sections = []
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    for place, wide, up in zip(y, half, top, strict=True):
        x = wide * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** 0.7
        z = up / 2 + up / 2 * np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** 0.6
        sections.append(np.column_stack([x * np.where(z > up * 0.5, 0.8, 1), np.full(16, (place - 0.5) * long), z]))
    upper = loft(np.array(sections)).at(z=0.05)
    sole_shape = np.concatenate(
        [
            np.column_stack([half * 1.1, (y - 0.5) * long * 1.04]),
            np.column_stack([-half * 1.1, (y - 0.5) * long * 1.04])[::-1],
        ]
    )
    sole = extrude(sole_shape, u(0.06, 0.1), bevel=0.015).at(z=0.04)
    shaft_top = u(0.45, 0.6) if high else tall * 1.1
    collar_path = np.column_stack(
        [0.105 * np.cos(angles), 0.23 * long + 0.2 * long * np.sin(angles) * 0.9, tall + 0.04 + 0.02 * np.sin(angles)]
    )
    collar = tube(collar_path, 0.03, 8, closed=True)
    parts: Parts = [("upper", upper), ("sole", sole), ("lace", collar)]
    if high:
        parts.append(
            (
                "upper",
                superellipsoid(0.12, 0.19, shaft_top / 2, square=0.8, upright=0.3).at(
                    0, 0.24 * long, shaft_top / 2 + 0.1
                ),
            )
        )
    laces = join(
        [
            bar([-0.08, (p - 0.5) * long, 0.09 + h], [0.08, (p - 0.5) * long + 0.02, 0.09 + h], 0.014, sides=6)
            for p, h in ((0.42, 0.2), (0.5, tall * 0.72), (0.57, tall * 0.87))
        ]
    )
    return [*parts, ("lace", laces)]


def boot(rng: Rng) -> Parts:
    u = rng.uniform
    tall, heel = u(0.65, 0.95), u(0.05, 0.14)
    foot = superellipsoid(0.14, 0.34, 0.13, square=0.75, upright=0.75).at(0, -0.12, 0.13 + heel)
    shaft = (
        lathe(spline([[0.14, 0.12], [0.125, 0.3], [0.16, tall * 0.75], [0.18, tall]], 4), 22)
        .scaled(1, 1.15, 1)
        .at(0, 0.08, heel)
    )
    rim = torus(0.18, 0.022, 24, 8).scaled(1, 1.15, 1).at(0, 0.08, tall + heel)
    sole = join(
        [
            superellipsoid(0.145, 0.36, 0.03, square=0.7, upright=0.4).at(0, -0.12, heel * 0.8),
            box(0.2, 0.2, heel + 0.03, bevel=0.01).at(0, 0.1, heel / 2),
        ]
    )
    inside = cylinder(0.165, 0.02, sides=22).scaled(1, 1.15, 1).at(0, 0.08, tall + heel + 0.005)
    return [("leather", join([foot, shaft])), ("sole", join([sole, inside])), ("rim", rim)]


def t_shirt(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, sleeve = u(0.24, 0.3), u(0.62, 0.8), u(0.2, 0.45)
    drop = u(0.1, 0.25)
    side = [
        [0, 0],
        [wide, 0],
        [wide * 0.97, tall * 0.68],
        [wide + sleeve * 0.85, tall * 0.68 - drop - 0.05],
        [wide + sleeve, tall * 0.68 - drop + 0.12],
        [wide * 0.9, tall * 0.97],
        [0.11, tall],
        [0.07, tall - 0.06],
        [0, tall - 0.08],
    ]
    cloth = extrude(symmetric(np.array(side)), 0.1, bevel=0.03).turned(x=90)
    collar = tube(
        in_space(
            spline([[-0.11, tall], [-0.07, tall - 0.06], [0, tall - 0.09], [0.07, tall - 0.06], [0.11, tall]], 3), "xz"
        ),
        0.025,
    ).at(0, -0.03)
    badge = (
        extrude(
            [heart(0.24), star(5, 0.13, 0.055), ellipse(0.1, sides=20), rectangle(0.3, 0.08)][int(rng.integers(4))],
            0.012,
        )
        .turned(x=90)
        .at(0, -0.053, tall * 0.6)
    )
    return [("cloth", cloth), ("collar", collar), ("print", badge)]


def trousers(rng: Rng) -> Parts:
    u = rng.uniform
    waist, tall, spread = u(0.2, 0.25), u(0.5, 1.0), u(0.08, 0.14)
    leg = loft(
        np.stack(
            [
                np.column_stack([np.add(ellipse(r, r * 0.72, 16), [x, 0]), np.full(16, z)])
                for r, x, z in (
                    (u(0.08, 0.14), 0.1 + spread, -tall),
                    (0.12, 0.1 + spread * 0.6, -tall * 0.5),
                    (0.14, 0.1, -0.12),
                    (0.13, 0.09, 0.0),
                )
            ]
        )
    )
    hips = loft(
        np.stack(
            [
                np.column_stack([ellipse(r, r * 0.55, 20), np.full(20, z)])
                for r, z in ((waist * 1.08, -0.14), (waist * 1.05, 0.0), (waist, 0.15))
            ]
        )
    )
    belt = lathe([[waist * 1.05, 0.1], [waist * 1.05, 0.16], [waist * 0.9, 0.16], [waist * 0.9, 0.1]], 24).scaled(
        1, 0.56, 1
    )
    buckle = box(0.08, 0.03, 0.06, bevel=0.01).at(0, -waist * 0.6, 0.13)
    return [("cloth", join([leg.both("x"), hips])), ("belt", belt), ("buckle", buckle)]


def umbrella(rng: Rng) -> Parts:
    u = rng.uniform
    ribs, radius, rise = int(rng.integers(6, 11)), 0.62, u(0.22, 0.38)
    per = 6
    t = np.linspace(0.02, 1, 9)[:, None]
    a = np.linspace(0, 2 * np.pi, ribs * per + 1)[None, :]
    sag = 1 - 0.1 * np.abs(np.sin(ribs / 2 * a)) * t**2
    grid = np.stack(
        [
            radius * t * sag * np.cos(a),
            radius * t * sag * np.sin(a),
            0.1 * np.abs(np.sin(ribs / 2 * a)) * t * rise + rise * (1 - t**2),
        ],
        axis=2,
    )
    canopy = slab(grid, 0.008)
    long = u(0.8, 1.0)
    pole = bar([0, 0, rise + 0.1], [0, 0, rise - long], 0.013)
    hook = tube(
        in_space(
            spline(
                [[0, rise - long], [0, rise - long - 0.08], [0.06, rise - long - 0.15], [0.13, rise - long - 0.08]], 5
            ),
            "xz",
        ),
        0.022,
    )
    struts = bar([0, 0, rise * 0.2], [radius * 0.52, 0, rise * 0.72], 0.006, sides=5).ring(ribs)
    return [("canopy", canopy), ("pole", join([pole, struts])), ("handle", hook)]


CLOTHES: tuple[Recipe, ...] = (
    recipe(hat, felt="fabric|fabric:tan,dark,brown", band="fabric:bright,dark|leather"),
    recipe(
        shoe, upper="leather|fabric:bright,white|leather", sole="rubber|plastic:white", lace="fabric:white,dark,bright"
    ),
    recipe(boot, leather="leather|rubber|plastic:bright", sole="rubber", rim="fur:pale|leather"),
    recipe(t_shirt, cloth="fabric", collar="fabric", print="fabric:bright,white,dark"),
    recipe(trousers, cloth="fabric:blue,dark,tan|fabric", belt="leather", buckle="metal"),
    recipe(umbrella, canopy="fabric:bright,dark|fabric", pole="metal", handle="wood|plastic"),
)
