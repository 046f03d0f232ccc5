"""Buildings."""

from __future__ import annotations

import itertools

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import rectangle
from sim.solids import (
    bar,
    box,
    cylinder,
    extrude,
    frame,
    lathe,
    superellipsoid,
    torus,
)


def gable(width: float, depth: float, rise: float, over: float = 0.12, thick: float = 0.06) -> Solid:
    """Gable roof whose ridge runs along y; its eaves at z = 0."""
    half = width / 2 + over
    slope = np.array(
        [
            [half, -over * rise / half],
            [0, rise],
            [-half, -over * rise / half],
            [-half, -over * rise / half + thick],
            [0, rise + thick * 1.4],
            [half, -over * rise / half + thick],
        ]
    )
    return extrude(slope, depth + 2 * over).turned(x=90)


def opening(width: float, height: float) -> Solid:
    """Window pane with a cross, facing -y, centred on the origin: pane only."""
    return box(width, 0.03, height)


def window_frame(width: float, height: float) -> Solid:
    rim = frame(width * 1.15, height * 1.15, width * 0.1, 0.05).turned(x=90)
    return join([rim, box(width * 0.08, 0.05, height), box(width, 0.05, height * 0.08)])


def house(rng: Rng) -> Parts:
    u = rng.uniform
    width, depth, floors, rise = u(1.2, 1.7), u(1.2, 2.0), int(rng.integers(1, 3)), u(0.5, 0.9)
    height = 0.75 * floors + 0.15
    walls = box(width, depth, height).at(z=height / 2)
    end = extrude([[-width / 2, 0], [width / 2, 0], [0, rise]], depth * 0.995).turned(x=90).at(z=height - 0.001)
    roof = gable(width, depth, rise, u(0.08, 0.18)).at(z=height)
    door = box(0.32, 0.06, 0.62).at(u(-0.2, 0.2), -depth / 2, 0.31)
    panes, rims = [], []
    count = 2 if width < 1.45 else 3
    for floor in range(floors):
        z = 0.52 + 0.75 * floor
        for x in np.linspace(-width * 0.34, width * 0.34, count):
            if floor == 0 and abs(x - door.vertices[:, 0].mean()) < 0.32:
                continue
            panes.append(opening(0.24, 0.3).at(x, -depth / 2 - 0.005, z))
            rims.append(window_frame(0.24, 0.3).at(x, -depth / 2 - 0.01, z))
        for y in np.linspace(-depth * 0.28, depth * 0.28, 2):
            panes.append(opening(0.26, 0.3).turned(z=90).at(-width / 2, y, z))
            rims.append(window_frame(0.26, 0.3).turned(z=90).at(-width / 2 - 0.01, y, z))
    chimney = box(0.18, 0.18, rise + 0.35).at(width * u(-0.3, 0.3), depth * u(-0.2, 0.3), height + rise * 0.5 + 0.1)
    if rng.random() < 0.4:
        porch = gable(0.6, 0.4, 0.2, 0.04, 0.04).at(door.vertices[:, 0].mean(), -depth / 2 - 0.2, 0.75)
        posts = join(
            [
                bar(
                    [door.vertices[:, 0].mean() + s * 0.28, -depth / 2 - 0.36, 0],
                    [door.vertices[:, 0].mean() + s * 0.28, -depth / 2 - 0.36, 0.78],
                    0.03,
                )
                for s in (-1, 1)
            ]
        )
        rims.append(posts)
        roof = join([roof, porch])
    return [
        ("wall", walls),
        ("wall", end),
        ("roof", roof),
        ("door", door),
        ("window", join(panes)),
        ("trim", join(rims)),
        ("chimney", chimney),
    ]


