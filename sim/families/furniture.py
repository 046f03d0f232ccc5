"""Furniture that holds, lights or shows something."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import in_space, spline
from sim.solids import (
    bar,
    beam,
    box,
    cylinder,
    extrude,
    frame,
    lathe,
    tube,
)


def desk_lamp(rng: Rng) -> Parts:
    u = rng.uniform
    base, lower, upper = u(0.1, 0.17), u(0.3, 0.45), u(0.26, 0.42)
    first, second = np.radians(u(95, 125)), np.radians(u(15, 55))
    elbow = np.array([lower * np.cos(first), 0, 0.03 + lower * np.sin(first)])
    tip = elbow + upper * np.array([np.cos(second), 0, np.sin(second)])
    arm = join([bar([0, 0, 0.03], elbow, 0.012), bar(elbow, tip, 0.011)])
    joints = join([cylinder(0.024, 0.05, sides=12).turned(x=90).at(*p) for p in (elbow, tip)])
    wide, deep = u(0.09, 0.14), u(0.12, 0.2)
    profile = spline([[0.025, 0.0], [0.05, -0.2 * deep], [wide * 0.85, -0.7 * deep], [wide, -deep]], 4)
    inside = profile[::-1] * [0.92, 0.97]
    shade = lathe(np.concatenate([[[0, 0.01]], profile, inside, [[0, -0.03]]])).turned(y=u(-35, 5)).at(*tip)
    bulb = lathe([[0, 0], [0.02, -0.03], [0.035, -0.08], [0.02, -0.11], [0, -0.12]], 14).turned(y=-15).at(*tip)
    foot = lathe([[0, 0], [base, 0], [base, 0.015], [base * 0.8, 0.035], [0, 0.04]])
    return [("base", foot), ("arm", arm), ("arm", joints), ("shade", shade), ("bulb", bulb)]


def ladder(rng: Rng) -> Parts:
    u = rng.uniform
    height, width, rungs = u(1.3, 2.2), u(0.32, 0.5), int(rng.integers(5, 10))
    taper, lean = u(0.65, 1.0), u(0.12, 0.3)
    rails = beam([width / 2, -lean * height, 0], [width / 2 * taper, 0, height], 0.04, 0.06).both("x")
    steps = []
    flat = rng.random() < 0.5
    for part in np.linspace(0.1, 0.95, rungs):
        half = width / 2 * (1 + (taper - 1) * part)
        place = -lean * height * (1 - part)
        ends = ([-half, place, height * part], [half, place, height * part])
        steps.append(beam(*ends, 0.09, 0.025) if flat else bar(*ends, 0.018))
    parts: Parts = [("rail", rails), ("rung", join(steps))]
    if rng.random() < 0.6:
        back = beam([width / 2, lean * height, 0], [width / 2 * taper, 0, height], 0.035, 0.045).both("x")
        brace = bar(
            [-width / 2, lean * height * 0.8, 0.2 * height],
            [width / 2, lean * height * 0.8, 0.2 * height],
            0.015,
        )
        parts += [("rail", back), ("rail", brace)]
    return parts


def television(rng: Rng) -> Parts:
    u = rng.uniform
    width, height = u(0.9, 1.1), u(0.55, 0.7)
    if rng.random() < 0.4:
        depth = u(0.5, 0.7)
        case = box(width * 0.8, depth * 0.5, height, bevel=0.04).at(0, 0, height / 2 + 0.1)
        back = box(width * 0.6, 0.4 * depth, height * 0.7, bevel=0.05).at(0, depth * 0.4, height / 2 + 0.1)
        screen = box(width * 0.52, 0.03, height * 0.75, bevel=0.012).at(-0.06 * width, -depth * 0.25, height / 2 + 0.1)
        knobs = cylinder(0.03, 0.05, sides=12).turned(x=90).row(3, (0, 0, -0.1))
        legs = bar([0.3 * width, -0.1, 0.1], [0.36 * width, -0.2, 0], 0.02, 0.012).both("x").both("y")
        antenna = bar([0, 0, height + 0.08], [0.25, 0, height + u(0.3, 0.5)], 0.006, sides=6).both("x")
        knobs = knobs.at(width * 0.31, -depth * 0.26, height * 0.75)
        return [
            ("case", case),
            ("case", back),
            ("screen", screen),
            ("stand", knobs),
            ("stand", legs),
            ("stand", antenna),
        ]
    case = box(width, u(0.04, 0.1), height, bevel=0.015).at(0, 0, height / 2 + 0.12)
    screen = box(width * 0.95, 0.02, height * 0.92).at(0, -0.05, height / 2 + 0.125)
    if rng.random() < 0.5:
        stand = join([box(0.1, 0.05, 0.2).at(0, 0.02, 0.08), box(u(0.3, 0.6), 0.25, 0.02, bevel=0.01)])
    else:
        stand = bar([0.36 * width, 0, 0.13], [0.42 * width, -0.12, 0], 0.016).both("x").both("y")
    return [("case", case), ("screen", screen), ("stand", stand)]


def bookshelf(rng: Rng) -> Parts:
    u = rng.uniform
    width, depth, height, levels = u(0.6, 1.1), u(0.25, 0.35), u(1.2, 1.9), int(rng.integers(3, 6))
    side = box(0.03, depth, height).at(width / 2, 0, height / 2).both("x")
    heights = np.linspace(0.04, height - 0.02, levels + 1)
    shelves = join([box(width, depth, 0.025).at(z=z) for z in heights])
    back = box(width, 0.01, height).at(0, depth / 2, height / 2)
    tall = heights[1] - heights[0]
    books: Parts = []
    for z in heights[:-1]:
        x = -width / 2 + 0.03
        while x < width / 2 - 0.08 and rng.random() < 0.93:
            thick, size = u(0.025, 0.07), tall * u(0.55, 0.85)
            slot = "book" if rng.random() < 0.5 else "spine"
            books.append((slot, box(thick * 0.95, depth * u(0.55, 0.8), size).at(x + thick / 2, -0.01, z + size / 2)))
            x += thick
    first = box(0.04, depth * 0.7, tall * 0.7)  # so that both book slots are always there
    ends: Parts = [
        ("book", first.at(width / 2 - 0.04, 0, heights[0] + tall * 0.36)),
        ("spine", first.at(width / 2 - 0.04, 0, heights[1] + tall * 0.36)),
    ]
    return [("board", join([side, shelves, back])), *books, *ends]


def picture_frame(rng: Rng) -> Parts:
    u = rng.uniform
    width, height, border = u(0.5, 1.0), u(0.5, 1.0), u(0.05, 0.12)
    rim = frame(width, height, border, u(0.03, 0.06)).turned(x=90)
    inner = frame(width - 1.6 * border, height - 1.6 * border, 0.04, 0.03).turned(x=90)
    picture = box(width - 2.1 * border, 0.01, height - 2.1 * border)
    easel = beam([0, 0.02, 0.2 * height], [0, 0.3, -height / 2], 0.05, 0.015)
    return [("frame", rim), ("mount", inner), ("picture", picture), ("frame", easel)]


def wardrobe(rng: Rng) -> Parts:
    u = rng.uniform
    width, depth, height, doors = u(0.8, 1.3), u(0.45, 0.6), u(1.7, 2.1), int(rng.integers(2, 4))
    body = box(width, depth, height * 0.94).at(z=height / 2 + 0.05)
    crown = box(width * 1.06, depth * 1.06, 0.08, bevel=0.02).at(z=height)
    leg = box(0.07, 0.07, 0.1).at(width / 2 - 0.05, depth / 2 - 0.05, 0.05).both("x").both("y")
    each = width / doors
    panels, knobs = [], []
    for i in range(doors):
        x = (i - (doors - 1) / 2) * each
        panels.append(box(each * 0.93, 0.03, height * 0.86, bevel=0.008).at(x, -depth / 2, height / 2 + 0.06))
        panels.append(box(each * 0.6, 0.02, height * 0.3, bevel=0.009).at(x, -depth / 2 - 0.02, height * 0.72))
        panels.append(box(each * 0.6, 0.02, height * 0.3, bevel=0.009).at(x, -depth / 2 - 0.02, height * 0.32))
        side = 1 if i < doors / 2 else -1
        knobs.append(
            bar(
                [x + side * each * 0.4, -depth / 2 - 0.05, height * 0.48],
                [x + side * each * 0.4, -depth / 2 - 0.05, height * 0.58],
                0.014,
            )
        )
    return [("body", join([body, crown, leg])), ("door", join(panels)), ("knob", join(knobs))]


def chest_of_drawers(rng: Rng) -> Parts:
    u = rng.uniform
    width, depth, height, rows = u(0.7, 1.2), u(0.4, 0.5), u(0.7, 1.1), int(rng.integers(2, 5))
    columns = 1 if rng.random() < 0.6 else 2
    body = box(width, depth, height).at(z=height / 2 + 0.12)
    top = box(width * 1.05, depth * 1.08, 0.04, bevel=0.01).at(z=height + 0.14)
    leg = (
        bar([width / 2 - 0.06, depth / 2 - 0.06, 0.13], [width / 2 - 0.03, depth / 2 - 0.03, 0], 0.03, 0.018)
        .both("x")
        .both("y")
    )
    drawers, knobs = [], []
    for z in (np.arange(rows) + 0.5) * height / rows + 0.12:
        for column in range(columns):
            x, wide = (column - (columns - 1) / 2) * width / columns, width / columns
            drawers.append(box(wide * 0.92, 0.04, height / rows * 0.86, bevel=0.012).at(x, -depth / 2 - 0.01, z))
            for side in (-0.25, 0.25):
                knobs.append(
                    lathe([[0, 0], [0.012, 0], [0.012, 0.025], [0.024, 0.035], [0, 0.05]], 10)
                    .turned(x=90)
                    .at(x + side * wide, -depth / 2 - 0.03, z)
                )
    return [("body", join([body, top, leg])), ("drawer", join(drawers)), ("knob", join(knobs))]


def floor_lamp(rng: Rng) -> Parts:
    u = rng.uniform
    height, low, high, deep = u(1.2, 1.7), u(0.2, 0.32), u(0.1, 0.2), u(0.22, 0.36)
    shade = lathe([[low, 0], [high, deep], [high - 0.01, deep], [low - 0.012, 0], [low, 0]], 32).at(z=height - deep)
    pole = bar([0, 0, 0], [0, 0, height - 0.3 * deep], 0.015)
    if rng.random() < 0.5:
        foot = lathe([[0, 0], [0.17, 0], [0.16, 0.03], [0.03, 0.05], [0, 0.06]])
    else:
        foot = bar([0, 0, 0.45 * height], [u(0.2, 0.3), 0, 0], 0.014).ring(3)
    bulb = lathe([[0, 0], [0.03, 0.02], [0.05, 0.08], [0.03, 0.12], [0, 0.13]], 14).at(z=height - deep + 0.03)
    return [("stand", join([pole, foot])), ("shade", shade), ("bulb", bulb)]


def mirror(rng: Rng) -> Parts:
    u = rng.uniform
    rx, rz = u(0.28, 0.4), u(0.45, 0.65)
    angles = np.arange(40) * (2 * np.pi / 40)
    power = u(0.5, 1.0)
    shape = np.stack(
        [
            rx * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power,
            rz * np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power,
        ],
        axis=1,
    )
    glass = extrude(shape, 0.02).turned(x=90).at(z=rz + 0.2)
    rim = tube(in_space(shape, "xz"), u(0.02, 0.045), closed=True).at(z=rz + 0.2)
    post = bar([rx + 0.09, 0, 0], [rx + 0.09, 0, rz + 0.35], 0.022)
    foot = bar([rx + 0.09, -0.25, 0.02], [rx + 0.09, 0.25, 0.02], 0.025)
    pin = bar([rx, 0, rz + 0.2], [rx + 0.09, 0, rz + 0.2], 0.015)
    tie = bar([-rx - 0.09, 0, 0.1], [rx + 0.09, 0, 0.1], 0.018)
    return [("glass", glass), ("frame", rim), ("frame", join([post, foot, pin]).both("x")), ("frame", tie)]


FURNITURE: tuple[Recipe, ...] = (
    recipe(desk_lamp, base="metal|plastic", arm="metal", shade="plastic|metal:bright", bulb="glass:white"),
    recipe(ladder, rail="wood|metal", rung="wood|metal"),
    recipe(television, case="plastic:dark|wood", screen="glass:dark|plastic:black", stand="metal|plastic:dark"),
    recipe(bookshelf, board="wood", book="paper|fabric", spine="leather|paper"),
    recipe(picture_frame, frame="wood|metal:gold", mount="paper:pale", picture="paper"),
    recipe(wardrobe, body="wood", door="wood|wood:pale", knob="metal"),
    recipe(chest_of_drawers, body="wood", drawer="wood|plastic:pale", knob="metal|ceramic"),
    recipe(floor_lamp, stand="metal|wood", shade="fabric|paper", bulb="glass:white"),
    recipe(mirror, glass="metal:mirror", frame="wood|metal:gold"),
)
