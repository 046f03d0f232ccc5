"""Four-legged animals; heads towards -y."""

from __future__ import annotations

import numpy as np

from sim.families.bodies import eyes, limb
from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import spline
from sim.solids import (
    ball,
    bar,
    cylinder,
    lathe,
    superellipsoid,
)


def dog(rng: Rng) -> Parts:
    u = rng.uniform
    length, tall, thick = u(0.55, 0.85), u(0.35, 0.6), u(0.13, 0.19)
    body = superellipsoid(thick, length / 2, thick * 1.1, square=0.8).at(z=tall)
    chest = superellipsoid(thick * 1.1, thick * 1.4, thick * 1.25).at(0, -length * 0.32, tall)
    head_at = np.array([0, -length / 2 - u(0.08, 0.16), tall + u(0.18, 0.3)])
    neck = limb([[0, -length * 0.38, tall + 0.03], np.add(head_at, [0, 0.03, -0.03])], [thick * 0.9, thick * 0.6])
    size = u(0.11, 0.14)
    muzzle = u(0.1, 0.2)
    head = superellipsoid(size, size * 1.15, size).at(*head_at)
    snout = superellipsoid(size * 0.5, muzzle, size * 0.48, square=0.8).at(
        *(np.add(head_at, [0, -size - muzzle * 0.3, -0.035]))
    )
    nose = ball(0.035, 10).at(*(np.add(head_at, [0, -size - muzzle * 1.25, -0.015])))
    if rng.random() < 0.5:
        ears = (
            superellipsoid(0.035, 0.06, u(0.1, 0.16))
            .turned(y=-15)
            .at(*(np.add(head_at, [size * 0.95, 0.03, -0.02])))
            .both("x")
        )
    else:
        ears = (
            lathe([[0, 0], [0.055, 0], [0.03, 0.08], [0, 0.15]], 10)
            .scaled(1, 0.5, 1)
            .turned(y=12)
            .at(*(np.add(head_at, [size * 0.6, 0.03, size * 0.7])))
            .both("x")
        )
    foot = u(0.025, 0.045)
    front = limb(
        [
            [thick * 0.65, -length * 0.34, tall],
            [thick * 0.65, -length * 0.35, tall * 0.45],
            [thick * 0.65, -length * 0.37, 0.03],
        ],
        [0.08, foot * 1.1, foot],
    )
    back = limb(
        [
            [thick * 0.65, length * 0.36, tall],
            [thick * 0.7, length * 0.3, tall * 0.5],
            [thick * 0.65, length * 0.43, tall * 0.3],
            [thick * 0.65, length * 0.36, 0.03],
        ],
        [0.1, 0.07, foot, foot],
    )
    paws = join(
        [
            superellipsoid(foot * 1.3, foot * 2, foot).at(thick * 0.65, y - 0.03, foot * 0.8)
            for y in (-length * 0.37, length * 0.36)
        ]
    )
    tail = limb(
        [
            [0, length * 0.46, tall + 0.05],
            [0, length * 0.62, tall + u(0.0, 0.15)],
            [0, length * u(0.6, 0.8), tall + u(0.1, 0.35)],
        ],
        [0.045, 0.035, 0.015],
    )
    legs = join([front, back, paws]).both("x")
    return [
        ("fur", join([body, chest, neck, head, legs, tail])),
        ("muzzle", join([snout, ears])),
        ("nose", nose),
        ("nose", eyes(size * 0.45, head_at[1] - size * 0.95, head_at[2] + 0.045, 0.02)),
    ]


