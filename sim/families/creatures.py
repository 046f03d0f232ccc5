"""Fish, birds and small creatures; heads towards -y."""

from __future__ import annotations

import numpy as np

from sim.families.bodies import eyes, limb
from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join, loft
from sim.outlines import Array, spline
from sim.solids import (
    ball,
    bar,
    cylinder,
    extrude,
    lathe,
    leaf,
    superellipsoid,
    tube,
)


def fish(rng: Rng) -> Parts:
    u = rng.uniform
    tall, thick = u(0.2, 0.42), u(0.09, 0.16)
    places = np.linspace(0, 1, 14)
    shape = np.sin(np.pi * np.clip(places, 0.01, 0.93) ** u(0.6, 0.85)) ** 0.8
    angles = np.arange(16) * (2 * np.pi / 16)
    from_side = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    sections = [
        np.column_stack([thick * s * from_side[:, 0], np.full(16, p - 0.5), tall * s * from_side[:, 1]])
        for p, s in zip(places, np.maximum(shape, 0.05), strict=True)
    ]
    body = loft(np.array(sections))
    fork, reach = u(0.1, 0.2), u(0.22, 0.34)
    tail = extrude(
        [[0.42, 0.03], [0.42, -0.03], [0.42 + reach, -reach], [0.42 + reach - fork, 0], [0.42 + reach, reach]], 0.025
    ).sideways()
    start, end = u(-0.2, -0.05), u(0.15, 0.3)
    dorsal = extrude(
        np.array(
            [
                [start, tall * 0.85],
                [end, tall * 0.6],
                [end + 0.06, tall + u(0.06, 0.14)],
                [start + 0.1, tall + u(0.1, 0.22)],
            ]
        ),
        0.02,
    ).sideways()
    belly = extrude(np.array([[0.0, -tall * 0.9], [0.1, -tall - 0.13], [0.2, -tall * 0.7]]), 0.02).sideways()
    side = leaf(u(0.16, 0.26), 0.13, 0.1).turned(y=35, z=60).at(thick * 0.8, -0.18, -0.05).both("x")
    return [
        ("body", body),
        ("fin", join([tail, dorsal, belly, side])),
        ("eye", eyes(thick * 0.62, -0.36, tall * 0.22, 0.035)),
    ]


def bird(rng: Rng) -> Parts:
    u = rng.uniform
    body = superellipsoid(u(0.14, 0.18), 0.3, u(0.15, 0.2)).turned(x=-20).at(z=0.42)
    head_at = [0, -0.26, 0.62]
    head = ball(u(0.1, 0.13), 18).at(*head_at)
    beak = lathe([[0.045, 0], [0.025, u(0.04, 0.1)], [0.001, u(0.12, 0.2)]], 10).turned(x=95).at(0, -0.34, 0.61)
    wing = superellipsoid(0.035, 0.26, 0.12).turned(x=-28).at(0.16, 0.06, 0.43).both("x")
    tail = superellipsoid(0.08, u(0.15, 0.26), 0.02).turned(x=-15).at(0, 0.4, 0.33)
    leg = join(
        [
            bar([0.06, 0.02, 0.32], [0.06, 0, 0.02], 0.012, sides=6),
            *[bar([0.06, 0, 0.015], [0.06 + dx, -0.09, 0.008], 0.01, sides=6) for dx in (-0.05, 0, 0.05)],
        ]
    )
    parts: Parts = [
        ("body", join([body, head])),
        ("wing", join([wing, tail])),
        ("beak", join([beak, leg.both("x")])),
        ("eye", eyes(0.075, -0.32, 0.66, 0.018)),
    ]
    if rng.random() < 0.35:
        crest = leaf(0.16, 0.06, 0.0).turned(y=-50, z=90).at(0, -0.26, 0.7)
        parts.append(("wing", crest))
    return parts


def duck(rng: Rng) -> Parts:
    u = rng.uniform

    def lift(v: Array) -> Array:
        return v + np.stack([0 * v[:, 0], 0 * v[:, 0], 0.9 * np.clip(v[:, 1] - 0.1, 0, 1) ** 1.5], axis=1)

    body = superellipsoid(u(0.24, 0.3), 0.42, 0.2).warped(lift).at(z=0.2)
    neck = limb([[0, -0.26, 0.28], [0, -0.32, 0.46], [0, -0.3, u(0.58, 0.7)]], [0.14, 0.08, 0.1])
    top = u(0.6, 0.72)
    head = ball(u(0.13, 0.16), 18).at(0, -0.32, top)
    bill = superellipsoid(0.08, 0.13, 0.03).turned(x=8).at(0, -0.5, top - 0.03)
    wing = superellipsoid(0.05, 0.26, 0.12).turned(x=15).at(0.26, 0.06, 0.26).both("x")
    return [
        ("body", join([body, neck, head])),
        ("wing", wing),
        ("bill", bill),
        ("eye", eyes(0.1, -0.41, top + 0.05, 0.02)),
    ]


