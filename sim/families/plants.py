"""Plants and fungi."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join
from sim.outlines import Array, spline
from sim.solids import ball, bar, blob, cylinder, lathe, leaf, superellipsoid, tube


def flower_pot(radius: float, height: float) -> Solid:
    """Tapered pot with a rim; its soil stands at 0.85 of the height, the bottom at z = 0."""
    low = radius * 0.68
    return lathe(
        [
            [0, 0],
            [low, 0],
            [radius * 0.94, height * 0.8],
            [radius * 1.06, height * 0.8],
            [radius * 1.06, height],
            [radius * 0.92, height],
            [radius * 0.88, height * 0.85],
            [0, height * 0.85],
        ],
        24,
    )


def broadleaf_tree(rng: Rng) -> Parts:
    u = rng.uniform
    trunk_z, thick = u(0.8, 1.3), u(0.07, 0.13)
    trunk = tube(
        np.array([[0, 0, 0], [0.02, 0, 0.1], [u(-0.06, 0.06), u(-0.06, 0.06), trunk_z * 0.6], [0, 0, trunk_z + 0.3]]),
        np.array([1.6, 1.1, 0.85, 0.5]) * thick,
        10,
    )
    branches, crowns = [], []
    for i in range(int(rng.integers(4, 8))):
        angle, lift, reach = 2.4 * i + u(-0.3, 0.3), u(0.2, 0.8), u(0.3, 0.55)
        end = np.array([reach * np.cos(angle), reach * np.sin(angle), trunk_z + lift])
        branches.append(bar([0, 0, trunk_z * u(0.7, 1.0)], end, thick * 0.4, thick * 0.2, sides=6))
        crowns.append(blob(rng, u(0.32, 0.48), 0.18, 3, 14).scaled(1, 1, u(0.75, 0.95)).at(*end))
    crowns.append(blob(rng, u(0.5, 0.65), 0.16, 3.5, 16).at(z=trunk_z + u(0.5, 0.7)))
    return [("trunk", join([trunk, *branches])), ("crown", join(crowns))]


def conifer(rng: Rng) -> Parts:
    u = rng.uniform
    tiers, base, height = int(rng.integers(4, 8)), u(0.5, 0.75), 2.0
    trunk = bar([0, 0, 0], [0, 0, height * 0.9], 0.08, 0.02)
    cones = []
    for t in np.linspace(0, 1, tiers):
        radius, low = base * (1 - 0.75 * t), 0.35 + t * (height - 0.75)
        tall = (height - 0.3) / tiers * 1.9
        lobed = lathe([[0, 0.06], [radius * 0.5, 0.02], [radius, -0.05], [radius * 0.45, tall * 0.5], [0.01, tall]], 22)
        angle = np.arctan2(lobed.vertices[:, 1], lobed.vertices[:, 0])
        wave = (1 + 0.1 * np.cos(11 * angle))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
        cones.append(Solid(lobed.vertices * wave, lobed.faces, lobed.smooth).turned(z=40 * t).at(z=low))
    return [("trunk", trunk), ("needles", join(cones))]


def palm_tree(rng: Rng) -> Parts:
    u = rng.uniform
    bend, height = u(0.1, 0.5), u(1.5, 2.1)
    path = spline([[0, 0, 0], [bend * 0.2, 0, height * 0.35], [bend * 0.6, 0, height * 0.7], [bend, 0, height]], 4)
    rings = 1 + 0.15 * (np.arange(len(path)) % 2)
    trunk = tube(path, np.linspace(0.1, 0.06, len(path)) * rings, 10)
    fronds = [
        leaf(u(0.75, 1.0), u(0.2, 0.3), u(0.3, 0.7), -0.25, 0.012).turned(y=-u(5, 45), z=360 * i / 9 + u(-10, 10))
        for i in range(9)
    ]
    nuts = ball(0.08, 12).at(0.1, 0, -0.06).ring(3)
    return [("trunk", trunk), ("leaf", join(fronds).at(bend, 0, height)), ("nut", nuts.at(bend, 0, height))]


def cactus(rng: Rng) -> Parts:
    u = rng.uniform
    ribs, height, radius = int(rng.integers(8, 13)), u(0.9, 1.3), u(0.14, 0.2)

    def ribbed(solid: Solid, axis_x: float = 0.0) -> Solid:
        angle = np.arctan2(solid.vertices[:, 1], solid.vertices[:, 0] - axis_x)
        wave = (1 + 0.1 * np.cos(ribs * angle))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
        return solid.warped(lambda v: (v - [axis_x, 0, 0]) * wave + [axis_x, 0, 0])

    body = ribbed(
        lathe(
            spline(
                [
                    [radius * 0.8, 0],
                    [radius, 0.2 * height],
                    [radius, 0.8 * height],
                    [radius * 0.6, 0.96 * height],
                    [0, height],
                ],
                3,
            ),
            4 * ribs,
        )
    )
    arms = []
    for i in range(int(rng.integers(1, 4))):
        low, out, up = height * u(0.25, 0.55), radius + u(0.14, 0.22), u(0.25, 0.5)
        path = spline([[0, 0, low], [out * 0.7, 0, low + 0.01], [out, 0, low + 0.15], [out, 0, low + up]], 4)
        thick = radius * u(0.45, 0.6) * np.array([*[1.0] * (len(path) - 2), 0.85, 0.4])
        arms.append(tube(path, thick, 12).turned(z=[0, 180, 90][i] + u(-20, 20)))
    pot = flower_pot(u(0.26, 0.34), 0.36).at(z=-0.3)
    flower = lathe([[0, 0], [0.05, 0.02], [0.09, 0.07], [0.05, 0.05], [0, 0.04]], 12).at(z=height - 0.02)
    return [("flesh", join([body, *arms])), ("pot", pot), ("flower", flower)]


def mushroom(rng: Rng) -> Parts:
    u = rng.uniform
    stem, cap, tall = u(0.4, 0.75), u(0.35, 0.55), u(0.22, 0.5)
    stalk = lathe(
        spline([[0.001, 0], [u(0.12, 0.2), 0.03], [0.1, stem * 0.5], [0.09, stem], [0.001, stem + 0.02]], 4), 22
    )
    profile = spline(
        [[0.001, stem + tall], [cap * 0.7, stem + tall * 0.75], [cap, stem + tall * 0.1], [cap * 0.92, stem - 0.04]], 5
    )
    top = lathe(np.concatenate([profile, [[cap * 0.5, stem + 0.03], [0.001, stem + 0.03]]]), 32)
    skirt = lathe([[0.1, stem * 0.72], [0.2, stem * 0.6], [0.19, stem * 0.59], [0.09, stem * 0.68]], 20)
    dots = []
    for i in range(int(rng.integers(6, 12))):
        t, angle = u(0.12, 0.8), 2.4 * i
        index = t * (len(profile) - 1)
        r, z = (float(np.interp(index, np.arange(len(profile)), profile[:, k])) for k in (0, 1))
        dots.append(
            superellipsoid(s := u(0.03, 0.06), s, s * 0.6, sides=10, rings=6).at(
                r * np.cos(angle), r * np.sin(angle), z
            )
        )
    return [("stalk", join([stalk, skirt])), ("cap", top), ("dot", join(dots))]


def potted_plant(rng: Rng) -> Parts:
    u = rng.uniform
    radius, height = u(0.18, 0.26), u(0.28, 0.42)
    soil = cylinder(radius * 0.88, 0.02).at(z=height * 0.87)
    wide, long = u(0.1, 0.22), u(0.4, 0.7)
    leaves, stems = [], []
    for i in range(int(rng.integers(8, 14))):
        lift, turn, stalk = u(25, 75), 137.5 * i, u(0.1, 0.4)
        leaves.append(leaf(long * u(0.8, 1.1), wide, u(0.15, 0.5), 0.15).turned(y=-lift).at(0, 0, stalk).turned(z=turn))
        stems.append(bar([0, 0, -0.05], [0, 0, stalk + 0.02], 0.012, sides=6))
    top = height * 0.87
    return [
        ("pot", flower_pot(radius, height)),
        ("soil", soil),
        ("leaf", join(leaves).at(z=top)),
        ("leaf", join(stems).at(z=top)),
    ]


def flower(rng: Rng) -> Parts:
    u = rng.uniform
    petals, long, wide, lift = int(rng.integers(5, 13)), u(0.25, 0.42), u(0.12, 0.26), u(-5, 35)
    height = u(0.8, 1.2)
    stem = tube(spline([[0, 0, 0], [u(-0.08, 0.08), 0, height / 2], [0, 0, height]], 5), 0.02, 8)
    crown = leaf(long, wide, u(0.05, 0.3), 0.1, 0.014).turned(y=-lift).ring(petals)
    parts = [crown]
    if rng.random() < 0.4:
        parts.append(
            leaf(long * 0.7, wide * 0.8, 0.1, 0.1, 0.014).turned(y=-lift - 25).ring(petals, 180 / petals).at(z=0.02)
        )
    center = superellipsoid(s := u(0.07, 0.13), s, 0.06).at(z=0.02)
    tilt = u(15, 50)
    head = join(parts).turned(x=tilt).at(z=height)
    leaves = join(
        [leaf(u(0.25, 0.4), 0.12, 0.3).turned(y=-40, z=a).at(z=height * z) for a, z in ((20, 0.25), (200, 0.4))]
    )
    return [("stem", join([stem, leaves])), ("petal", head), ("center", center.turned(x=tilt).at(z=height))]


def tulip(rng: Rng) -> Parts:
    u = rng.uniform
    height = u(0.8, 1.1)
    stem = bar([0, 0, 0], [0, 0, height], 0.022)
    wide, open_ = u(0.14, 0.19), u(0.7, 1.05)
    petals = []
    for ring, count in ((0, 3), (1, 3)):
        petal = (
            superellipsoid(0.02, 0.11, 0.22, sides=12, rings=10)
            .turned(y=12 * open_)
            .at(wide * (0.75 + 0.12 * ring), 0, 0.2)
        )
        petals.append(petal.ring(count, 60 * ring))
    cup = lathe(
        spline([[0, 0], [wide * 0.8, 0.06], [wide, 0.2], [wide * open_ * 0.85, 0.34], [wide * 0.6, 0.3], [0, 0.05]], 4),
        24,
    )
    blades = join(
        [
            leaf(u(0.6, 0.8), 0.13, 0.15, 0.25).turned(y=-u(60, 78), z=120 * i + 30)
            for i in range(int(rng.integers(2, 4)))
        ]
    )
    return [("stem", join([stem, blades])), ("petal", join([cup, *petals]).at(z=height - 0.02))]


def bush(rng: Rng) -> Parts:
    u = rng.uniform
    balls = []
    for i in range(int(rng.integers(5, 10))):
        angle, r = 2.4 * i, u(0.15, 0.42)
        balls.append(blob(rng, u(0.25, 0.36), 0.2, 4, 12).at(r * np.cos(angle), r * np.sin(angle), u(0.2, 0.5)))
    sticks = bar([0, 0, -0.1], [0.2, 0, 0.3], 0.025, sides=6).ring(4)
    places = rng.integers(len(balls), size=14)
    berries = join([ball(0.035, 8).at(*balls[b].vertices[rng.integers(30, 80)]) for b in places])
    return [("leaves", join(balls)), ("stick", sticks), ("berry", berries)]


def bare_tree(rng: Rng) -> Parts:
    u = rng.uniform
    limbs: list[Solid] = []
    twigs: list[Solid] = []

    def grow(start: Array, direction: Array, length: float, thick: float, level: int) -> None:
        middle = start + direction * length * 0.5 + rng.normal(size=3) * 0.05 * length
        end = start + direction * length
        (limbs if level < 2 else twigs).append(
            tube(np.array([start, middle, end]), np.array([1.0, 0.85, 0.65]) * thick, 7 if level < 2 else 5)
        )
        if level == 3:
            return
        for i in range(int(rng.integers(2, 4)) + (level == 0)):
            away = rng.normal(size=3)
            new = direction * 0.75 + 0.65 * away / np.linalg.norm(away) + [0, 0, 0.25]
            grow(
                end - direction * length * u(0, 0.25) * (i > 0),
                new / np.linalg.norm(new),
                length * u(0.55, 0.75),
                thick * 0.6,
                level + 1,
            )

    grow(np.zeros(3), np.array([0.0, 0.0, 1.0]), 0.8, u(0.07, 0.11), 0)
    return [("trunk", join(limbs)), ("twig", join(twigs))]


def pumpkin(rng: Rng) -> Parts:
    u = rng.uniform
    ribs, squash, depth = int(rng.integers(7, 12)), u(0.6, 1.0), u(0.07, 0.13)
    body = superellipsoid(0.5, 0.5, 0.5 * squash, sides=8 * ribs if ribs < 9 else 6 * ribs, rings=14)
    angle = np.arctan2(body.vertices[:, 1], body.vertices[:, 0])
    swell = (1 - depth + depth * np.abs(np.cos(ribs / 2 * angle)))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
    dent = 0.22 * np.exp(-((np.linalg.norm(body.vertices[:, :2], axis=1) / 0.17) ** 2))
    body = body.warped(lambda v: v * swell - np.sign(v) * np.stack([0 * dent, 0 * dent, dent * squash], axis=1))
    top = 0.34 * squash
    stem = tube(
        spline([[0, 0, top - 0.05], [0.02, 0, top + 0.13], [u(0.06, 0.14), 0, top + u(0.2, 0.28)]], 4),
        np.linspace(0.07, 0.04, 9),
        6,
    )
    return [("flesh", body), ("stem", stem)]


def corn(rng: Rng) -> Parts:
    u = rng.uniform
    rows, length = int(rng.integers(10, 15)), u(0.85, 1.05)
    places = np.linspace(0, 1, 22)
    radius = u(0.12, 0.16) * np.sin(np.pi * np.clip(0.25 + 0.72 * places, 0, 0.97)) ** 0.6
    cob = lathe(np.column_stack([radius, places * length]), 4 * rows)
    angle = np.arctan2(cob.vertices[:, 1], cob.vertices[:, 0])
    grain = (1 + 0.09 * np.cos(rows * angle) + 0.05 * np.cos(cob.vertices[:, 2] * 2 * np.pi * 11 / length))[:, None]
    cob = cob.warped(lambda v: v * (grain * [[1, 1, 0]] + [[0, 0, 1]]))
    husk = (
        leaf(length * u(0.75, 0.95), 0.26, -0.1, 0.35, 0.012)
        .turned(y=-u(58, 72))
        .at(0.03)
        .ring(int(rng.integers(3, 6)), u(0, 90))
    )
    stalk = bar([0, 0, -0.15], [0, 0, 0.05], 0.05)
    return [("grain", cob), ("husk", join([husk, stalk]))]


def log(rng: Rng) -> Parts:
    u = rng.uniform
    length, radius = u(0.9, 1.3), u(0.15, 0.24)
    bark = cylinder(radius, length, radius * u(0.85, 1), sides=18).sideways()
    wobble = 1 + 0.05 * np.sin(7 * bark.vertices[:, 0] + 3 * bark.vertices[:, 1:2].ravel())
    bark = bark.warped(lambda v: v * np.stack([np.ones_like(wobble), wobble, wobble], axis=1))
    ends = cylinder(radius * 0.86, length + 0.03, radius * 0.78, sides=18).sideways()
    stubs = join(
        [
            bar([x, 0, 0], [x + 0.1, u(-0.25, 0.1), radius + u(0.08, 0.2)], 0.05, 0.035, 8)
            for x in rng.uniform(-0.35, 0.3, size=int(rng.integers(1, 4)))
        ]
    )
    return [("bark", join([bark, stubs])), ("wood", ends)]


def bonsai(rng: Rng) -> Parts:
    u = rng.uniform
    tray = superellipsoid(0.42, 0.28, 0.1, square=0.4, upright=0.3).at(z=0.1)
    soil = superellipsoid(0.37, 0.23, 0.06, square=0.4).at(z=0.18)
    path = spline([[0, 0, 0.15], [u(-0.12, -0.05), 0, 0.35], [u(0.08, 0.16), 0.03, 0.55], [u(-0.08, 0.05), 0, 0.8]], 5)
    trunk = tube(path, np.linspace(0.07, 0.025, len(path)), 9)
    pads, arms = [], []
    for i in np.linspace(5, len(path) - 1, int(rng.integers(4, 6))).astype(int):
        reach, angle = u(0.15, 0.35) * (i < len(path) - 1), u(0, 2 * np.pi)
        end = path[i] + [reach * np.cos(angle), reach * np.sin(angle), 0.06]
        arms.append(bar(path[i], end, 0.022, 0.012, sides=6))
        pads.append(blob(rng, u(0.15, 0.23), 0.15, 5, 14).scaled(1, 1, 0.45).at(*end))
    return [("tray", tray), ("soil", soil), ("trunk", join([trunk, *arms[:-1]])), ("leaves", join(pads))]


PLANTS: tuple[Recipe, ...] = (
    recipe(broadleaf_tree, trunk="bark", crown="foliage|foliage|foliage:orange,red"),
    recipe(conifer, trunk="bark", needles="foliage:green"),
    recipe(palm_tree, trunk="bark:tan,brown", leaf="foliage", nut="wood:brown"),
    recipe(
        cactus,
        flesh="foliage:green,lime",
        pot="ceramic:orange,brown|brick:orange|plastic",
        flower="paper:pink,red,yellow",
    ),
    recipe(mushroom, stalk="skin:white,pale", cap="skin:red,brown,orange,tan", dot="skin:white,pale"),
    recipe(potted_plant, pot="ceramic|plastic|brick:orange", soil="bark:dark", leaf="foliage"),
    recipe(flower, stem="foliage", petal="paper:red,yellow,pink,purple,white,blue", center="fur:yellow,brown"),
    recipe(tulip, stem="foliage", petal="paper:red,yellow,pink,purple,white,orange"),
    recipe(bush, leaves="foliage", stick="bark", berry="fruit:red,purple,blue"),
    recipe(bare_tree, trunk="bark", twig="bark"),
    recipe(pumpkin, flesh="fruit:orange,yellow,green", stem="bark:green,brown"),
    recipe(corn, grain="fruit:yellow,orange,pale", husk="foliage:lime,green"),
    recipe(log, bark="bark", wood="wood:tan"),
    recipe(bonsai, tray="ceramic:blue,brown,dark", soil="bark:dark", trunk="bark", leaves="foliage"),
)
