"""Things to wear and carry: umbrella, hat, shoe, bag, watch."""

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
    slab,
    superellipsoid,
    torus,
    tube,
)


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


WORN: tuple[Recipe, ...] = (
    recipe(umbrella, canopy="fabric:bright,dark|fabric", pole="metal", handle="wood|plastic"),
    recipe(hat, felt="fabric|fabric:tan,dark,brown", band="fabric:bright,dark|leather"),
    recipe(crown, gold="metal:gold,silver", gem="glass:red,blue,green|plastic:bright", lining="fabric:red,purple,blue"),
    recipe(
        shoe, upper="leather|fabric:bright,white|leather", sole="rubber|plastic:white", lace="fabric:white,dark,bright"
    ),
    recipe(boot, leather="leather|rubber|plastic:bright", sole="rubber", rim="fur:pale|leather"),
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
    recipe(t_shirt, cloth="fabric", collar="fabric", print="fabric:bright,white,dark"),
    recipe(trousers, cloth="fabric:blue,dark,tan|fabric", belt="leather", buckle="metal"),
)
