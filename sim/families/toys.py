"""Toys and treats."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import spline
from sim.solids import (
    ball,
    bar,
    box,
    cylinder,
    lathe,
    superellipsoid,
    torus,
    tube,
)


def spinning_top(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.36, 0.48), u(0.35, 0.55)
    lower = lathe(spline([[0.001, 0], [0.05, 0.05], [wide * 0.75, tall * 0.5], [wide, tall * 0.75]], 5), 30)
    upper = lathe(spline([[wide, tall * 0.745], [wide * 0.8, tall * 0.95], [0.06, tall * u(1.0, 1.25)]], 5), 30)
    band = torus(wide, 0.03, 36, 8).at(z=tall * 0.75)
    stick = join(
        [
            bar([0, 0, tall], [0, 0, tall + u(0.2, 0.4)], 0.035),
            ball(0.06, 12).at(z=tall + 0.4),
            bar([0, 0, 0.02], [0, 0, -0.08], 0.03, 0.005),
        ]
    )
    lean = u(0, 18)
    return [(n, s.turned(y=lean)) for n, s in (("lower", lower), ("upper", upper), ("band", band), ("stick", stick))]


def snowman(rng: Rng) -> Parts:
    u = rng.uniform
    r1, r2, r3 = u(0.34, 0.42), u(0.25, 0.3), u(0.18, 0.22)
    z2 = r1 * 1.75 + r2 * 0.6
    z3 = z2 + r2 * 0.75 + r3 * 0.75
    snow = join([ball(r1, 22).at(z=r1 * 0.9), ball(r2, 20).at(z=z2), ball(r3, 20).at(z=z3)])
    nose = lathe([[0.035, 0], [0.001, u(0.16, 0.26)]], 10).turned(x=90).at(0, -r3 * 0.95, z3)
    coal = [ball(0.026, 8).at(s * 0.07, -r3 * 0.93, z3 + 0.06) for s in (-1, 1)] + [
        ball(0.03, 8).at(0, -r2 * 0.99, z2 + dz) for dz in (-0.08, 0.02, 0.12)
    ]
    coal += [
        ball(0.016, 6).at(0.085 * np.sin(a), -r3 * 0.94, z3 - 0.05 - 0.03 * np.cos(a)) for a in np.linspace(-1, 1, 5)
    ]
    brim = lathe(
        [[0, 0], [r3 * 1.3, 0], [r3 * 1.3, 0.025], [r3 * 0.8, 0.03], [r3 * 0.75, u(0.16, 0.3)], [0, 0.25]], 24
    ).at(z=z3 + r3 * 0.75)
    scarf = torus(r3 * 0.85, 0.055, 26, 8).at(z=z3 - r3 * 0.75)
    end = box(0.1, 0.04, 0.26).turned(x=-10, z=10).at(0.12, -r3 * 0.85, z3 - r3 * 0.75 - 0.13)
    arm = join(
        [
            bar([r2 * 0.9, 0, z2 + 0.05], [r2 + 0.32, 0, z2 + u(0.1, 0.3)], 0.016, sides=6),
            bar([r2 + 0.2, 0, z2 + 0.12], [r2 + 0.28, -0.08, z2 + 0.26], 0.012, sides=6),
        ]
    )
    return [
        ("snow", snow),
        ("nose", nose),
        ("coal", join([*coal, brim])),
        ("scarf", join([scarf, end])),
        ("stick", arm.both("x")),
    ]


def robot(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, head = u(0.36, 0.5), u(0.42, 0.55), u(0.26, 0.34)
    legs_z = u(0.25, 0.4)
    torso = box(wide, 0.28, tall, bevel=0.04).at(z=legs_z + tall / 2)
    neck_z = legs_z + tall
    skull = (
        box(head, head * 0.85, head * u(0.75, 1.0), bevel=0.03).at(z=neck_z + 0.05 + head * 0.45)
        if rng.random() < 0.65
        else superellipsoid(head * 0.58, head * 0.55, head * 0.55).at(z=neck_z + 0.05 + head * 0.45)
    )
    eyes = (
        cylinder(0.05, 0.06, sides=16).turned(x=90).at(head * 0.24, -head * 0.45, neck_z + 0.08 + head * 0.5).both("x")
    )
    mouth = box(head * 0.5, 0.03, 0.05).at(0, -head * 0.44, neck_z + 0.05 + head * 0.16)
    antenna = join(
        [
            bar([0, 0, neck_z + head * 0.9], [0, 0, neck_z + head + u(0.1, 0.25)], 0.012, sides=6),
            ball(0.035, 10).at(z=neck_z + head + 0.2),
        ]
    )
    lift = u(-20, 60)
    arm = (
        join(
            [
                ball(0.07, 12),
                bar([0, 0, 0], [0, 0, -0.22], 0.045),
                ball(0.055, 12).at(z=-0.22),
                bar([0, 0, -0.22], [0, -0.16, -0.34], 0.04),
            ]
        )
        .turned(x=-lift * 0.5, y=-lift * 0.4)
        .at(wide / 2 + 0.07, 0, neck_z - 0.08)
    )
    claw = (
        torus(0.06, 0.022, 14, 6)
        .turned(y=90)
        .at(0, -0.2, -0.37)
        .turned(x=-lift * 0.5, y=-lift * 0.4)
        .at(wide / 2 + 0.07, 0, neck_z - 0.08)
    )
    leg = join(
        [
            cylinder(0.06, legs_z, sides=14).at(wide * 0.28, 0, legs_z / 2),
            box(0.16, 0.26, 0.08, bevel=0.02).at(wide * 0.28, -0.04, 0.03),
        ]
    )
    dial = join(
        [
            cylinder(0.06, 0.03, sides=18).turned(x=90).at(-wide * 0.2, -0.15, legs_z + tall * 0.65),
            *[
                cylinder(0.025, 0.03, sides=10).turned(x=90).at(wide * 0.08 + 0.07 * i, -0.15, legs_z + tall * 0.68)
                for i in range(2)
            ],
            box(wide * 0.6, 0.02, 0.1).at(0, -0.145, legs_z + tall * 0.3),
        ]
    )
    return [
        ("body", join([torso, skull])),
        ("limb", join([arm, leg]).both("x")),
        ("limb", cylinder(0.07, 0.1, sides=14).at(z=neck_z + 0.03)),
        ("light", join([eyes, dial])),
        ("metal", join([claw.both("x"), antenna, mouth])),
    ]


def teddy_bear(rng: Rng) -> Parts:
    u = rng.uniform
    belly = superellipsoid(u(0.24, 0.3), 0.23, 0.3).at(z=0.3)
    z = 0.75
    head = superellipsoid(0.22, 0.2, 0.2).at(z=z)
    ear = superellipsoid(r := u(0.07, 0.1), 0.04, r).at(0.17, 0.02, z + 0.16).both("x")
    inner = superellipsoid(0.05, 0.03, 0.05).at(0.17, -0.02, z + 0.16).both("x")
    snout = superellipsoid(0.1, 0.09, 0.075).at(0, -0.18, z - 0.05)
    arm = superellipsoid(0.085, 0.085, 0.2).turned(y=-u(20, 70), x=25).at(0.28, -0.06, 0.46).both("x")
    leg = superellipsoid(0.11, 0.22, 0.11).turned(z=20).at(0.2, -0.22, 0.1).both("x")
    pads = superellipsoid(0.075, 0.03, 0.075).turned(z=20).at(0.27, -0.42, 0.1).both("x")
    tummy = superellipsoid(0.16, 0.06, 0.2).at(0, -0.19, 0.3)
    eyes_nose = join(
        [ball(0.024, 10).at(0.08, -0.185, z + 0.04).both("x"), superellipsoid(0.04, 0.03, 0.026).at(0, -0.27, z - 0.02)]
    )
    bow = (
        join([lathe([[0.001, 0], [0.06, 0.12], [0.001, 0.11]], 10).turned(y=s * 90) for s in (-1, 1)])
        .scaled(1, 0.6, 1)
        .at(0, -0.17, z - 0.2)
    )
    return [
        ("fur", join([belly, head, ear, arm, leg])),
        ("pale", join([inner, snout, pads, tummy])),
        ("black", eyes_nose),
        ("bow", bow),
    ]


def gift_box(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, tall, band = u(0.5, 0.8), u(0.5, 0.8), u(0.3, 0.75), u(0.06, 0.12)
    body = box(wide, deep, tall).at(z=tall / 2)
    lid = box(wide * 1.06, deep * 1.06, tall * 0.2).at(z=tall)
    top = tall * 1.1
    ribbons = join(
        [box(band, deep * 1.07, top * 1.005).at(z=top / 2), box(wide * 1.07, band, top * 1.005).at(z=top / 2)]
    )
    loop = tube(
        spline([[0, 0, 0], [0.14, 0.04, 0.15], [0.28, 0.0, 0.12], [0.2, -0.04, 0.0], [0, 0, 0.01]], 5), 0.03, 6
    ).scaled(1, 1.6, 1)
    bows = join([loop.ring(int(rng.integers(2, 5))), ball(0.06, 12).at(z=0.03)]).turned(z=u(0, 60)).at(z=top)
    return [("paper", body), ("lid", lid), ("ribbon", join([ribbons, bows]))]


def crystal(rng: Rng) -> Parts:
    u = rng.uniform
    shards = []
    for i in range(int(rng.integers(5, 10))):
        long, wide = u(0.35, 1.0) * (1 if i else 1.1), u(0.07, 0.14)
        one = lathe([[wide * 0.75, 0], [wide, long * u(0.6, 0.78)], [0.001, long]], 6).faceted()
        shards.append(
            one.turned(z=u(0, 60))
            .turned(y=u(8, 50) if i else u(0, 10), z=137.5 * i)
            .at(0.1 * np.cos(2.4 * i) * (i > 0), 0.1 * np.sin(2.4 * i) * (i > 0))
        )
    rock = lathe([[0, -0.12], [0.36, -0.12], [0.42, -0.02], [0.25, 0.08], [0, 0.1]], 9).faceted()
    return [
        ("crystal", join(shards)),
        ("rock", rock.warped(lambda v: v * (1 + 0.15 * np.sin(7 * v[:, :1] + 5 * v[:, 1:2])))),
    ]


TOYS: tuple[Recipe, ...] = (
    recipe(
        spinning_top,
        lower="wood|plastic:bright|metal:bright",
        upper="wood|plastic:bright|metal:bright",
        band="metal|plastic:bright,white",
        stick="wood|metal",
    ),
    recipe(
        snowman,
        snow="wax:white",
        nose="fruit:orange",
        coal="stone:dark,black",
        scarf="fabric:bright",
        stick="bark:brown",
    ),
    recipe(
        robot,
        body="metal|metal:bright|plastic:bright,white",
        limb="metal|plastic:dark,bright",
        light="glass:red,yellow,blue|plastic:bright",
        metal="metal:dark,brass",
    ),
    recipe(teddy_bear, fur="fur:brown,tan,pink,pale", pale="fur:pale,tan", black="plastic:black", bow="fabric:bright"),
    recipe(gift_box, paper="paper:bright,pale", lid="paper:bright,pale", ribbon="fabric:bright,white"),
    recipe(crystal, crystal="glass:blue,purple,pink,green|glass:white", rock="stone"),
)
