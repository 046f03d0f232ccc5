"""Jewels, bags and what else is carried."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join, loft
from sim.outlines import ellipse, heart, in_space, rectangle, spline, star, symmetric
from sim.solids import (
    ball,
    bar,
    beam,
    box,
    cylinder,
    extrude,
    lathe,
    plate_with_hole,
    superellipsoid,
    torus,
    tube,
)


def crown(rng: Rng) -> Parts:
    u = rng.uniform
    points, radius, tall = int(rng.integers(5, 9)), 0.4, u(0.22, 0.4)
    a = np.linspace(0, 2 * np.pi, points * 8 + 1)
    flare = u(1.0, 1.2)
    height = tall * (0.45 + 0.55 * np.abs(((a * points / np.pi) % 2) - 1) ** u(0.8, 1.6))
    z = np.stack([np.zeros_like(a), height])
    r = np.stack([np.full_like(a, radius), radius * (1 + (flare - 1) * height / tall)])
    outer = np.stack([r * np.cos(a), r * np.sin(a), z], axis=2)
    inner = outer * [0.95, 0.95, 1]
    wall = loft(np.stack([outer[0, :-1], outer[1, :-1], inner[1, :-1], inner[0, :-1], outer[0, :-1]]), caps=False)
    base = join([torus(radius, 0.03, 40, 8).at(z=z0) for z0 in (0.0, 0.09)])
    tips = ball(0.035, 12).at(radius * flare, 0, tall + 0.02).ring(points)
    gems = (
        superellipsoid(0.03, 0.04, 0.045, upright=1.6, sides=8, rings=6)
        .at(radius + 0.01, 0, 0.05)
        .ring(points, 180 / points)
    )
    lining = lathe(spline([[radius * 0.93, 0.02], [radius * 0.85, tall * 0.5], [0.001, tall * u(0.6, 0.9)]], 5), 28)
    return [("gold", join([wall, base])), ("gem", join([tips, gems])), ("lining", lining)]


def handbag(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, deep = u(0.6, 0.85), u(0.4, 0.6), u(0.2, 0.3)
    levels = [(1.0, 0.0), (1.03, 0.15), (u(0.75, 0.95), 1.0)]
    body = loft(
        np.stack(
            [
                np.column_stack(
                    [rectangle(wide * s, deep * (s if z < 0.9 else u(0.4, 0.7)), 0.06), np.full(16, tall * z)]
                )
                for s, z in levels
            ]
        )
    )
    flap = (
        extrude(
            symmetric(
                [
                    [0, -tall * 0.45],
                    [wide * 0.25, -tall * 0.4],
                    [wide * 0.4, -tall * 0.1],
                    [wide * 0.4, 0.02],
                    [0, 0.02],
                ],
                3,
            ),
            0.02,
        )
        .turned(x=80)
        .at(0, -deep * 0.36, tall)
    )
    reach, top = wide * u(0.22, 0.32), tall + u(0.22, 0.45)
    handle = tube(
        spline(
            [
                [-reach, 0, tall - 0.03],
                [-reach * 0.9, 0, (tall + top) / 2],
                [0, 0, top],
                [reach * 0.9, 0, (tall + top) / 2],
                [reach, 0, tall - 0.03],
            ],
            5,
        ),
        0.025,
    )
    count = 2 if rng.random() < 0.5 else 1
    handles = join([handle.at(0, y, 0) for y in ([-0.06, 0.06] if count == 2 else [0.0])])
    rings = join([torus(0.04, 0.012, 14, 6).turned(x=90).at(s * reach, 0, tall) for s in (-1, 1)])
    clasp = box(0.09, 0.05, 0.06, bevel=0.012).at(0, -deep * 0.5, tall * 0.62)
    return [("leather", body), ("flap", join([flap, handles])), ("metal", join([rings, clasp]))]


def backpack(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, deep = u(0.45, 0.55), u(0.65, 0.8), u(0.24, 0.32)
    body = superellipsoid(wide / 2, deep / 2, tall / 2, square=0.45, upright=0.4).at(z=tall / 2)
    pocket = superellipsoid(wide * 0.4, 0.09, tall * 0.22, square=0.5, upright=0.45).at(0, -deep / 2, tall * 0.28)
    lid = superellipsoid(wide * 0.51, deep * 0.53, tall * 0.15, square=0.5, upright=0.6).at(0, -0.01, tall * 0.92)
    side = superellipsoid(0.07, deep * 0.36, tall * 0.18, upright=0.5).at(wide / 2, 0, tall * 0.25).both("x")
    strap = tube(
        spline(
            [
                [0.12, deep * 0.45, tall * 0.92],
                [0.15, deep * 0.5 + 0.16, tall * 0.7],
                [0.16, deep * 0.5 + 0.12, tall * 0.3],
                [0.14, deep * 0.45, tall * 0.08],
            ],
            5,
        ),
        0.035,
        8,
    ).both("x")
    loop = tube(spline([[-0.07, 0, tall], [-0.06, 0, tall + 0.1], [0.06, 0, tall + 0.1], [0.07, 0, tall]], 4), 0.018)
    buckles = join([box(0.035, 0.03, tall * 0.5).at(s * wide * 0.25, -deep * 0.52, tall * 0.62) for s in (-1, 1)])
    parts: Parts = [("body", body), ("pocket", join([pocket, lid, side])), ("strap", join([strap, loop, buckles]))]
    if rng.random() < 0.4:
        parts.append(("pocket", cylinder(0.1, wide * 1.1, sides=18).sideways().at(z=tall * 1.13)))
    return parts


def suitcase(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, deep = u(0.6, 0.85), u(0.5, 1.0), u(0.24, 0.32)
    body = box(wide, tall, deep, bevel=0.06).turned(x=90).at(z=tall / 2 + 0.06)
    ribs = join(
        [
            box(0.03, deep + 0.03, tall * 0.92).at(x, 0, tall / 2 + 0.06)
            for x in np.linspace(-wide * 0.36, wide * 0.36, int(rng.integers(2, 7)))
        ]
    )
    up = u(0.05, 0.4)
    top = tall + 0.06
    handle = tube(
        np.array([[-0.13, 0.06, top], [-0.13, 0.06, top + up], [0.13, 0.06, top + up], [0.13, 0.06, top]]), 0.018
    )
    grip = box(0.2, 0.06, 0.04, bevel=0.015).at(0, -0.02, top + 0.03)
    wheel = cylinder(0.055, 0.05, sides=14).sideways().at(wide * 0.4, deep * 0.35, 0.05)
    corners = superellipsoid(0.06, 0.06, 0.06).at(wide / 2 - 0.04, deep / 2 - 0.04, top - 0.04).both("x").both("y")
    return [
        ("shell", body),
        ("rib", join([ribs, corners])),
        ("metal", handle),
        ("wheel", join([wheel.both("x").both("y"), grip])),
    ]


def glasses(rng: Rng) -> Parts:
    u = rng.uniform
    rx, rz, power = u(0.17, 0.22), u(0.13, 0.19), u(0.45, 1.0)
    a = np.arange(28) * 2 * np.pi / 28
    shape = np.stack(
        [rx * np.sign(np.cos(a)) * np.abs(np.cos(a)) ** power, rz * np.sign(np.sin(a)) * np.abs(np.sin(a)) ** power],
        axis=1,
    )
    gap = rx + u(0.03, 0.06)
    rim = tube(in_space(shape, "xz"), u(0.012, 0.03), 8, closed=True).at(gap)
    lens = extrude(shape, 0.012).turned(x=90).at(gap)
    nose = tube(spline([[-gap + rx, 0, 0.02], [0, 0, 0.06], [gap - rx, 0, 0.02]], 5), 0.016)
    arm = tube(
        spline(
            [
                [gap + rx, 0, rz * 0.4],
                [gap + rx + 0.02, 0.3, rz * 0.4],
                [gap + rx, 0.58, rz * 0.38],
                [gap + rx - 0.01, 0.72, rz * 0.1 - 0.08],
            ],
            4,
        ),
        0.016,
    )
    return [("rim", join([rim, arm]).both("x")), ("rim", nose), ("lens", lens.both("x"))]


def wrist_watch(rng: Rng) -> Parts:
    u = rng.uniform
    radius = u(0.19, 0.25)
    angled = rng.random() < 0.35
    shape = rectangle(radius * 1.7, radius * 2, 0.05) if angled else ellipse(radius, sides=32)
    case = extrude(shape, 0.09, bevel=0.02).turned(x=90)
    dial = extrude(shape * 0.86, 0.1).turned(x=90)
    hands = join(
        [
            beam([0, -0.06, 0], [radius * 0.45 * np.cos(a), -0.06, radius * 0.45 * np.sin(a)], 0.02, 0.02)
            for a in (u(0, 3), u(3, 6))
        ]
    )
    marks = join([box(0.014, 0.02, 0.045).at(0, -0.055, radius * 0.7).turned(y=30 * i) for i in range(12)])
    crown_part = cylinder(0.03, 0.05, sides=12).sideways().at(radius + 0.02)
    wide = u(0.2, 0.3)
    ring = ellipse(0.36, 0.3, 36)
    strap = plate_with_hole(ring, ring * 0.9, wide).sideways().at(0, 0.33, 0)
    return [("case", join([case, crown_part])), ("dial", dial), ("hand", join([hands, marks])), ("strap", strap)]


def ring(rng: Rng) -> Parts:
    u = rng.uniform
    radius = 0.36
    band = torus(radius, u(0.035, 0.065), 40, 10).turned(x=90)
    stones = int(rng.choice([1, 1, 3]))
    size = u(0.13, 0.19)
    gem = lathe(
        [[0, -size], [size, 0], [size * 0.62, size * 0.38], [0, size * 0.38]], int(rng.choice([6, 8, 10]))
    ).faceted()
    claw = bar([size * 0.35, 0, -size * 0.7], [size * 0.95, 0, size * 0.12], 0.018, sides=6).ring(4, 45)
    parts: Parts = [("band", band), ("gem", gem.at(z=radius + size)), ("band", claw.at(z=radius + size))]
    if stones == 3:
        for s in (-1, 1):
            parts.append(("gem", gem.scaled(0.55).turned(y=s * 32).at(s * 0.23, 0, radius + 0.06)))
    return parts


def necklace(rng: Rng) -> Parts:
    u = rng.uniform
    count = int(rng.integers(22, 34))
    a = np.linspace(np.radians(-75), np.radians(255), count)
    size = np.interp(np.abs(np.arange(count) - count / 2), [0, count / 2], [u(0.05, 0.07), 0.025])
    a2 = a - np.radians(90)
    x, z = 0.42 * np.sin(a2), -0.5 * np.cos(a2)
    beads = join([ball(s, 10).at(px, 0, pz) for s, px, pz in zip(size, x, z, strict=True)])
    thread = tube(np.column_stack([x, 0 * x, z]), 0.01, 5)
    low = z.min() - 0.1
    drop = (
        extrude([heart(0.2), star(5, 0.12, 0.05), ellipse(0.1, 0.13, 20)][int(rng.integers(3))], 0.05, bevel=0.012)
        .turned(x=90)
        .at(0, 0, low - 0.06)
    )
    return [("bead", beads), ("thread", thread), ("pendant", drop)]


WORN: tuple[Recipe, ...] = (
    recipe(crown, gold="metal:gold,silver", gem="glass:red,blue,green|plastic:bright", lining="fabric:red,purple,blue"),
    recipe(handbag, leather="leather|fabric", flap="leather", metal="metal:gold,silver"),
    recipe(backpack, body="fabric:bright,dark", pocket="fabric:bright,dark", strap="fabric:dark|leather"),
    recipe(suitcase, shell="plastic|metal|leather", rib="plastic|leather|metal", metal="metal", wheel="rubber"),
    recipe(glasses, rim="plastic:black,brown,bright|metal", lens="glass:white,dark"),
    recipe(
        wrist_watch,
        case="metal|metal:gold",
        dial="plastic:white,dark,blue",
        hand="metal:silver,gold",
        strap="leather|metal|rubber",
    ),
    recipe(ring, band="metal:gold,silver", gem="glass:white,red,blue,green"),
    recipe(
        necklace,
        bead="ceramic:white,pale|stone|plastic:bright",
        thread="fabric:dark",
        pendant="metal:gold,silver|stone",
    ),
)
