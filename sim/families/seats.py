"""Furniture to sit, lie or eat at."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import rectangle, spline
from sim.solids import (
    bar,
    beam,
    box,
    cylinder,
    frame,
    lathe,
    sweep,
    torus,
    tube,
)


def chair(rng: Rng) -> Parts:
    u = rng.uniform
    width, depth, seat_z, back = u(0.42, 0.55), u(0.4, 0.52), u(0.4, 0.5), u(0.38, 0.65)
    thick, lean = u(0.03, 0.07), u(0.02, 0.12)
    x, y = width / 2 - 0.03, depth / 2 - 0.03
    parts: Parts = [("seat", box(width, depth, thick, bevel=0.4 * thick).at(z=seat_z))]
    if rng.random() < 0.75:
        splay, radius = u(0.0, 0.06), u(0.014, 0.026)
        leg = bar([x + splay, y + splay, 0], [x, y, seat_z], radius)
        parts.append(("leg", leg.both("x").both("y")))
    else:
        leg = tube(spline([[x, y, seat_z], [x, y, 0.02], [x, -y, 0.02], [x, -y, seat_z]], 3), 0.014)
        parts.append(("leg", leg.both("x")))
    post = bar([x, y, seat_z], [x, y + lean, seat_z + back], u(0.014, 0.024))
    parts.append(("leg", post.both("x")))
    style = rng.integers(3)
    if style == 0:
        panel = box(width * 0.96, u(0.02, 0.05), back * u(0.4, 0.85), bevel=0.01)
        parts.append(("seat", panel.turned(x=-np.degrees(lean / back)).at(0, y + 0.7 * lean, seat_z + 0.65 * back)))
    elif style == 1:
        for height in np.linspace(0.35, 0.97, rng.integers(2, 5)):
            slat = box(width * 0.9, 0.02, 0.06, bevel=0.006)
            parts.append(("seat", slat.at(0, y + lean * height, seat_z + back * height)))
    else:
        rail = bar([-x, y + lean, seat_z + back], [x, y + lean, seat_z + back], 0.025)
        count = rng.integers(4, 8)
        rods = [
            bar([s, y, seat_z], [s, y + lean, seat_z + back], 0.009, sides=6)
            for s in np.linspace(-x, x, count + 2)[1:-1]
        ]
        parts += [("seat", rail), ("leg", join(rods))]
    if rng.random() < 0.3:
        arm_z = seat_z + u(0.17, 0.24)
        arm = join(
            [
                beam([x, y, arm_z], [x, -y, arm_z], 0.04, 0.03),
                bar([x, -y + 0.03, seat_z], [x, -y + 0.03, arm_z], 0.015),
            ]
        )
        parts.append(("leg", arm.both("x")))
    return parts


def table(rng: Rng) -> Parts:
    u = rng.uniform
    length, depth, height, thick = u(0.9, 1.7), u(0.65, 0.95), u(0.6, 0.8), u(0.03, 0.07)
    parts: Parts = []
    if rng.random() < 0.35:
        radius = depth * u(0.55, 0.75)
        top = lathe(
            [
                [0, -thick / 2],
                [radius * 0.97, -thick / 2],
                [radius, 0],
                [radius * 0.98, thick / 2],
                [0, thick / 2],
            ]
        )
        parts.append(("top", top.at(z=height)))
        column = lathe(
            spline([[0.05, 0.03], [u(0.03, 0.08), 0.3 * height], [u(0.03, 0.07), 0.7 * height], [0.1, height]], 4),
            16,
        )
        foot = tube(spline([[0.02, 0, 0.2], [0.22, 0, 0.14], [radius * 0.75, 0, 0.02]], 4), 0.03)
        parts += [("leg", column), ("leg", foot.ring(rng.integers(3, 5), 45))]
        return parts
    parts.append(("top", box(length, depth, thick, bevel=0.3 * thick).at(z=height)))
    x, y = length / 2 - u(0.05, 0.16), depth / 2 - u(0.05, 0.12)
    if rng.random() < 0.6:
        wide = u(0.045, 0.09)
        leg = box(wide, wide, height).tapered(u(1.0, 1.5)).at(x, y, height / 2)
        apron = frame(2 * x, 2 * y, 0.03, 0.09).at(z=height - thick / 2 - 0.05)
        parts += [("leg", leg.both("x").both("y")), ("leg", apron)]
    else:
        side = beam([x, -y, 0], [x, y * u(-1, 1), height], 0.06, 0.06)
        other = beam([x, y, 0], [x, -y * u(-1, 1), height], 0.06, 0.06)
        rail = bar([-x, 0, height * 0.35], [x, 0, height * 0.35], 0.025)
        parts += [("leg", join([side, other]).both("x")), ("leg", rail)]
    return parts


def stool(rng: Rng) -> Parts:
    u = rng.uniform
    height, radius, legs = u(0.45, 0.8), u(0.15, 0.22), int(rng.integers(3, 5))
    seat = lathe([[0, -0.02], [radius * 0.95, -0.02], [radius, 0.01], [radius * 0.9, u(0.03, 0.07)], [0, 0.03]]).at(
        z=height
    )
    splay = u(1.0, 1.4)
    leg = bar([radius * splay, 0, 0], [radius * 0.65, 0, height], 0.016, 0.02).ring(legs)
    hoop = torus(radius * (0.65 + (splay - 0.65) * 0.7), 0.01, section=6).at(z=height * 0.3)
    return [("seat", seat), ("leg", leg), ("leg", hoop)]


def sofa(rng: Rng) -> Parts:
    u = rng.uniform
    seats = int(rng.integers(2, 4))
    width, depth, seat = 0.62 * seats, u(0.75, 0.95), u(0.3, 0.4)
    base = box(width, depth, 0.2, bevel=0.03).at(z=seat - 0.1)
    cushion = box(0.6, depth * 0.85, 0.16, bevel=0.05)
    cushions = join([cushion.at((i - (seats - 1) / 2) * 0.62, -0.05, seat + 0.07) for i in range(seats)])
    back = box(width, 0.2, u(0.45, 0.65), bevel=0.07).turned(x=-8).at(0, depth / 2 - 0.08, seat + 0.25)
    wide = u(0.12, 0.24)
    if rng.random() < 0.5:
        arm = box(wide, depth, u(0.35, 0.5), bevel=0.06).at(width / 2 + wide / 2, 0, seat + 0.02)
    else:
        arm = join(
            [
                cylinder(wide * 0.6, depth, sides=18).turned(x=90).at(width / 2 + wide / 2, 0, seat + 0.22),
                box(wide, depth * 0.98, 0.4, bevel=0.02).at(width / 2 + wide / 2, 0, seat + 0.02),
            ]
        )
    leg = bar([width / 2, depth / 2 - 0.08, seat - 0.2], [width / 2, depth / 2 - 0.08, 0], 0.03, 0.02)
    return [
        ("cover", join([base, back, arm.both("x")])),
        ("cushion", cushions),
        ("leg", leg.both("x").both("y")),
    ]


def bed(rng: Rng) -> Parts:
    u = rng.uniform
    width, length, height = u(0.9, 1.7), u(1.9, 2.15), u(0.25, 0.45)
    base = box(width, length, 0.14).at(z=height)
    mattress = box(width * 0.96, length * 0.97, u(0.15, 0.25), bevel=0.05).at(z=height + 0.17)
    head = box(width * 1.03, 0.06, u(0.6, 0.9), bevel=0.02).at(0, length / 2, height + 0.2)
    foot = box(width * 1.03, 0.06, u(0.2, 0.6), bevel=0.02).at(0, -length / 2, height)
    leg = box(0.08, 0.08, height).at(width / 2 - 0.05, length / 2 - 0.05, height / 2)
    top = height + 0.27
    count = 1 if width < 1.2 else 2
    pillow = box(width / count * 0.75, 0.4, 0.14, bevel=0.06)
    pillows = [pillow.at((i - (count - 1) / 2) * width / 2.1, length * 0.36, top + 0.06) for i in range(count)]
    cover = box(width * 1.02, length * u(0.45, 0.65), 0.2, bevel=0.05).at(0, -length * 0.19, top - 0.06)
    return [
        ("frame", join([base, head, foot, leg.both("x").both("y")])),
        ("mattress", mattress),
        ("mattress", join(pillows)),
        ("cover", cover),
    ]


def bench(rng: Rng) -> Parts:
    u = rng.uniform
    length, depth, seat, slats = u(1.2, 1.9), u(0.4, 0.5), u(0.38, 0.46), int(rng.integers(3, 6))
    planks = [
        box(length, depth / slats * 0.8, 0.035, bevel=0.008).at(0, y, seat)
        for y in (np.arange(slats) + 0.5) * depth / slats - depth / 2
    ]
    back = [
        box(length, 0.03, 0.08, bevel=0.008).at(0, depth / 2 + 0.02 + 0.1 * t, seat + 0.12 + 0.35 * t)
        for t in np.linspace(0, 1, rng.integers(2, 4))
    ]
    path = spline(
        [
            [0, -depth / 2 - 0.02, 0],
            [0, -depth / 2, seat - 0.03],
            [0, depth / 2, seat - 0.03],
            [0, depth / 2 + 0.13, seat + 0.5],
        ],
        4,
    )
    side = sweep(path, rectangle(0.05, 0.05)).at(length / 2 - 0.15)
    leg = beam([length / 2 - 0.15, depth / 2, seat - 0.03], [length / 2 - 0.15, depth / 2 + 0.1, 0], 0.05, 0.05)
    return [("plank", join(planks + back)), ("side", join([side, leg]).both("x"))]


SEATS: tuple[Recipe, ...] = (
    recipe(chair, seat="wood|fabric|plastic|leather", leg="wood|metal"),
    recipe(table, top="wood|wood|stone|plastic", leg="wood|metal"),
    recipe(stool, seat="wood|leather|plastic", leg="wood|metal"),
    recipe(sofa, cover="fabric|leather", cushion="fabric|leather", leg="wood|metal"),
    recipe(bed, frame="wood|metal", mattress="fabric:pale", cover="fabric"),
    recipe(bench, plank="wood", side="metal:dark|stone|concrete"),
)