def snail(rng: Rng) -> Parts:
    u = rng.uniform
    turns, growth = u(2.2, 3.2), u(0.55, 0.75)
    t = np.linspace(0, 1, 56)
    angle = 2 * np.pi * turns * t
    radius = 0.3 * growth ** (turns * (1 - t))
    path = np.stack([0.16 * (1 - t), radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    shell = tube(path, 0.47 * radius * np.clip(t * 6, 0.3, 1), 12).at(-0.08, 0.08, 0.42)
    foot = limb([[0, -0.5, 0.1], [0, -0.2, 0.08], [0, 0.3, 0.06], [0, 0.62, 0.02]], [0.08, 0.12, 0.1, 0.02], 12).scaled(
        1.2, 1, 0.9
    )
    neck = limb([[0, -0.4, 0.08], [0, -0.58, 0.18], [0, -0.6, 0.28]], [0.1, 0.09, 0.07])
    horn = bar([0.03, -0.6, 0.3], [0.1, -0.68, u(0.45, 0.55)], 0.016, sides=6)
    return [("shell", shell), ("body", join([foot, neck, horn.both("x")])), ("eye", eyes(0.1, -0.68, 0.52, 0.026))]


def turtle(rng: Rng) -> Parts:
    u = rng.uniform
    wide = u(0.34, 0.42)
    shell = superellipsoid(wide, 0.45, u(0.25, 0.36), sides=28).at(z=0.16)
    shell = shell.warped(lambda v: np.column_stack([v[:, :2], np.maximum(v[:, 2], 0.12)]))
    rim = tube(
        np.column_stack([wide * np.cos(a := np.linspace(0, 2 * np.pi, 29)[:-1]), 0.46 * np.sin(a), np.full(28, 0.14)]),
        0.035,
        closed=True,
    )
    belly = superellipsoid(wide * 0.95, 0.43, 0.07).at(z=0.12)
    head = superellipsoid(0.09, 0.12, 0.09).at(0, -0.62, u(0.2, 0.3))
    neck = limb([[0, -0.38, 0.14], [0, -0.6, 0.22]], [0.09, 0.065])
    legs = join(
        [
            superellipsoid(0.17, 0.09, 0.05).turned(y=20, z=a).at(wide * 0.85, y, 0.09)
            for y, a in ((-0.28, -30), (0.28, 30))
        ]
    ).both("x")
    tail = limb([[0, 0.4, 0.1], [0, 0.56, 0.06]], [0.05, 0.01])
    return [
        ("shell", shell),
        ("rim", rim),
        ("skin", join([belly, head, neck, legs, tail])),
        ("eye", eyes(0.065, -0.68, 0.29, 0.018)),
    ]


def butterfly(rng: Rng) -> Parts:
    u = rng.uniform
    body = superellipsoid(0.035, 0.3, 0.04).at(z=0.0)
    top = spline([[0.02, -0.12], [0.35, -u(0.35, 0.5)], [u(0.5, 0.65), -0.36], [0.45, -0.05], [0.03, 0.03]], 5)
    low = spline([[0.03, 0.0], [0.38, 0.05], [u(0.35, 0.5), u(0.25, 0.4)], [0.22, u(0.4, 0.6)], [0.02, 0.15]], 5)
    lift = u(15, 50)
    fore = extrude(top, 0.012).turned(y=-lift).both("x")
    hind = extrude(low, 0.012).turned(y=-lift).both("x")
    spots = (
        join([cylinder(r, 0.02, sides=14).at(x, y, 0) for x, y, r in ((0.38, -0.26, 0.07), (0.24, -0.16, 0.05))])
        .turned(y=-lift)
        .both("x")
    )
    feeler = limb([[0.015, -0.28, 0.02], [0.06, -0.42, 0.1], [0.13, -0.5, 0.14]], [0.008, 0.007, 0.01], 6).both("x")
    return [
        ("body", join([body, feeler, ball(0.045, 10).at(0, -0.3, 0.01)])),
        ("fore", fore),
        ("hind", hind),
        ("spot", spots),
    ]


def spider(rng: Rng) -> Parts:
    u = rng.uniform
    rear = superellipsoid(u(0.15, 0.22), u(0.2, 0.28), 0.18).at(0, 0.25, 0.28)
    front = superellipsoid(0.11, 0.14, 0.1).at(0, -0.1, 0.25)
    reach, high = u(0.5, 0.75), u(0.4, 0.6)
    legs = []
    for angle in (-50, -18, 15, 48):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        legs.append(
            limb(
                [
                    [0.08 * c, -0.1 + 0.08 * s, 0.24],
                    [reach * 0.45 * c, -0.1 + reach * 0.45 * s, high],
                    [reach * 0.85 * c, -0.1 + reach * 0.85 * s, 0.25],
                    [reach * c, -0.1 + reach * s, 0],
                ],
                [0.028, 0.024, 0.018, 0.008],
                7,
            )
        )
    fangs = lathe([[0.025, 0], [0.001, 0.08]], 8).turned(x=160).at(0.04, -0.22, 0.2).both("x")
    return [
        ("body", join([rear, front])),
        ("leg", join(legs).both("x")),
        ("eye", join([fangs, eyes(0.04, -0.21, 0.3, 0.024), eyes(0.09, -0.17, 0.3, 0.016)])),
    ]


def snake(rng: Rng) -> Parts:
    u = rng.uniform
    turns = u(1.6, 2.6)
    t = np.linspace(0, 1, 70)
    angle = 2 * np.pi * turns * t
    radius = u(0.34, 0.42) * (1 - 0.55 * t)
    coil = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.06 + 0.28 * t], axis=1)
    rise = coil[-1] + np.array([[0.0, -0.06, 0.1], [0, -0.1, u(0.25, 0.4)], [0, -0.24, 0.45]])
    path = np.concatenate([coil, spline(np.concatenate([coil[-1:], rise]), 4)[1:]])
    thick = np.interp(np.linspace(0, 1, len(path)), [0, 0.25, 0.8, 1], [0.008, 0.06, 0.062, 0.045])
    head_at = path[-1]
    head = superellipsoid(0.075, 0.11, 0.045).at(*(np.add(head_at, [0, -0.06, 0])))
    tip = np.add(head_at, [0, -0.25, -0.01])
    fork = [bar(tip, np.add(tip, [side, -0.05, 0.01]), 0.005, sides=5) for side in (-0.03, 0.03)]
    tongue = join([bar(np.add(head_at, [0, -0.15, 0]), tip, 0.006, sides=5), *fork])
    return [
        ("skin", join([tube(path, thick, 10), head])),
        ("tongue", tongue),
        ("eye", eyes(0.05, head_at[1] - 0.09, head_at[2] + 0.035, 0.014).at(head_at[0])),
    ]