def office_tower(rng: Rng) -> Parts:
    u = rng.uniform
    blocks, panes = [], []
    width, depth, z = u(0.8, 1.1), u(0.7, 1.1), 0.0
    for _ in range(int(rng.integers(1, 4))):
        floors = int(rng.integers(4, 9))
        height = floors * 0.22
        blocks.append(box(width, depth, height).at(z=z + height / 2))
        for floor in range(floors):
            panes.append(box(width * 1.01, depth * 0.88, 0.11).at(z=z + 0.22 * floor + 0.12))
            panes.append(box(width * 0.88, depth * 1.012, 0.11).at(z=z + 0.22 * floor + 0.12))
        z += height
        width, depth = width * u(0.6, 0.85), depth * u(0.6, 0.85)
    columns = join([bar([s, -0.01, 0], [s, -0.01, 0.2], 0.04) for s in (-0.3, 0, 0.3)]).at(0, -depth / 2 - 0.3)
    roof = join([box(width * 0.5, depth * 0.5, 0.16).at(z=z + 0.08), bar([0, 0, z], [0, 0, z + u(0.2, 0.6)], 0.02)])
    return [("wall", join(blocks)), ("glass", join(panes)), ("roof", join([roof, columns]))]


def lighthouse(rng: Rng) -> Parts:
    u = rng.uniform
    low, high, height, bands = u(0.3, 0.42), u(0.18, 0.24), u(1.6, 2.1), int(rng.integers(4, 8))
    levels = np.linspace(0, 1, bands + 1)
    rings: list[list[Solid]] = [[], []]
    for i, (a, b) in enumerate(itertools.pairwise(levels)):
        ra, rb = low + (high - low) * a, low + (high - low) * b
        rings[i % 2].append(lathe([[ra, a * height], [rb, b * height]], 28))
    gallery = join(
        [
            cylinder(high * 1.5, 0.05).at(z=height + 0.02),
            torus(high * 1.45, 0.012, 28, 6).at(z=height + 0.16),
            bar([high * 1.45, 0, height], [high * 1.45, 0, height + 0.16], 0.01, sides=5).ring(10),
        ]
    )
    lamp = cylinder(high * 0.75, 0.3, sides=16).at(z=height + 0.2)
    cap = lathe(
        [
            [high, height + 0.35],
            [high * 0.6, height + 0.47],
            [0.03, height + 0.55],
            [0.02, height + 0.65],
            [0, height + 0.66],
        ],
        24,
    )
    rock = lathe([[low * 1.9, -0.15], [low * 1.6, 0.02], [0, 0.06]], 11).faceted()
    door = box(0.16, 0.1, 0.3, bevel=0.02).at(0, -low * 0.96, 0.2)
    return [
        ("white", join(rings[0])),
        ("stripe", join(rings[1])),
        ("roof", join([gallery, cap, door])),
        ("lamp", lamp),
        ("rock", rock),
    ]


def windmill(rng: Rng) -> Parts:
    u = rng.uniform
    sides, low, high, height = int(rng.choice([8, 20])), u(0.4, 0.5), u(0.24, 0.3), u(1.1, 1.5)
    tower = lathe([[low, 0], [high, height]], sides)
    cap = superellipsoid(high * 1.1, high * 1.25, high * u(0.8, 1.2)).at(z=height)
    hub_at = [0, -high * 1.35, height + 0.05]
    long = height * u(0.75, 0.9)
    spar = join(
        [
            bar([0, 0, 0], [long, 0, 0], 0.022, sides=6),
            *[bar([x, 0, 0], [x, 0, 0.2], 0.01, sides=5) for x in np.linspace(0.2, long, 7)],
            bar([0.2, 0, 0.2], [long, 0, 0.2], 0.01, sides=5),
        ]
    )
    cloth = box(long - 0.22, 0.012, 0.18).at(0.2 + (long - 0.22) / 2, 0.01, 0.11)
    turn = u(0, 90)
    arms = join([spar.turned(y=turn + a) for a in (0, 90, 180, 270)]).at(*hub_at)
    sails = join([cloth.turned(y=turn + a) for a in (0, 90, 180, 270)]).at(*hub_at)
    hub_part = bar([0, -high * 0.8, height + 0.05], [0, -high * 1.42, height + 0.05], 0.05)
    door = box(0.22, 0.08, 0.4).at(0, -low * 0.93, 0.2)
    windows = join([box(0.12, 0.06, 0.14).at(0, -(low + (high - low) * t) - 0.0, height * t) for t in (0.5, 0.72)])
    return [("tower", tower), ("cap", cap), ("arm", join([arms, hub_part, door])), ("sail", sails), ("window", windows)]