def cat(rng: Rng) -> Parts:
    """Sitting."""
    u = rng.uniform
    body = lathe(spline([[0.001, 0], [0.2, 0.03], [0.22, 0.16], [u(0.12, 0.15), 0.42], [0.08, 0.52]], 4), 22).scaled(
        1, u(1.15, 1.35), 1
    )
    size, z = u(0.14, 0.17), 0.6
    head = superellipsoid(size, size * 0.85, size * 0.85).at(0, -0.06, z)
    ear = (
        lathe([[0, 0], [0.06, 0], [0.001, u(0.1, 0.15)]], 8)
        .scaled(1, 0.5, 1)
        .turned(y=15)
        .at(size * 0.55, -0.05, z + size * 0.6)
        .both("x")
    )
    leg = limb([[0.07, -0.14, 0.38], [0.07, -0.21, 0.15], [0.07, -0.23, 0.02]], [0.055, 0.04, 0.035])
    paw = superellipsoid(0.045, 0.07, 0.035).at(0.07, -0.26, 0.03)
    thigh = superellipsoid(0.08, 0.16, 0.14).at(0.17, 0.02, 0.13)
    turn = rng.choice([-1, 1])
    tail = limb(
        [[0, 0.22, 0.05], [turn * 0.2, 0.3, 0.04], [turn * 0.36, 0.1, 0.04], [turn * 0.3, -0.15, u(0.04, 0.2)]],
        [0.04, 0.04, 0.035, 0.02],
    )
    whiskers = join(
        [bar([0.03, -0.19, z - 0.03], [0.22, -0.2, z + dz], 0.004, sides=5) for dz in (-0.08, -0.03, 0.02)]
    ).both("x")
    chest = superellipsoid(0.1, 0.1, 0.15).at(0, -0.12, 0.36)
    muzzle = superellipsoid(0.06, 0.05, 0.04).at(0, -0.06 - size * 0.8, z - 0.04)
    return [
        ("fur", join([body, head, ear, join([leg, thigh]).both("x"), tail])),
        ("pale", join([chest, muzzle, paw.both("x")])),
        ("eye", join([whiskers, eyes(0.06, -0.06 - size * 0.72, z + 0.03, 0.024)])),
    ]


def horse(rng: Rng) -> Parts:
    u = rng.uniform
    tall, length, thick = u(0.75, 0.9), u(0.85, 1.05), u(0.17, 0.22)
    body = superellipsoid(thick, length / 2, thick * 1.15, square=0.75).at(z=tall)
    crest = np.array([0, -length * 0.66, tall + u(0.42, 0.55)])
    neck = limb([[0, -length * 0.35, tall], [0, -length * 0.55, tall + 0.25], crest], [0.2, 0.13, 0.09])
    head = limb(
        [np.add(crest, [0, 0.02, 0.02]), np.add(crest, [0, -0.14, -0.08]), np.add(crest, [0, -0.28, -0.24])],
        [0.09, 0.085, 0.05],
    )
    ears = lathe([[0, 0], [0.025, 0], [0.001, 0.1]], 8).at(0.04, crest[1], crest[2] + 0.06).both("x")
    front = limb(
        [[0.11, -length * 0.36, tall], [0.11, -length * 0.37, tall * 0.5], [0.11, -length * 0.36, 0.08]],
        [0.09, 0.045, 0.032],
    )
    back = limb(
        [
            [0.11, length * 0.38, tall],
            [0.11, length * 0.36, tall * 0.6],
            [0.11, length * 0.44, tall * 0.42],
            [0.11, length * 0.42, 0.08],
        ],
        [0.13, 0.08, 0.045, 0.032],
    )
    hoofs = join([cylinder(0.05, 0.1, 0.035, sides=12).at(0.11, y, 0.05) for y in (-length * 0.36, length * 0.42)])
    mane = join(
        [
            superellipsoid(0.03, 0.09, 0.06).at(0, crest[1] + 0.05 + 0.27 * t, crest[2] + 0.04 - 0.34 * t)
            for t in np.linspace(0, 1, 7)
        ]
    )
    tail = limb(
        [[0, length * 0.47, tall + 0.08], [0, length * 0.6, tall - 0.05], [0, length * u(0.58, 0.68), tall * 0.4]],
        [0.04, 0.07, 0.02],
    )
    return [
        ("coat", join([body, neck, head, ears, join([front, back]).both("x")])),
        ("hair", join([mane, tail])),
        ("hoof", join([hoofs.both("x"), eyes(0.075, crest[1] - 0.1, crest[2] - 0.02, 0.02)])),
    ]


def rabbit(rng: Rng) -> Parts:
    u = rng.uniform
    body = superellipsoid(0.22, 0.32, 0.24).at(0, 0.05, 0.25)
    thigh = superellipsoid(0.09, 0.17, 0.16).at(0.17, 0.18, 0.17).both("x")
    head = superellipsoid(0.14, 0.17, 0.14).at(0, -0.28, 0.46)
    size, spread = u(0.2, 0.32), u(5, 25)
    ears = superellipsoid(0.045, 0.025, size).turned(x=-15, y=spread).at(0.08, -0.2, 0.56 + size * 0.8).both("x")
    feet = join(
        [superellipsoid(0.05, 0.13, 0.04).at(0.15, 0.0, 0.04), superellipsoid(0.04, 0.08, 0.04).at(0.08, -0.3, 0.04)]
    ).both("x")
    front = limb([[0.08, -0.2, 0.25], [0.08, -0.27, 0.04]], [0.06, 0.04]).both("x")
    tail = ball(u(0.07, 0.1), 12).at(0, 0.37, 0.24)
    return [
        ("fur", join([body, thigh, head, ears, front])),
        ("pale", join([feet, tail])),
        ("eye", eyes(0.12, -0.36, 0.5, 0.022)),
    ]