def octopus(rng: Rng) -> Parts:
    u = rng.uniform
    tall = u(0.3, 0.45)
    head = superellipsoid(0.25, 0.25, tall).at(0, 0.03, 0.25 + tall * 0.8)
    curl, reach = u(0.1, 0.4), u(0.55, 0.8)
    arms = [
        limb(
            [[0.15, 0, 0.3], [reach * 0.55, 0, u(0.05, 0.25)], [reach, 0.1 * w, 0.05], [reach * 0.95, 0.25 * w, curl]],
            [0.09, 0.065, 0.04, 0.012],
        ).turned(z=22.5 + 45 * i)
        for i in range(8)
        for w in [u(-1, 1)]
    ]
    whites = eyes(0.12, -0.2, 0.42 + tall * 0.3, 0.06)
    return [("skin", join([head, *arms])), ("white", whites), ("eye", eyes(0.13, -0.25, 0.43 + tall * 0.3, 0.03))]


CREATURES: tuple[Recipe, ...] = (
    recipe(fish, body="skin:orange,blue,grey,red,yellow", fin="skin:orange,yellow,blue,dark", eye="plastic:black"),
    recipe(
        bird, body="fur:bright,brown,grey", wing="fur:dark,bright", beak="plastic:orange,yellow", eye="plastic:black"
    ),
    recipe(
        duck,
        body="plastic:yellow|fur:white,brown",
        wing="fur:yellow,white,brown",
        bill="plastic:orange",
        eye="plastic:black",
    ),
    recipe(snail, shell="ceramic:brown,tan,orange", body="skin:tan,grey", eye="plastic:black"),
    recipe(
        turtle,
        shell="stone:green,brown|leather:green",
        rim="skin:tan,lime",
        skin="skin:green,lime",
        eye="plastic:black",
    ),
    recipe(butterfly, body="fur:dark,black", fore="paper:bright", hind="paper:bright", spot="paper:white,black,yellow"),
    recipe(spider, body="fur:dark,black,brown", leg="fur:dark,black,brown", eye="plastic:red,black"),
    recipe(snake, skin="leather:green,lime,brown,orange", tongue="skin:red", eye="plastic:black"),
    recipe(octopus, skin="skin:red,purple,orange,pink", white="ceramic:white", eye="plastic:black"),
)