def castle(rng: Rng) -> Parts:
    u = rng.uniform
    size, wall_h = u(1.0, 1.3), u(0.5, 0.7)

    def battlement(length: float) -> Solid:
        count = int(length / 0.16)
        return join([box(0.08, 0.1, 0.09).at((i - (count - 1) / 2) * length / count, 0, 0.045) for i in range(count)])

    wall = join([box(size, 0.1, wall_h).at(z=wall_h / 2), battlement(size).at(z=wall_h)])
    walls = join(
        [wall.at(y=-size / 2), wall.at(y=size / 2), wall.turned(z=90).at(x=size / 2), wall.turned(z=90).at(x=-size / 2)]
    )
    radius, tower_h = u(0.17, 0.23), wall_h * u(1.4, 1.8)
    tower = lathe(
        [
            [radius, 0],
            [radius * 0.92, tower_h * 0.85],
            [radius * 1.15, tower_h * 0.9],
            [radius * 1.15, tower_h],
            [0, tower_h],
        ],
        16,
    )
    cone = lathe([[radius * 1.3, 0], [0, u(0.3, 0.5)]], 16)
    places = [(x, y) for x in (-1, 1) for y in (-1, 1)]
    towers = join([tower.at(x * size / 2, y * size / 2) for x, y in places])
    cones = join([cone.at(x * size / 2, y * size / 2, tower_h) for x, y in places])
    keep_h = tower_h * u(1.1, 1.4)
    keep = join(
        [
            box(0.45, 0.45, keep_h).at(z=keep_h / 2),
            battlement(0.45).at(y=-0.2, z=keep_h),
            battlement(0.45).at(y=0.2, z=keep_h),
        ]
    )
    gate = join(
        [
            box(0.28, 0.06, 0.26).at(0, -size / 2 - 0.05, 0.13),
            cylinder(0.14, 0.06, sides=20).turned(x=90).at(0, -size / 2 - 0.05, 0.26),
        ]
    )
    flag = join(
        [
            bar([0, 0, keep_h], [0, 0, keep_h + 0.4], 0.012, sides=6),
            extrude([[0, 0.25], [0.25, 0.32], [0, 0.4]], 0.01).turned(x=90).at(z=keep_h),
        ]
    )
    return [("wall", join([walls, towers, keep])), ("roof", cones), ("gate", gate), ("flag", flag)]


def pagoda(rng: Rng) -> Parts:
    u = rng.uniform
    tiers, width = int(rng.integers(3, 6)), u(0.8, 1.0)
    walls, roofs, posts, z = [], [], [], 0.1
    for _ in range(tiers):
        tall = 0.3
        walls.append(box(width * 0.7, width * 0.7, tall).at(z=z + tall / 2))
        posts.append(box(0.05, 0.05, tall).at(width * 0.36, width * 0.36, z + tall / 2).both("x").both("y"))
        levels = [(1.3, -0.0), (0.85, 0.08), (0.45, 0.2)]
        shapes = []
        for factor, up in levels:
            outline = rectangle(width * factor, width * factor)
            shapes.append(np.column_stack([outline, np.full(4, z + tall + up)]))
        corners = shapes[0].copy()
        corners[:, 2] += 0.06
        dense = []
        for shape, lift in ((corners, True), (shapes[1], False), (shapes[2], False)):
            t = np.linspace(0, 1, 6)[:-1, None]
            ring = np.concatenate([a + (b - a) * t for a, b in zip(shape, np.roll(shape, -1, axis=0), strict=True)])
            if lift:
                edge = np.tile(np.sin(np.pi * np.linspace(0, 1, 6)[:-1]), 4)
                ring[:, 2] -= 0.07 * edge
            dense.append(ring)
        roofs.append(loft(np.array(dense)))
        z += tall + 0.12
        width *= u(0.76, 0.86)
    base = box(1.25, 1.25, 0.1).at(z=0.05)
    spire = lathe([[0.05, z], [0.02, z + 0.15], [0.06, z + 0.2], [0.01, z + 0.3], [0, z + u(0.4, 0.6)]], 12)
    return [("wall", join(walls)), ("roof", join(roofs)), ("post", join([*posts, spire])), ("base", base)]


