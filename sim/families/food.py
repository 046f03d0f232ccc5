"""Food: fruit, bread, sweets, fast food."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join
from sim.outlines import arc, ellipse, in_space, lobes, spline
from sim.solids import ball, bar, blob, box, cylinder, extrude, lathe, leaf, slab, superellipsoid, torus, tube


def plate(radius: float) -> Solid:
    """A flat plate whose upper side is at z = 0."""
    return lathe(
        [[0, -0.05], [radius * 0.6, -0.05], [radius, 0.02], [radius * 0.97, 0.035], [radius * 0.62, 0.0], [0, 0.0]], 36
    )


def banana(rng: Rng) -> Parts:
    u = rng.uniform
    radius, sweep, thick = u(0.5, 0.8), u(70, 110), u(0.075, 0.1)
    path = in_space(arc(radius, 270 - sweep / 2, 270 + sweep / 2, 18), "xz")
    t = np.linspace(0, 1, 19)
    profile = thick * np.clip(np.minimum(t * 6, (1 - t) * 5) ** 0.5, 0.28, 1)
    one = tube(path, profile, 6)
    ends = join(
        [
            bar(path[-2], path[-1] + [0.07, 0, 0.07], thick * 0.4, thick * 0.34, 6),
            bar(path[1], path[0] + [-0.02, 0, 0.03], thick * 0.33, thick * 0.2, 6),
        ]
    )
    count = int(rng.integers(1, 5))
    skins, tips = [], []
    for i in range(count):
        turn = (i - (count - 1) / 2) * u(16, 22)
        skins.append(one.at(-path[-1][0], 0, 0).turned(x=turn, z=turn).at(path[-1][0]))
        tips.append(ends.at(-path[-1][0], 0, 0).turned(x=turn, z=turn).at(path[-1][0]))
    return [("skin", join(skins)), ("tip", join(tips))]


def apple(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall, low = u(0.46, 0.54), u(0.78, 0.98), u(0.55, 0.8)
    profile = spline(
        [
            [0.001, 0.08 * tall],
            [0.16 * low, 0],
            [wide * low, 0.12 * tall],
            [wide, 0.58 * tall],
            [wide * 0.7, 0.93 * tall],
            [0.15, 0.95 * tall],
            [0.001, 0.82 * tall],
        ],
        5,
    )
    stem = tube([[0, 0, tall * 0.8], [0.01, 0, tall * 0.95], [u(0.03, 0.08), 0, tall * u(1.05, 1.2)]], 0.02, 6)
    parts: Parts = [("skin", lathe(profile, 28)), ("stem", stem)]
    parts.append(("leaf", leaf(u(0.2, 0.35), 0.14, 0.1).turned(y=-25, z=u(0, 360)).at(0.02, 0, tall)))
    return parts


def pear(rng: Rng) -> Parts:
    u = rng.uniform
    wide, neck, tall = u(0.36, 0.44), u(0.14, 0.22), u(1.0, 1.2)
    profile = spline(
        [
            [0.001, 0.04],
            [wide * 0.6, 0.03],
            [wide, 0.33 * tall],
            [neck * 1.15, 0.72 * tall],
            [neck * 0.85, 0.95 * tall],
            [0.001, 0.97 * tall],
        ],
        6,
    )
    stem = tube([[0, 0, tall * 0.95], [0.02, 0, tall * 1.05], [u(0.05, 0.1), 0, tall * 1.17]], 0.02, 6)
    return [
        ("skin", lathe(profile, 28)),
        ("stem", stem),
        ("leaf", leaf(0.25, 0.13, 0.2).turned(y=-20, z=u(0, 360)).at(0.01, 0, tall)),
    ]


def pineapple(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.26, 0.33), u(0.65, 0.85)
    body = superellipsoid(wide, wide, tall / 2, upright=0.75, sides=32, rings=18)
    v = body.vertices
    angle, height = np.arctan2(v[:, 1], v[:, 0]), v[:, 2] / tall
    bumps = 1 + 0.07 * np.cos(8 * angle + 22 * height) * np.cos(8 * angle - 22 * height)
    body = body.warped(lambda p: p * (bumps[:, None] * [[1, 1, 0]] + [[0, 0, 1]]))
    blades = []
    for ring, count in enumerate((7, 6, 5)):
        blades.append(
            leaf(u(0.35, 0.5), 0.1, 0.25 - 0.1 * ring, 0.3)
            .turned(y=-(45 + 18 * ring))
            .at(0.03, 0, tall / 2 - 0.02)
            .ring(count, 23 * ring)
        )
    return [("skin", body), ("leaf", join(blades))]


def grapes(rng: Rng) -> Parts:
    u = rng.uniform
    rows, radius = int(rng.integers(4, 6)), u(0.09, 0.11)
    berries = []
    for row in range(rows):
        count = max(1, 2 * (rows - row) - 2 + (row == 0))
        spread = radius * 0.33 * count
        for i in range(count):
            angle = 2 * np.pi * (i / count + 0.13 * row)
            berries.append(
                superellipsoid(radius, radius, radius * 1.1, sides=12, rings=8).at(
                    spread * np.cos(angle), spread * np.sin(angle), -row * radius * 1.5 + u(-0.02, 0.02)
                )
            )
        if count > 4:
            berries.append(
                superellipsoid(radius, radius, radius * 1.1, sides=12, rings=8).at(0, 0, -row * radius * 1.5 + 0.03)
            )
    stalk = join(
        [bar([0, 0, -0.2], [0, 0, 0.22], 0.016, sides=6), bar([-0.09, 0, 0.22], [0.07, 0, 0.24], 0.02, sides=6)]
    )
    vine_leaf = extrude(lobes(5, u(0.16, 0.22), 0.28, 30), 0.015).turned(x=u(20, 50)).at(0.1, -0.05, 0.24)
    return [("berry", join(berries)), ("stalk", stalk), ("leaf", vine_leaf)]


def cherries(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall, spread = u(0.17, 0.22), u(0.5, 0.75), u(0.2, 0.3)
    fruit = lathe(spline([[0.001, -radius], [radius, 0], [radius * 0.6, radius * 0.85], [0.001, radius * 0.7]], 6), 20)
    stems = [
        tube(spline([[s * spread, 0, radius * 0.6], [s * spread * 0.7, 0, tall * 0.6], [0.03, 0, tall]], 4), 0.014, 6)
        for s in (-1, 1)
    ]
    green = leaf(u(0.25, 0.4), 0.17, 0.15).turned(y=-10, z=u(-40, 40)).at(0.03, 0, tall)
    return [
        ("fruit", join([fruit.at(-spread), fruit.at(spread, 0.02, u(-0.1, 0.05))])),
        ("stem", join([*stems, ball(0.03, 8).at(0.03, 0, tall)])),
        ("leaf", green),
    ]


def strawberry(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.34, 0.44), u(0.75, 1.0)
    profile = spline(
        [[0.001, 0], [wide * 0.45, 0.22 * tall], [wide, 0.72 * tall], [wide * 0.75, 0.95 * tall], [0.001, 0.97 * tall]],
        5,
    )
    body = lathe(profile, 26)
    seeds = []
    for row, t in enumerate(np.linspace(0.2, 0.85, 6)):
        k = t * (len(profile) - 1) * 0.8
        r, z = (float(np.interp(k, np.arange(len(profile)), profile[:, i])) for i in (0, 1))
        count = max(4, int(r * 26))
        seeds.append(superellipsoid(0.018, 0.012, 0.028, sides=6, rings=4).at(r, 0, z).ring(count, 17 * row))
    crown = leaf(u(0.25, 0.34), 0.13, u(0.1, 0.4)).at(z=tall * 0.95).ring(int(rng.integers(5, 9)))
    stem = bar([0, 0, tall * 0.94], [0.03, 0, tall * 1.12], 0.025, sides=6)
    return [("flesh", body), ("seed", join(seeds)), ("leaf", join([crown, stem]))]


def watermelon_slice(rng: Rng) -> Parts:
    u = rng.uniform
    thick, span = u(0.1, 0.24), u(110, 180)
    start = 270 - span / 2
    wedge = np.concatenate([[[0.0, 0.0]] if span < 179 else np.zeros((0, 2)), arc(0.86, start, start + span, 20)])
    flesh = extrude(wedge, thick).turned(x=90)
    white = extrude(
        np.concatenate([arc(0.92, start, start + span, 20), arc(0.85, start + span, start, 20)]), thick * 0.99
    ).turned(x=90)
    rind = extrude(
        np.concatenate([arc(1.0, start, start + span, 20), arc(0.915, start + span, start, 20)]), thick
    ).turned(x=90)
    seeds = []
    for radius, count in ((0.45, 5), (0.68, 8)):
        for a in np.radians(np.linspace(start + 12, start + span - 12, count)):
            seeds.append(
                superellipsoid(0.022, thick / 2 + 0.012, 0.035, sides=8, rings=6).at(
                    radius * np.cos(a), 0, radius * np.sin(a)
                )
            )
    return [("flesh", flesh), ("white", white), ("rind", rind), ("seed", join(seeds))]


def carrot(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide = u(0.8, 1.1), u(0.11, 0.17)
    places = np.linspace(0, 1, 16)
    wobble = 1 + 0.04 * np.sin(places * 50)
    root = lathe(np.column_stack([wide * (1 - places ** u(1.2, 2.5)) * wobble + 0.004, -long * places])[::-1], 20)
    shoulder = lathe([[wide, -0.005], [wide * 0.7, 0.035], [0, 0.02]], 20)
    tops = [
        tube(
            spline(
                [
                    [0, 0, 0],
                    [0.08 * np.cos(a), 0.08 * np.sin(a), 0.2],
                    [u(0.1, 0.28) * np.cos(a), u(0.1, 0.28) * np.sin(a), u(0.35, 0.5)],
                ],
                4,
            ),
            np.linspace(0.02, 0.012, 9),
            6,
        )
        for a in np.arange(6) * 1.05
    ]
    fronds = [leaf(0.16, 0.06, 0.1).turned(y=-45, z=z).at(*t.vertices[-2]) for t in tops for z in (0, 120, 240)]
    return [("root", join([root, shoulder])), ("green", join([*tops, *fronds]))]


def aubergine(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, bend = u(0.8, 1.1), u(0.17, 0.26), u(0.0, 0.2)
    path = spline([[0, 0, 0], [bend * 0.5, 0, -0.3 * long], [bend * 0.7, 0, -0.7 * long], [bend * 0.2, 0, -long]], 6)
    thick = np.interp(
        np.linspace(0, 1, len(path)), [0, 0.15, 0.4, 0.75, 0.95, 1], np.array([0.4, 0.5, 0.7, 1, 0.6, 0.1]) * wide
    )
    body = tube(path, thick, 20)
    cap = leaf(0.26, 0.16, 0.9, 0.0, 0.02).at(0, 0, 0.03).ring(5)
    stem = tube([[0, 0, -0.02], [0, 0, 0.08], [u(0.02, 0.1), 0, 0.2]], np.array([0.1, 0.045, 0.04]), 8)
    return [("skin", body), ("green", join([cap, stem]))]


def bread_loaf(rng: Rng) -> Parts:
    u = rng.uniform
    long, wide, cuts = u(0.8, 1.1), u(0.2, 0.28), int(rng.integers(3, 6))
    body = superellipsoid(long / 2, wide, wide * u(0.65, 0.9), square=u(0.6, 0.95))
    slashes = [
        superellipsoid(0.045, wide * 0.6, 0.03, sides=12, rings=6).turned(z=-30).at(x, 0, wide * 0.72)
        for x in np.linspace(-long * 0.3, long * 0.3, cuts)
    ]
    board = box(long * 1.2, wide * 3, 0.05, bevel=0.02).at(z=-wide * 0.75)
    return [("crust", body), ("cut", join(slashes)), ("board", board)]


def hamburger(rng: Rng) -> Parts:
    u = rng.uniform
    radius = 0.48
    bottom = lathe(spline([[radius * 0.9, 0], [radius, 0.06], [radius * 0.96, 0.13]], 4), 28)
    z = 0.13
    parts: Parts = [("bun", bottom)]
    wave = lobes(int(rng.integers(9, 14)), radius * 1.06, 0.06, 48)
    parts.append(("salad", extrude(wave, 0.035).at(z=z + 0.02)))
    z += 0.04
    for _ in range(int(rng.integers(1, 3))):
        tall = u(0.1, 0.15)
        parts.append(
            (
                "patty",
                lathe(spline([[radius * 0.93, z], [radius * 1.02, z + tall / 2], [radius * 0.93, z + tall]], 4), 28),
            )
        )
        z += tall
        parts.append(("cheese", box(radius * 1.5, radius * 1.5, 0.025).turned(z=u(0, 90)).at(z=z + 0.012)))
        z += 0.025
    parts.append(("tomato", cylinder(radius * 0.85, 0.05).at(z=z + 0.025)))
    z += 0.05
    dome = u(0.24, 0.36)
    parts.append(
        (
            "bun",
            lathe(
                spline(
                    [[radius, z], [radius * 0.97, z + dome * 0.4], [radius * 0.55, z + dome * 0.9], [0.001, z + dome]],
                    5,
                ),
                28,
            ),
        )
    )
    for i in range(16):
        r = 0.1 + 0.2 * np.sqrt(i / 16)
        parts.append(
            (
                "seed",
                superellipsoid(0.022, 0.014, 0.01, sides=8, rings=4).at(
                    r * np.cos(2.4 * i), r * np.sin(2.4 * i), z + dome * (1 - 1.1 * r**2) + 0.003
                ),
            )
        )
    return parts


def hot_dog(rng: Rng) -> Parts:
    u = rng.uniform
    long = u(0.85, 1.0)
    half = superellipsoid(0.11, long * 0.46, 0.12, square=0.7).turned(y=-18)
    bun = join(
        [
            half.at(0.12, 0, 0.02),
            half.mirrored("x").at(-0.12, 0, 0.02),
            superellipsoid(0.15, long * 0.44, 0.08, square=0.7).at(z=-0.07),
        ]
    )
    t = np.linspace(-1, 1, 15)
    sausage = tube(
        np.column_stack([0 * t, t * long * 0.52, 0.09 + 0.05 * t**2]),
        0.085 * np.clip((1 - np.abs(t)) * 7, 0.25, 1) ** 0.5,
        14,
    )
    w = np.linspace(-0.85, 0.85, 60)
    sauce = tube(np.column_stack([0.045 * np.sin(w * u(16, 26)), w * long * 0.5, 0.18 + 0.05 * w**2]), 0.018, 6)
    return [("bun", bun), ("sausage", sausage), ("sauce", sauce)]


def pizza(rng: Rng) -> Parts:
    u = rng.uniform
    radius = 0.5
    missing = u(0, 50) if rng.random() < 0.6 else 0
    outline = arc(radius * 0.94, missing, 360 - 0.01 if missing else 352, 30)
    wedge = np.concatenate([outline, [[0.0, 0.0]]]) if missing else ellipse(radius * 0.94, sides=36)
    base = extrude(wedge, 0.035)
    cheese = extrude(wedge * 0.95, 0.02).at(z=0.025)
    path = in_space(arc(radius, missing, 360 if missing else 359, 36), "xy")
    crust = tube(path, 0.05, 8) if missing else torus(radius, 0.05, 36, 8)
    slices, bits = [], []
    for i in range(int(rng.integers(7, 13))):
        r, a = (
            radius * 0.8 * np.sqrt((i + 0.5) / 13),
            np.radians(missing + 14) + (2 * np.pi - np.radians(missing + 28)) * ((i * 0.381966) % 1),
        )
        slices.append(cylinder(0.07, 0.018, sides=16).at(r * np.cos(a), r * np.sin(a), 0.04))
    for i in range(14):
        r, a = (
            radius * 0.82 * np.sqrt((i + 0.3) / 14),
            np.radians(missing + 8) + (2 * np.pi - np.radians(missing + 16)) * ((i * 0.618) % 1),
        )
        bits.append(
            superellipsoid(0.03, 0.018, 0.014, sides=8, rings=5)
            .turned(z=u(0, 180))
            .at(r * np.cos(a), r * np.sin(a), 0.042)
        )
    return [("crust", join([base, crust])), ("cheese", cheese), ("salami", join(slices)), ("herb", join(bits))]


def donut(rng: Rng) -> Parts:
    u = rng.uniform
    ring, thick = 0.32, u(0.14, 0.19)
    dough = torus(ring, thick, 32, 14)
    glaze = torus(ring, thick * 1.04, 32, 14)
    angle = np.arctan2(glaze.vertices[:, 1], glaze.vertices[:, 0])
    floor = 0.03 + 0.03 * np.sin(angle * int(rng.integers(5, 9)))
    glaze = glaze.warped(lambda v: np.column_stack([v[:, :2], np.maximum(v[:, 2], floor)]))
    sprinkles = []
    for _ in range(28):
        a, b = u(0, 2 * np.pi), u(np.radians(30), np.radians(150))
        r = ring + thick * 1.05 * np.cos(b)
        sprinkles.append(
            bar([-0.03, 0, 0], [0.03, 0, 0], 0.01, sides=5)
            .turned(z=u(0, 180))
            .at(r * np.cos(a), r * np.sin(a), thick * 1.05 * np.sin(b))
        )
    return [("dough", dough), ("glaze", glaze), ("sprinkle", join(sprinkles))]


def layer_cake(rng: Rng) -> Parts:
    u = rng.uniform
    tiers = int(rng.integers(1, 4))
    radius, z = 0.5, 0.0
    sponge, cream, candles = [], [], []
    for _ in range(tiers):
        tall = u(0.2, 0.32)
        sponge.append(cylinder(radius, tall, sides=32).at(z=z + tall / 2))
        z += tall
        cream.append(cylinder(radius * 1.02, 0.05, sides=32).at(z=z))
        drips = [
            superellipsoid(0.045, 0.03, u(0.05, 0.12), sides=8, rings=5).at(
                radius * np.cos(a), radius * np.sin(a), z - 0.05
            )
            for a in np.linspace(0, 2 * np.pi, 14)[:-1]
        ]
        cream += drips
        last, radius = radius, radius * u(0.62, 0.78)
    count = int(rng.integers(4, 9))
    for i in range(count):
        a = 2 * np.pi * i / count
        candles.append(cylinder(0.018, 0.2, sides=8).at(last * 0.65 * np.cos(a), last * 0.65 * np.sin(a), z + 0.11))
    flames = [
        superellipsoid(0.016, 0.016, 0.035, sides=8, rings=6).at(
            last * 0.65 * np.cos(2 * np.pi * i / count), last * 0.65 * np.sin(2 * np.pi * i / count), z + 0.24
        )
        for i in range(count)
    ]
    return [
        ("sponge", join(sponge)),
        ("cream", join(cream)),
        ("candle", join(candles)),
        ("flame", join(flames)),
        ("plate", plate(0.68)),
    ]


def cupcake(rng: Rng) -> Parts:
    u = rng.uniform
    pleats, low, high, tall = int(rng.integers(14, 20)), u(0.24, 0.3), u(0.34, 0.42), u(0.32, 0.42)
    case = lathe([[low, 0], [high, tall]], 3 * pleats)
    angle = np.arctan2(case.vertices[:, 1], case.vertices[:, 0])
    wave = (1 + 0.04 * np.cos(pleats * angle))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
    turns, t = u(2.2, 3.5), np.linspace(0, 1, 60)
    radius = high * 0.85 * (1 - t) ** 0.8 + 0.01
    swirl = tube(
        np.stack(
            [radius * np.cos(2 * np.pi * turns * t), radius * np.sin(2 * np.pi * turns * t), tall + 0.05 + 0.42 * t],
            axis=1,
        ),
        0.13 * (1 - 0.75 * t),
        10,
    )
    core = lathe([[high * 0.95, tall - 0.02], [high * 0.5, tall + 0.25], [0, tall + 0.4]], 20)
    cherry = ball(0.075, 14).at(z=tall + 0.52)
    return [("case", case.warped(lambda v: v * wave)), ("icing", join([swirl, core])), ("cherry", cherry)]


def ice_cream(rng: Rng) -> Parts:
    u = rng.uniform
    scoops, radius, tall = int(rng.integers(1, 4)), u(0.2, 0.25), u(0.6, 0.8)
    cone = lathe([[0, 0], [0.02, 0], [radius * 0.92, tall], [radius * 0.8, tall], [0, tall * 0.6]], 20)
    ring = torus(radius * 0.9, 0.03, 24, 6).at(z=tall)
    balls = [
        blob(rng, radius, 0.06, 5, 18).at(u(-0.02, 0.02), u(-0.02, 0.02), tall + radius * 0.55 + 1.35 * radius * i)
        for i in range(scoops)
    ]
    top = tall + radius * 0.55 + 1.35 * radius * (scoops - 1) + radius
    wafer = cylinder(0.035, 0.4, sides=12).turned(x=20, y=25).at(0.12, -0.03, top)
    cherry = ball(0.06, 12).at(-0.03, 0, top + 0.03)
    return [("cone", join([cone, ring, wafer])), ("ice", join(balls)), ("cherry", cherry)]


def lollipop(rng: Rng) -> Parts:
    u = rng.uniform
    stick = bar([0, 0, 0], [0, 0, -u(0.7, 0.95)], 0.022)
    if rng.random() < 0.5:
        candy = ball(0.24, 22).at(z=0.18)
        band = torus(0.24, 0.018, 28, 6).at(z=0.18)
        return [("stick", stick), ("candy", candy), ("swirl", band)]
    t = np.linspace(0, 1, 90)
    radius = 0.33 * t
    spiral = tube(
        np.add(
            in_space(np.column_stack([radius * np.cos(t * 8 * np.pi), radius * np.sin(t * 8 * np.pi)]), "xz"),
            [0, -0.035, 0.3],
        ),
        0.022,
        6,
    )
    disc = superellipsoid(0.36, 0.36, 0.055, upright=0.6).turned(x=90).at(z=0.3)
    return [("stick", stick), ("candy", disc), ("swirl", spiral)]


def cheese_wedge(rng: Rng) -> Parts:
    u = rng.uniform
    span, tall = u(35, 65), u(0.25, 0.4)
    outline = np.concatenate([[[0.0, 0.0]], arc(0.9, -span / 2, span / 2, 10)])
    body = extrude(outline, tall).turned(z=-120)
    rind = extrude(
        np.concatenate([arc(0.93, -span / 2, span / 2, 10), arc(0.89, span / 2, -span / 2, 10)]), tall * 1.02
    ).turned(z=-120)
    holes = []
    for _ in range(14):
        side = rng.choice([-1, 1])
        a, r, z = np.radians(side * span / 2 - 120), u(0.25, 0.8), u(-0.4, 0.4) * tall
        size = u(0.03, 0.06)
        holes.append(
            superellipsoid(size, 0.012, size, sides=12, rings=6)
            .turned(z=np.degrees(a))
            .at(r * np.cos(a), r * np.sin(a), z)
        )
    for _ in range(5):
        a, r = np.radians(u(-0.35, 0.35) * span - 120), u(0.4, 0.8)
        holes.append(
            superellipsoid(s := u(0.03, 0.05), s, 0.012, sides=12, rings=6).at(r * np.cos(a), r * np.sin(a), tall / 2)
        )
    return [("cheese", body), ("rind", rind), ("hole", join(holes))]


def fried_egg(rng: Rng) -> Parts:
    u = rng.uniform
    count = int(rng.integers(3, 6))
    outline = lobes(count, 0.45, u(0.06, 0.14), 40) * [1, u(0.8, 1.0)]
    white = extrude(outline, 0.06, bevel=0.025)
    yolk = superellipsoid(s := u(0.14, 0.2), s, s * 0.6).at(u(-0.08, 0.08), u(-0.08, 0.08), 0.03)
    return [("white", white), ("yolk", yolk), ("plate", plate(0.72).at(z=-0.03))]


def sushi(rng: Rng) -> Parts:
    u = rng.uniform
    if rng.random() < 0.5:
        radius, tall = 0.38, u(0.42, 0.6)
        rice = cylinder(radius * 0.93, tall * 1.01, sides=24)
        nori = lathe(
            [
                [radius, -tall / 2],
                [radius, tall / 2],
                [radius * 0.92, tall / 2],
                [radius * 0.92, -tall / 2],
                [radius, -tall / 2],
            ],
            24,
        )
        core = cylinder(radius * 0.4, tall * 1.05, sides=8)
        return [("rice", rice), ("nori", nori), ("fish", core)]
    rice = superellipsoid(0.5, 0.24, 0.2, square=0.6, upright=0.7)
    x, y = np.linspace(-0.58, 0.58, 14)[:, None], np.linspace(-0.25, 0.25, 7)[None, :]
    fish_part = slab(np.stack([x + 0 * y, y + 0 * x, 0.24 - 0.35 * x**2 - 1.1 * y**2], axis=2), u(0.05, 0.09))
    band = box(u(0.1, 0.2), 0.5, 0.46, bevel=0.08).at(z=0.05)
    return [("rice", rice), ("fish", fish_part), ("nori", band)]


def pretzel(rng: Rng) -> Parts:
    u = rng.uniform
    path = spline(
        [
            [-0.2, -0.42],
            [0.14, 0.1],
            [0.38, 0.3],
            [0.5, 0.02],
            [0.3, -0.35],
            [0, -0.45],
            [-0.3, -0.35],
            [-0.5, 0.02],
            [-0.38, 0.3],
            [-0.14, 0.1],
            [0.2, -0.42],
        ],
        6,
    )
    z = 0.07 * np.sin(np.linspace(0, 1, len(path)) * 2 * np.pi * 1.5)
    line = np.column_stack([path[:, 0], z, path[:, 1]])
    thick = u(0.06, 0.09) * np.interp(np.linspace(0, 1, len(path)), [0, 0.1, 0.5, 0.9, 1], [0.55, 0.7, 1.25, 0.7, 0.55])
    dough = tube(line, thick, 10)
    picks = rng.integers(12, len(path) - 12, size=26)
    salt = join(
        [
            box(0.024, 0.024, 0.024)
            .turned(x=30, z=u(0, 90))
            .at(line[p, 0] + u(-0.04, 0.04), line[p, 1] - thick[p] * 0.95, line[p, 2] + u(-0.03, 0.03))
            for p in picks
        ]
    )
    return [("dough", dough), ("salt", salt)]


FOOD: tuple[Recipe, ...] = (
    recipe(banana, skin="fruit:yellow,lime", tip="bark:brown"),
    recipe(apple, skin="fruit:red,lime,yellow", stem="bark", leaf="foliage"),
    recipe(pear, skin="fruit:lime,yellow,green", stem="bark", leaf="foliage"),
    recipe(pineapple, skin="fruit:orange,brown,yellow", leaf="foliage:green"),
    recipe(grapes, berry="fruit:purple,lime,red", stalk="bark:brown,lime", leaf="foliage"),
    recipe(cherries, fruit="fruit:red", stem="foliage:lime", leaf="foliage"),
    recipe(strawberry, flesh="fruit:red", seed="fruit:yellow", leaf="foliage"),
    recipe(watermelon_slice, flesh="fruit:red,pink", white="fruit:pale", rind="fruit:green", seed="plastic:black"),
    recipe(carrot, root="fruit:orange", green="foliage:lime,green"),
    recipe(aubergine, skin="fruit:purple", green="foliage:green"),
    recipe(bread_loaf, crust="bread:brown,tan", cut="bread:pale,tan", board="wood"),
    recipe(
        hamburger,
        bun="bread:tan,orange",
        salad="foliage:lime",
        patty="bread:brown,dark",
        cheese="plastic:yellow,orange",
        tomato="fruit:red",
        seed="bread:pale",
    ),
    recipe(hot_dog, bun="bread:tan", sausage="fruit:red,brown", sauce="plastic:yellow,red"),
    recipe(pizza, crust="bread:tan,brown", cheese="bread:yellow,pale", salami="fruit:red", herb="foliage:green"),
    recipe(donut, dough="bread:tan,brown", glaze="plastic:pink,brown,white,yellow", sprinkle="plastic:bright"),
    recipe(
        layer_cake,
        sponge="bread:brown,pale,pink",
        cream="wax:white,pink,pale",
        candle="wax:bright",
        flame="fire",
        plate="ceramic",
    ),
    recipe(cupcake, case="paper:bright,pale", icing="wax:pink,white,blue,yellow", cherry="fruit:red"),
    recipe(ice_cream, cone="bread:tan,brown", ice="wax:pink,white,brown,lime", cherry="fruit:red"),
    recipe(lollipop, stick="paper:white", candy="plastic:bright", swirl="plastic:white,bright"),
    recipe(cheese_wedge, cheese="wax:yellow,orange", rind="wax:orange,red", hole="wax:brown,orange"),
    recipe(fried_egg, white="wax:white", yolk="wax:orange,yellow", plate="ceramic"),
    recipe(sushi, rice="bread:white", nori="leather:dark", fish="fruit:orange,red,pink"),
    recipe(pretzel, dough="bread:brown", salt="stone:white"),
)
