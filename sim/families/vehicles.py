"""Vehicles of the road, fronts towards -y."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.families.wheels import spoked_wheel, wheels
from sim.geometry import Parts, Solid, join
from sim.outlines import spline
from sim.solids import (
    bar,
    beam,
    box,
    cylinder,
    extrude,
    superellipsoid,
    tube,
)


def car(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, low, high = u(3.6, 4.6), u(1.6, 1.8), 0.32, u(0.75, 0.95)
    style = rng.choice(["sedan", "hatchback", "estate", "sports", "pickup"])
    roof = high + (0.42 if style == "sports" else u(0.5, 0.65))
    half = length / 2
    lower = spline(
        [
            [-half, low + 0.1],
            [-half + 0.05, high * 0.78],
            [-half * 0.55, high * 0.95],
            [0, high],
            [half * 0.7, high],
            [half, high * 0.85],
            [half - 0.02, low + 0.1],
        ],
        4,
    )
    outline = np.concatenate([lower, [[half - 0.2, low - 0.05], [-half + 0.2, low - 0.05]]])
    body = extrude(outline[::-1], width, bevel=0.12).sideways()
    front, rear = (
        -half * u(0.35, 0.5),
        {"sedan": 0.62, "hatchback": 0.86, "estate": 0.95, "sports": 0.7, "pickup": 0.12}[style] * half,
    )
    top_front, top_rear = (
        front + u(0.45, 0.75),
        rear - {"sedan": 0.5, "hatchback": 0.3, "estate": 0.12, "sports": 0.8, "pickup": 0.08}[style],
    )
    top_rear = max(top_rear, top_front + 0.3)
    glass = extrude(
        [[rear, high - 0.05], [top_rear, roof], [top_front, roof], [front, high - 0.05]], width * 0.86, bevel=0.09
    )
    panel = extrude(
        [
            [top_rear + 0.03, roof - 0.03],
            [top_rear, roof + 0.03],
            [top_front, roof + 0.03],
            [top_front - 0.03, roof - 0.03],
        ],
        width * 0.84,
        bevel=0.02,
    )
    pillar = beam(
        [width * 0.42, (top_front + top_rear) / 2, high], [width * 0.42, (top_front + top_rear) / 2, roof], 0.06, 0.1
    ).both("x")
    radius = u(0.29, 0.36)
    lights = superellipsoid(0.14, 0.06, 0.08).at(width * 0.34, -half + 0.04, high * 0.72).both("x")
    bumper = box(width * 0.96, 0.16, 0.16, bevel=0.05).at(0, -half + 0.02, low + 0.08).both("y")
    parts: Parts = [("body", body), ("glass", glass.sideways()), ("body", panel.sideways()), ("body", pillar)]
    if style == "pickup":
        bed = join(
            [
                box(0.08, half - rear, 0.25).at(width * 0.46, (half + rear) / 2, high + 0.08).both("x"),
                box(width, 0.08, 0.25).at(0, half - 0.05, high + 0.05),
            ]
        )
        parts.append(("body", bed))
    return [*parts, ("light", lights), ("hub", bumper), *wheels(radius, 0.22, width - 0.15, [-half * 0.6, half * 0.6])]


def bicycle(rng: Rng) -> Parts:
    u = rng.uniform
    radius, base = u(0.31, 0.36), u(0.98, 1.1)
    front, rear = np.array([0, -base / 2, radius]), np.array([0, base / 2, radius])
    tyre_part, spokes = spoked_wheel(radius, u(0.016, 0.032), int(rng.integers(8, 15)))
    crank = np.array([0, base * 0.08, radius - 0.04])
    seat = np.array([0, base * 0.2, radius + u(0.45, 0.56)])
    head = np.array([0, -base * 0.34, radius + u(0.42, 0.52)])
    low_head = np.add(head, [0, -0.03, -0.12])
    tubes = [
        (crank, seat),
        (crank, low_head),
        (rear, crank),
        (rear, seat - [0, 0.02, 0.08]),
        (low_head, front),
        (head, low_head),
    ]
    if rng.random() < 0.75:
        tubes.append((seat - [0, 0.02, 0.06], head))
    else:
        tubes.append((np.add(crank, [0, 0.04, 0.18]), head))
    steel = join([bar(a, b, u(0.016, 0.024), sides=8) for a, b in tubes])
    wide = u(0.2, 0.3)
    if rng.random() < 0.5:
        grip = spline(
            [[wide, 0.12, 0.06], [wide * 0.8, 0, 0.08], [0, 0, 0.04], [-wide * 0.8, 0, 0.08], [-wide, 0.12, 0.06]], 4
        )
    else:
        grip = spline(
            [
                [wide, 0, -0.12],
                [wide, -0.12, -0.06],
                [wide, -0.06, 0.03],
                [0, 0, 0.03],
                [-wide, -0.06, 0.03],
                [-wide, -0.12, -0.06],
                [-wide, 0, -0.12],
            ],
            4,
        )
    bars = join([tube(grip, 0.014).at(*head), bar(head, np.add(head, [0, 0, 0.05]), 0.015)])
    saddle = superellipsoid(0.075, 0.14, 0.035, square=0.8).tapered(0.9).at(*(np.add(seat, [0, 0.01, 0.09])))
    post = bar(seat, np.add(seat, [0, 0.01, 0.08]), 0.013)
    pedals = join(
        [
            cylinder(0.09, 0.01, sides=20).sideways().at(0.05, crank[1], crank[2]),
            bar(np.add(crank, [0.06, 0, 0]), np.add(crank, [0.06, -0.05, -0.15]), 0.01),
            bar(crank - [0.06, 0, 0], np.add(crank, [-0.06, 0.05, 0.15]), 0.01),
            box(0.1, 0.07, 0.02).at(0.11, crank[1] - 0.05, crank[2] - 0.15),
            box(0.1, 0.07, 0.02).at(-0.11, crank[1] + 0.05, crank[2] + 0.15),
        ]
    )
    return [
        ("tyre", join([tyre_part.at(*front), tyre_part.at(*rear)])),
        ("spokes", join([spokes.at(*front), spokes.at(*rear)])),
        ("frame", steel),
        ("spokes", bars),
        ("saddle", saddle),
        ("spokes", join([post, pedals])),
    ]


def truck(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, cab_h, box_h = u(5.5, 7.5), 2.0, u(1.6, 2.0), u(1.5, 2.3)
    cab_l = u(1.3, 1.7)
    front = -length / 2
    cab = (
        extrude([[cab_l, 0], [cab_l, cab_h], [u(0.15, 0.5), cab_h], [0, cab_h * 0.5], [0, 0]], width * 0.96, bevel=0.12)
        .sideways()
        .at(0, front, 0.6)
    )
    windscreen = box(width * 0.8, 0.5, cab_h * 0.34, bevel=0.05).at(0, front + 0.33, 0.6 + cab_h * 0.72)
    side_window = box(width, 0.6, cab_h * 0.3, bevel=0.05).at(0, front + cab_l * 0.62, 0.6 + cab_h * 0.72)
    load_l = length - cab_l - 0.15
    middle = front + cab_l + 0.15 + load_l / 2
    kind = rng.integers(3)
    if kind == 0:
        load: Solid = box(width, load_l, box_h, bevel=0.04).at(0, middle, 0.75 + box_h / 2)
    elif kind == 1:
        load = cylinder(box_h * 0.48, load_l, sides=28).turned(x=90).at(0, middle, 0.8 + box_h * 0.48)
    else:
        sides = join(
            [
                box(0.1, load_l, 0.7).at(width / 2 - 0.05, middle, 1.1).both("x"),
                box(width, 0.1, 0.7).at(0, middle + load_l / 2 - 0.05, 1.1),
                box(width, load_l, 0.1).at(0, middle, 0.8),
            ]
        )
        heap = superellipsoid(width * 0.42, load_l * 0.42, 0.55, square=0.6).at(0, middle, 1.1)
        load = join([sides, heap])
    chassis = box(width * 0.6, length, 0.25).at(0, 0.0, 0.62)
    places = [front + 0.7, length / 2 - 0.6] + ([length / 2 - 1.65] if length > 6.2 else [])
    return [
        ("cab", cab),
        ("glass", join([windscreen, side_window])),
        ("load", load),
        ("chassis", chassis),
        *wheels(0.48, 0.35, width - 0.2, places),
    ]


def bus(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, height = u(6.5, 9.0), 2.2, u(2.2, 2.6)
    decks = 2 if rng.random() < 0.35 else 1
    height *= 1 + 0.75 * (decks - 1)
    body = box(width, length, height, bevel=0.18).at(0, 0, 0.35 + height / 2)
    windows = []
    count = int(rng.integers(5, 8))
    for deck in range(decks):
        z = 0.35 + (height / decks) * (deck + 0.66)
        for y in np.linspace(-length * 0.38, length * 0.38, count):
            windows.append(box(width * 1.02, length / count * 0.68, height / decks * 0.34, bevel=0.04).at(0, y, z))
        windows.append(box(width * 0.86, 0.3, height / decks * 0.4, bevel=0.04).at(0, -length / 2 + 0.12, z))
    lights = cylinder(0.13, 0.1, sides=14).turned(x=90).at(width * 0.36, -length / 2, 0.75).both("x")
    stripe = box(width * 1.01, length * 0.99, 0.14).at(0, 0, 0.75)
    return [
        ("body", body),
        ("glass", join(windows)),
        ("hub", lights),
        ("stripe", stripe),
        *wheels(0.45, 0.3, width - 0.2, [-length * 0.32, length * 0.28]),
    ]


def tractor(rng: Rng) -> Parts:
    u = rng.uniform
    hood = box(0.75, 1.3, 0.6, bevel=0.08).at(0, -0.75, 1.05)
    grille = box(0.5, 0.05, 0.4).at(0, -1.4, 1.05)
    cab = join([bar([0.5, y, 1.0], [0.45, y, 2.1], 0.04).both("x") for y in (-0.1, 0.75)])
    roof = box(1.15, 1.1, 0.1, bevel=0.04).at(0, 0.32, 2.13)
    glass = box(0.9, 0.75, 0.75).at(0, 0.33, 1.65)
    fender = superellipsoid(0.2, 0.75, 0.25, upright=0.6).at(0.7, 0.55, u(1.35, 1.5)).both("x")
    seat = box(0.9, 0.9, 0.5, bevel=0.05).at(0, 0.4, 0.95)
    pipe = bar([0.2, -0.9, 1.3], [0.2, -0.9, u(1.8, 2.2)], 0.05)
    big, small = u(0.65, 0.78), u(0.34, 0.44)
    rear, front = wheels(big, 0.4, 1.5, [0.6]), wheels(small, 0.25, 1.2, [-1.05])
    return [
        ("body", join([hood, fender, seat, roof])),
        ("pipe", join([grille, cab, pipe])),
        ("glass", glass),
        *rear,
        *front,
    ]


PAINT = "plastic:bright|metal:bright|plastic:white,dark"
VEHICLES: tuple[Recipe, ...] = (
    recipe(car, body=PAINT, glass="glass:dark|plastic:black", tyre="rubber", hub="metal", light="glass:white"),
    recipe(bicycle, tyre="rubber", spokes="metal", frame="metal:bright|metal:dark", saddle="leather|plastic:black"),
    recipe(
        truck,
        cab=PAINT,
        load="metal|plastic:white,any|wood",
        chassis="metal:dark",
        glass="glass:dark|plastic:black",
        tyre="rubber",
        hub="metal",
    ),
    recipe(bus, body=PAINT, glass="glass:dark|plastic:black", stripe="plastic:white,dark", tyre="rubber", hub="metal"),
    recipe(
        tractor,
        body="metal:red,green,blue,yellow",
        pipe="metal:dark",
        glass="glass:white,blue",
        tyre="rubber",
        hub="metal:yellow,red,white",
    ),
)