def church(rng: Rng) -> Parts:
    u = rng.uniform
    width, depth, height, rise = u(0.7, 0.9), u(1.3, 1.8), u(0.6, 0.8), u(0.4, 0.6)
    nave = box(width, depth, height).at(z=height / 2)
    end = extrude([[-width / 2, 0], [width / 2, 0], [0, rise]], depth * 0.99).turned(x=90).at(z=height)
    roof = gable(width, depth, rise).at(z=height)
    tw, th = u(0.36, 0.46), height + rise + u(0.3, 0.6)
    tower = box(tw, tw, th).at(0, -depth / 2 - tw / 2 + 0.1, th / 2)
    spire = lathe([[tw * 0.75, 0], [0.0, u(0.6, 1.0)]], 4).turned(z=45).at(0, -depth / 2 - tw / 2 + 0.1, th)
    top = spire.vertices[:, 2].max()
    y = -depth / 2 - tw / 2 + 0.1
    cross = join([box(0.03, 0.03, 0.26).at(0, y, top + 0.1), box(0.15, 0.03, 0.03).at(0, y, top + 0.15)])
    window = join([box(0.02, 0.14, 0.26), cylinder(0.07, 0.02, sides=16).sideways().at(z=0.13)])
    windows = join(
        [
            window.at(width / 2, yy, height * 0.55)
            for yy in np.linspace(-depth * 0.3, depth * 0.4, int(rng.integers(3, 5)))
        ]
    ).both("x")
    clock = cylinder(0.1, 0.04, sides=20).turned(x=90).at(0, y - tw / 2, th * 0.8)
    door = join(
        [
            box(0.2, 0.04, 0.28).at(0, y - tw / 2, 0.14),
            cylinder(0.1, 0.04, sides=20).turned(x=90).at(0, y - tw / 2, 0.28),
        ]
    )
    return [
        ("wall", join([nave, end, tower])),
        ("roof", join([roof, spire])),
        ("cross", join([cross, clock])),
        ("glass", windows),
        ("door", door),
    ]


BUILDINGS: tuple[Recipe, ...] = (
    recipe(
        house,
        wall="concrete:pale,tan,white|brick|wood",
        roof="brick:red,brown,dark|stone:dark",
        door="wood|plastic:bright",
        window="glass:blue|plastic:dark",
        trim="wood:white,pale|plastic:white",
        chimney="brick",
    ),
    recipe(office_tower, wall="concrete|metal", glass="glass:blue,dark|plastic:dark,blue", roof="concrete|metal"),
    recipe(
        lighthouse,
        white="concrete:white",
        stripe="concrete:red,blue,black",
        roof="metal:red,dark",
        lamp="glass:yellow,white",
        rock="stone",
    ),
    recipe(
        windmill,
        tower="brick|concrete:white|wood",
        cap="wood:dark|metal:dark",
        arm="wood",
        sail="fabric:white,pale",
        window="glass:dark|plastic:black",
    ),
    recipe(castle, wall="stone:grey,tan", roof="brick:red,blue|stone:dark", gate="wood", flag="fabric:bright"),
    recipe(pagoda, wall="wood:red,pale", roof="stone:dark,green|brick:green", post="wood:red|metal:gold", base="stone"),
    recipe(
        church,
        wall="stone:pale,tan|concrete:white|brick",
        roof="stone:dark|brick:red",
        cross="metal:gold,dark",
        glass="glass:blue|plastic:dark,blue",
        door="wood",
    ),
)
