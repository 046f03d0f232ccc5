"""Adventure: swords, treasure and the sea."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import Array, arc, ellipse, gear, in_space, rectangle, spline, star, symmetric
from sim.solids import (
    ball,
    bar,
    box,
    cylinder,
    extrude,
    lathe,
    plate_with_hole,
    superellipsoid,
    torus,
    tube,
)


def sword(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide = u(0.7, 1.0), u(0.05, 0.09)
    levels = [(1.0, 0.0), (u(0.75, 1.0), 0.85), (0.02, 1.0)]
    section = np.array([[1, 0], [0, 0.25], [-1, 0], [0, -0.25]])
    blade = loft(np.stack([np.column_stack([section * wide * s, np.full(4, long * z)]) for s, z in levels])).faceted()
    reach, droop = u(0.14, 0.24), u(-0.06, 0.08)
    guard = tube(
        spline(
            [[-reach, 0, droop], [-reach * 0.5, 0, 0.0], [0, 0, -0.01], [reach * 0.5, 0, 0.0], [reach, 0, droop]], 4
        ),
        np.interp(np.linspace(0, 1, 17), [0, 0.5, 1], [0.028, 0.04, 0.028]),
        8,
    )
    handle = lathe([[0.028, -0.02], [0.036, -0.12], [0.028, -0.24]], 12)
    wrap = join([torus(0.034, 0.008, 14, 5).at(z=z) for z in np.linspace(-0.05, -0.22, 7)])
    pommel = superellipsoid(r := u(0.045, 0.065), r * 0.7, r).at(z=-0.27)
    return [("blade", blade), ("guard", join([guard, pommel])), ("handle", join([handle, wrap]))]


def shield(rng: Rng) -> Parts:
    u = rng.uniform
    if rng.random() < 0.5:
        outline = ellipse(0.5, sides=40)
    else:
        outline = symmetric(spline([[0, -0.6], [0.25, -0.35], [0.42, 0.05], [0.42, 0.42], [0, u(0.42, 0.52)]], 5))
    bend = u(0.15, 0.35)

    def curve(v: Array) -> Array:
        result: Array = v - np.column_stack([0 * v[:, 0], 0 * v[:, 0], bend * v[:, 0] ** 2])
        return result

    body = bendable_plate(outline, 0.05).warped(curve).turned(x=80)
    rim = tube(in_space(outline, "xy"), 0.03, 6, closed=True).warped(curve).turned(x=80)
    boss = superellipsoid(r := u(0.1, 0.15), r, 0.1).at(z=0.03).turned(x=80)
    emblem = (
        extrude(
            [
                star(int(rng.integers(4, 8)), 0.32, 0.13),
                np.array([[-0.06, -0.36], [0.06, -0.36], [0.06, 0.36], [-0.06, 0.36]]),
                gear(8, 0.3, 0.2),
            ][int(rng.integers(3))],
            0.02,
        )
        .at(z=0.035)
        .turned(x=80)
    )
    return [("body", body), ("rim", rim), ("rim", boss), ("emblem", emblem)]


def bendable_plate(outline: Array, thickness: float) -> Solid:
    """A plate over a star-shaped outline, fine enough to be bent."""
    rings = np.linspace(0.02, 1, 7)
    levels = [
        np.column_stack([outline * s, np.full(len(outline), z)])
        for z, order in ((thickness / 2, rings), (-thickness / 2, rings[::-1]))
        for s in order
    ]
    return loft(np.array(levels))


def bow_and_arrow(rng: Rng) -> Parts:
    u = rng.uniform
    tall, bend = 1.2, u(0.18, 0.3)
    z = np.linspace(-1, 1, 25)
    limb = np.column_stack(
        [0 * z, -bend * (1 - z**2) + 0.08 * np.clip(np.abs(z) - 0.85, 0, 1) * -6 * bend, tall / 2 * z]
    )
    wood = tube(limb, np.interp(np.abs(z), [0, 1], [0.032, 0.012]), 8)
    pull = u(0.05, 0.35)
    string = join([bar(limb[0], [0, pull, 0], 0.006, sides=5), bar(limb[-1], [0, pull, 0], 0.006, sides=5)])
    grip = cylinder(0.042, 0.18, sides=12).at(0, -bend, 0)
    shaft = bar([0, pull, 0], [0, pull - 0.85, 0], 0.011, sides=7)
    head = lathe([[0.035, 0], [0.001, 0.09]], 4).turned(x=90).at(0, pull - 0.85, 0)
    feather = (
        extrude([[0, 0.01], [0.14, 0.01], [0.16, 0.06], [0.04, 0.06]], 0.006)
        .sideways()
        .turned(x=0)
        .turned(x=180)
        .at(0, pull, 0)
    )
    feathers = join(
        [
            feather,
            feather.at(0, -pull, 0).turned(y=120).at(0, pull, 0),
            feather.at(0, -pull, 0).turned(y=240).at(0, pull, 0),
        ]
    )
    return [("wood", wood), ("string", string), ("grip", grip), ("wood", shaft), ("tip", head), ("feather", feathers)]


def anchor(rng: Rng) -> Parts:
    u = rng.uniform
    tall, reach, drop = 1.0, u(0.32, 0.42), u(0.25, 0.38)
    shank = bar([0, 0, 0], [0, 0, tall], 0.055, 0.04)
    a = np.linspace(np.radians(200), np.radians(340), 17)
    arms = np.column_stack(
        [reach * np.cos(a) / np.cos(np.radians(20)), 0 * a, drop * 1.3 + drop * 1.3 * np.sin(a) - 0.02]
    )
    crown = tube(arms, np.interp(np.linspace(-1, 1, 17), [-1, 0, 1], [0.035, 0.06, 0.035]), 10)
    fluke = extrude([[-0.09, -0.06], [0.09, -0.06], [0, 0.16]], 0.03).turned(x=90, y=u(20, 40)).at(*arms[-1]).both("x")
    stock = join(
        [bar([-0.3, 0, tall * 0.85], [0.3, 0, tall * 0.85], 0.035), ball(0.05, 12).at(0.3, 0, tall * 0.85).both("x")]
    )
    ring_part = torus(u(0.08, 0.12), 0.025, 22, 8).turned(x=90).at(z=tall + 0.09)
    t = np.linspace(0, 1, 70)
    rope = tube(np.column_stack([0.1 * np.sin(t * 14), 0.09 * np.cos(t * 14), tall * (1.0 - 0.7 * t)]), 0.02, 6)
    return [("iron", join([shank, crown, fluke])), ("stock", join([stock, ring_part])), ("rope", rope)]


def treasure_chest(rng: Rng) -> Parts:
    u = rng.uniform
    wide, deep, tall, angle = u(0.8, 1.0), u(0.5, 0.62), u(0.35, 0.45), u(0, 75)
    walls = plate_with_hole(rectangle(wide, deep), rectangle(wide * 0.92, deep * 0.88), tall).at(z=tall / 2)
    floor = box(wide, deep, 0.05).at(z=0.025)
    half = np.concatenate([arc(deep / 2, 0, 180, 14), [[-deep / 2, -0.03], [deep / 2, -0.03]]])
    lid = extrude(half, wide).sideways().at(0, -deep / 2, 0)
    straps = join(
        [
            extrude(np.concatenate([arc(deep / 2 + 0.018, 0, 180, 14), arc(deep / 2 - 0.01, 180, 0, 14)]), 0.07)
            .sideways()
            .at(x, -deep / 2, 0)
            for x in (-wide * 0.35, 0, wide * 0.35)
        ]
    )
    irons = join([box(0.07, deep + 0.03, tall).at(x, 0, tall / 2) for x in (-wide * 0.35, wide * 0.35)])
    lock = box(0.13, 0.05, 0.15, bevel=0.015).at(0, -deep / 2 - 0.01, tall - 0.06)
    picks = rng.uniform(-1, 1, size=(22, 2)) * [wide * 0.4, deep * 0.38]
    coins = join(
        [
            cylinder(0.055, 0.015, sides=12).turned(x=u(-40, 40), y=u(-40, 40)).at(x, y, tall - 0.03 + u(0, 0.06))
            for x, y in picks
        ]
    )
    heap = superellipsoid(wide * 0.43, deep * 0.4, 0.12, square=0.5).at(z=tall - 0.1)

    def place(part: Solid) -> Solid:
        return part.turned(x=-angle).at(0, deep / 2, tall)

    return [
        ("wood", join([walls, floor])),
        ("wood", place(lid)),
        ("iron", join([irons, lock, place(straps)])),
        ("gold", join([coins, heap])),
    ]


def telescope(rng: Rng) -> Parts:
    u = rng.uniform
    segments, z, radius = [], 0.0, u(0.12, 0.16)
    bands = []
    for i in range(int(rng.integers(2, 4))):
        long = u(0.3, 0.45)
        segments.append(cylinder(radius, long, sides=24).at(z=z + long / 2))
        bands.append(cylinder(radius * 1.12, 0.05, sides=24).at(z=z + (0.02 if i else 0.0)))
        z += long - 0.02
        radius *= u(0.68, 0.8)
    eye = lathe([[radius, 0], [radius * 1.4, 0.06], [radius * 1.2, 0.06], [0, 0.03]], 20).at(z=z)
    lift = u(50, 75)
    legs = bar([0, 0, 0], [0.4, 0, -u(0.8, 1.0)], 0.022, 0.016).ring(3, 30)
    lens = superellipsoid(0.1, 0.1, 0.02).at(z=-0.01)

    def place(part: Solid) -> Solid:
        return part.at(z=-z * 0.4).turned(x=-lift)

    return [
        ("tube", place(join(segments))),
        ("brass", place(join([*bands, eye]))),
        ("glass", place(lens)),
        ("leg", join([legs, ball(0.06, 12)]).at(z=-0.1)),
    ]


def cannon(rng: Rng) -> Parts:
    u = rng.uniform
    long = u(0.9, 1.2)
    profile = [
        [0.0, 0.0],
        [0.1, 0.0],
        [0.15, 0.03],
        [0.16, 0.12],
        [0.13, long * 0.5],
        [0.105, long * 0.95],
        [0.13, long * 0.97],
        [0.13, long],
        [0.075, long],
        [0.075, long * 0.7],
        [0, long * 0.7],
    ]
    barrel = (
        join([lathe(profile, 24), ball(0.05, 10).at(z=-0.04), torus(0.14, 0.015, 24, 6).at(z=long * 0.35)])
        .turned(x=90 - u(0, 18))
        .at(0, 0.3, 0.42)
    )
    cheek = (
        extrude([[-0.3, 0.3], [0.5, 0.02], [0.62, 0.02], [0.62, 0.14], [0.05, 0.45], [-0.3, 0.42]], 0.06)
        .sideways()
        .at(0.17)
        .both("x")
    )
    axle = bar([-0.36, -0.1, 0.3], [0.36, -0.1, 0.3], 0.04)
    radius = u(0.26, 0.34)
    rim = torus(radius, 0.035, 28, 8).sideways()
    spokes = bar([0, 0, 0], [radius, 0, 0], 0.022, sides=6).ring(int(rng.integers(6, 11))).sideways()
    wheel = join([rim, spokes, cylinder(0.07, 0.12, sides=12).sideways()]).at(0.32, -0.1, radius)
    shots = join(
        [
            ball(0.075, 12).at(0.5 + x, -0.6 + y, z)
            for x, y, z in ((0, 0, 0.07), (0.15, 0, 0.07), (0.07, 0.13, 0.07), (0.07, 0.04, 0.19))
        ]
    )
    return [("barrel", barrel), ("carriage", join([cheek, axle])), ("wheel", wheel.both("x")), ("shot", shots)]


ADVENTURE: tuple[Recipe, ...] = (
    recipe(sword, blade="metal:silver", guard="metal:gold,brass,dark", handle="leather|wood"),
    recipe(
        shield,
        body="wood|metal:bright,silver|leather",
        rim="metal:dark,gold,silver",
        emblem="metal:gold|plastic:white,red,blue",
    ),
    recipe(
        bow_and_arrow, wood="wood", string="fabric:white", grip="leather", tip="metal", feather="paper:bright,white"
    ),
    recipe(anchor, iron="metal:dark,grey|metal", stock="metal:dark|wood", rope="fabric:tan"),
    recipe(treasure_chest, wood="wood", iron="metal:dark,brass", gold="metal:gold"),
    recipe(
        telescope,
        tube="metal:dark|leather|plastic:white",
        brass="metal:brass,gold",
        glass="glass:blue,white",
        leg="wood|metal",
    ),
    recipe(cannon, barrel="metal:dark,black|metal:brass", carriage="wood", wheel="wood", shot="metal:black"),
)
