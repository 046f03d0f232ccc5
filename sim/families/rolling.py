"""What else rolls: on rails, on a pavement, in a garden."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.families.wheels import hub, spoked_wheel, tyre
from sim.geometry import Parts, join, loft
from sim.outlines import in_space, rectangle, spline
from sim.solids import (
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


def locomotive(rng: Rng) -> Parts:
    u = rng.uniform
    length, radius = u(3.4, 4.4), u(0.42, 0.55)
    boiler = cylinder(radius, length * 0.62, sides=28).turned(x=90).at(0, -length * 0.17, 0.75 + radius)
    front = (
        lathe([[radius * 1.03, -0.05], [radius * 1.03, 0.03], [radius * 0.5, 0.1], [0, 0.12]], 28)
        .turned(x=90)
        .at(0, -length * 0.48, 0.75 + radius)
    )
    bands = join(
        [
            torus(radius, 0.025, section=6).turned(x=90).at(0, y, 0.75 + radius)
            for y in np.linspace(-length * 0.4, length * 0.05, 4)
        ]
    )
    cab = box(radius * 2.4, length * 0.24, 1.35, bevel=0.03).at(0, length * 0.27, 1.4)
    roof = cylinder(radius * 1.5, length * 0.3, sides=24).scaled(1, 0.35, 1).turned(x=90).at(0, length * 0.27, 2.05)
    window = box(radius * 2.45, length * 0.12, 0.4).at(0, length * 0.27, 1.65)
    chimney = lathe([[0.12, 0], [0.1, 0.3], [u(0.14, 0.26), 0.6], [0.1, 0.6], [0, 0.4]], 20).at(
        0, -length * 0.4, 0.7 + 2 * radius
    )
    dome = superellipsoid(0.2, 0.2, 0.25).at(0, -length * 0.12, 0.75 + 2 * radius)
    floor = box(radius * 2.2, length * 0.95, 0.15).at(0, 0, 0.7)
    catcher = extrude([[-0.5, 0], [0.5, 0], [0.0, 0.55]], 0.35).at(0, 0, 0).turned(z=180).at(0, -length * 0.5, 0.4)
    big, small = u(0.38, 0.48), 0.25
    rims, rods = [], []
    for y, r in (
        (-length * 0.42, small),
        (-length * 0.28, small),
        (-0.05 * length, big),
        (0.15 * length, big),
        (0.35 * length, big),
    ):
        rim, spokes = spoked_wheel(r, 0.06, 6, sides=18)
        rims.append(rim.at(radius * 0.95, y, r + 0.06))
        rods.append(spokes.at(radius * 0.95, y, r + 0.06))
    rods.append(box(0.06, 0.45 * length, 0.08).at(radius * 1.1, 0.15 * length, big))
    return [
        ("boiler", join([boiler, front, dome])),
        ("trim", join([bands, chimney])),
        ("cab", join([cab, catcher])),
        ("trim", roof),
        ("glass", window),
        ("wheel", floor),
        ("wheel", join(rims + rods).both("x")),
    ]


def scooter(rng: Rng) -> Parts:
    u = rng.uniform
    radius = u(0.1, 0.16)
    wheel = tyre(radius, 0.06)
    deck = box(0.16, u(0.55, 0.7), 0.03, bevel=0.012).at(0, 0.05, radius * 1.05)
    neck, top = [0, -0.36, radius], [0, -0.24, u(0.85, 1.05)]
    stem = join(
        [
            bar(neck, top, 0.02),
            bar([0, -0.26, radius], [0, -0.34, radius * 1.3], 0.03),
            bar([-0.22, *top[1:]], [0.22, *top[1:]], 0.014),
        ]
    )
    grips = bar([0.14, *top[1:]], [0.25, *top[1:]], 0.02).both("x")
    guard = tube(in_space(spline([[0.3, radius * 1.2], [0.42, radius * 2.1], [0.54, radius * 1.3]], 3), "yz"), 0.025)
    tyres = join([wheel.at(0, -0.38, radius), wheel.at(0, 0.46, radius)])
    return [("deck", deck), ("stem", join([stem, guard])), ("grip", grips), ("tyre", tyres)]


def wheelbarrow(rng: Rng) -> Parts:
    u = rng.uniform
    low, high = rectangle(0.4, 0.5, 0.08), rectangle(u(0.65, 0.8), u(0.85, 1.0), 0.1)
    levels = [
        np.column_stack([low, np.full(len(low), 0.35)]),
        np.column_stack([high, np.full(len(high), u(0.65, 0.75))]),
    ]
    inner = [
        np.column_stack([high * 0.95, np.full(len(high), levels[1][0, 2])]),
        np.column_stack([low * 0.92, np.full(len(low), 0.38)]),
    ]
    tray = loft(np.array([*levels, *inner]))
    handle = tube(
        spline([[0.1, -0.75, 0.2], [0.2, -0.2, 0.33], [0.28, 0.5, 0.45], [0.3, 1.05, u(0.5, 0.65)]], 4), 0.025
    )
    grip = bar([0.3, 0.9, 0.56], [0.3, 1.08, 0.6], 0.035)
    leg = tube(spline([[0.26, 0.2, 0.38], [0.28, 0.35, 0.0], [0.25, 0.5, 0.42]], 3), 0.02)
    wheel = join([tyre(0.2, 0.09), hub(0.2, 0.09)]).at(0, -0.75, 0.2)
    return [("tray", tray), ("bar", join([handle, leg]).both("x")), ("grip", grip.both("x")), ("wheel", wheel)]


def skateboard(rng: Rng) -> Parts:
    u = rng.uniform
    length, width, kick = 0.8, u(0.19, 0.24), u(0.05, 0.1)
    y, x = np.linspace(-0.5, 0.5, 15)[:, None], np.linspace(-1, 1, 6)[None, :]
    half = width / 2 * (1 - np.abs(2 * y) ** 8 * 0.7)
    rise = kick * np.clip((np.abs(y) - 0.3) / 0.2, 0, 1) ** 1.6
    deck = slab(np.stack([half * x, length * y + 0 * x, rise + 0.012 * x**2], axis=2), 0.018).at(z=0.11)
    truck_part = join([bar([-0.09, 0, 0.045], [0.09, 0, 0.045], 0.016), box(0.06, 0.07, 0.06).at(z=0.075)])
    wheel = cylinder(u(0.035, 0.05), 0.045, sides=18).sideways()
    pairs = join([wheel.at(0.09, y0, 0.045) for y0 in (-0.24, 0.24)]).both("x")
    return [("deck", deck), ("truck", join([truck_part.at(0, -0.24), truck_part.at(0, 0.24)])), ("wheel", pairs)]


ROLLING: tuple[Recipe, ...] = (
    recipe(
        locomotive,
        boiler="metal:dark,black|metal:green",
        trim="metal:brass|metal:red,black",
        cab="metal:red,green,black",
        glass="glass:dark|plastic:black",
        wheel="metal:dark|metal:red",
    ),
    recipe(
        scooter,
        deck="wood|plastic:bright|metal",
        stem="metal",
        grip="rubber|plastic:bright",
        tyre="rubber|plastic:bright",
    ),
    recipe(
        wheelbarrow, tray="metal:green,red,grey|plastic", bar="metal|wood", grip="rubber|plastic:bright", wheel="rubber"
    ),
    recipe(skateboard, deck="wood|plastic:bright", truck="metal", wheel="plastic:bright,white"),
)