def elephant(rng: Rng) -> Parts:
    u = rng.uniform
    body = superellipsoid(0.36, u(0.5, 0.6), 0.38, square=0.85).at(z=0.8)
    head = superellipsoid(0.22, 0.22, 0.25).at(0, -0.66, 1.0)
    trunk = limb(
        [[0, -0.82, 0.95], [0, -0.98, 0.65], [0, -0.95, 0.35], [0, -1.1, u(0.2, 0.5)]], [0.13, 0.09, 0.065, 0.04], 12
    )
    ear = superellipsoid(0.03, u(0.2, 0.28), u(0.25, 0.33)).turned(z=-35).at(0.33, -0.5, 0.98).both("x")
    legs = join([bar([0.22, y, 0.7], [0.22, y, 0], 0.13, 0.12, 14) for y in (-0.34, 0.36)]).both("x")
    tusk = limb([[0.1, -0.82, 0.84], [0.13, -1.0, 0.72], [0.12, -1.14, u(0.75, 0.85)]], [0.035, 0.03, 0.008]).both("x")
    nails = join([ball(0.03, 8).at(0.22 + dx, y - 0.12, 0.03) for y in (-0.34, 0.36) for dx in (-0.06, 0, 0.06)]).both(
        "x"
    )
    tail = limb([[0, 0.52, 0.95], [0, 0.62, 0.7], [0, 0.62, 0.5]], [0.03, 0.02, 0.025])
    return [
        ("skin", join([body, head, trunk, ear, legs, tail])),
        ("tusk", join([tusk, nails])),
        ("eye", eyes(0.18, -0.8, 1.05, 0.025)),
    ]


def giraffe(rng: Rng) -> Parts:
    u = rng.uniform
    leg_z, neck_z = u(0.75, 0.9), u(0.8, 1.05)
    body = superellipsoid(0.17, 0.36, 0.19).turned(x=-14).at(z=leg_z + 0.1)
    top = np.array([0, -0.5, leg_z + neck_z + 0.15])
    neck = limb([[0, -0.22, leg_z + 0.12], [0, -0.36, leg_z + 0.5], top], [0.17, 0.09, 0.06])
    head = limb(
        [np.add(top, [0, 0.05, 0.02]), np.add(top, [0, -0.08, 0.0]), np.add(top, [0, -0.22, -0.08])],
        [0.06, 0.075, 0.035],
    )
    horn = join(
        [
            bar(np.add(top, [0.03, 0.02, 0.04]), np.add(top, [0.04, 0.03, 0.14]), 0.012, sides=6),
            ball(0.02, 8).at(*(np.add(top, [0.04, 0.03, 0.15]))),
        ]
    ).both("x")
    ear = superellipsoid(0.07, 0.02, 0.03).at(0.1, top[1] + 0.04, top[2] + 0.05).both("x")
    legs = join(
        [limb([[0.1, y, leg_z], [0.1, y, leg_z / 2], [0.1, y, 0.04]], [0.07, 0.035, 0.028]) for y in (-0.24, 0.28)]
    ).both("x")
    tail = limb([[0, 0.35, leg_z + 0.1], [0, 0.45, leg_z - 0.2], [0, 0.44, leg_z - 0.4]], [0.025, 0.015, 0.03])
    hoofs = join([cylinder(0.042, 0.08, 0.03, sides=10).at(0.1, y, 0.04) for y in (-0.24, 0.28)]).both("x")
    return [
        ("skin", join([body, neck, head, ear, legs, tail])),
        ("horn", join([horn, hoofs])),
        ("horn", eyes(0.065, top[1] - 0.1, top[2] + 0.03, 0.016)),
    ]


MAMMALS: tuple[Recipe, ...] = (
    recipe(dog, fur="fur", muzzle="fur:pale,brown,dark", nose="plastic:black"),
    recipe(cat, fur="fur:orange,grey,dark,tan,black", pale="fur:white,pale", eye="plastic:black,green"),
    recipe(horse, coat="fur:brown,tan,dark,white,grey", hair="fur:dark,pale,black", hoof="plastic:black"),
    recipe(rabbit, fur="fur:brown,grey,tan,white", pale="fur:white", eye="plastic:black"),
    recipe(elephant, skin="skin:grey", tusk="ceramic:pale", eye="plastic:black"),
    recipe(giraffe, skin="skin:orange,tan,yellow", horn="fur:brown,dark"),
)
