"""Musical instruments and what makes sound."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, join
from sim.outlines import ellipse, in_space, spline, symmetric
from sim.solids import ball, bar, beam, box, cylinder, extrude, lathe, plate_with_hole, superellipsoid, torus, tube


def guitar(rng: Rng) -> Parts:
    u = rng.uniform
    low, waist, high, tall = u(0.24, 0.3), u(0.14, 0.19), u(0.18, 0.22), u(0.62, 0.72)
    electric = rng.random() < 0.35
    if electric:
        side = [
            [0, 0.0],
            [low * 0.8, 0.03],
            [low, 0.2],
            [waist, 0.36],
            [high * 1.05, 0.55],
            [high * 0.95, 0.66],
            [0.06, 0.54],
            [0, 0.54],
        ]
        depth = 0.06
    else:
        side = [[0, 0], [low * 0.75, 0.02], [low, 0.18], [waist, 0.4], [high, 0.56], [high * 0.5, tall], [0, tall]]
        depth = u(0.11, 0.15)
    body = extrude(symmetric(side, 4), depth, bevel=0.015).turned(x=90)
    front = -depth / 2
    neck_l = u(0.6, 0.75)
    top = 0.55 + neck_l
    neck = beam([0, front - 0.005, 0.45], [0, front - 0.005, top], 0.055, 0.04)
    head = (
        extrude(symmetric([[0, 0], [0.035, 0], [0.055, 0.05], [0.05, 0.19], [0, 0.2]]), 0.025)
        .turned(x=90 - 10)
        .at(0, front + 0.01, top)
    )
    frets = join([box(0.057, 0.008, 0.006).at(0, front - 0.03, z) for z in np.linspace(0.56, top - 0.02, 10)])
    pegs = join(
        [
            bar([0.04, front + 0.015, top + z], [0.09, front + 0.015, top + z], 0.012, sides=8)
            for z in (0.06, 0.11, 0.16)
        ]
    ).both("x")
    strings = join(
        [
            bar([x, front - 0.035, 0.17], [x, front - 0.035, top + 0.03], 0.0025, sides=4)
            for x in np.linspace(-0.02, 0.02, 6)
        ]
    )
    bridge = box(0.17, 0.02, 0.03).at(0, front - 0.01, 0.16)
    if electric:
        hole = join([box(0.13, 0.02, 0.035).at(0, front - 0.008, z) for z in (0.26, 0.36)])
    else:
        hole = cylinder(0.065, 0.006, sides=24).turned(x=90).at(0, front - 0.001, 0.4)
    return [
        ("body", body),
        ("neck", join([neck, head, bridge])),
        ("metal", join([frets, pegs, strings])),
        ("hole", hole),
    ]


def violin(rng: Rng) -> Parts:
    u = rng.uniform
    low, waist, high = u(0.19, 0.22), u(0.1, 0.125), u(0.15, 0.18)
    side = spline(
        [
            [0, 0],
            [low * 0.75, 0.01],
            [low, 0.14],
            [low * 0.8, 0.23],
            [waist, 0.33],
            [high * 0.85, 0.42],
            [high, 0.5],
            [high * 0.6, 0.6],
            [0, 0.62],
        ],
        4,
    )
    body = extrude(symmetric(side), 0.09, bevel=0.02).turned(x=90)
    neck = beam([0, -0.06, 0.3], [0, -0.075, 0.95], 0.04, 0.025)
    t = np.linspace(0, 2.2 * np.pi, 24)
    scroll = tube(
        np.stack([0 * t, -0.04 - 0.045 * (1 - t / 8) * np.sin(t), 1.05 + 0.05 * (1 - t / 8) * np.cos(t)], axis=1),
        0.02,
        8,
    )
    peg_box = beam([0, -0.07, 0.93], [0, -0.05, 1.08], 0.035, 0.04)
    pegs = join([bar([-0.06, -0.06, z], [0.06, -0.06, z], 0.01) for z in (0.98, 1.03)])
    tail = extrude(symmetric([[0, 0], [0.02, 0], [0.035, 0.2], [0, 0.2]]), 0.015).turned(x=90).at(0, -0.075, 0.02)
    bridge = box(0.08, 0.01, 0.05).at(0, -0.07, 0.27)
    rest = cylinder(0.07, 0.03, sides=16).turned(x=90).at(-0.08, -0.06, 0.03)
    bow_x = u(0.3, 0.4)
    bow = join(
        [
            tube(in_space(spline([[bow_x, 0], [bow_x - 0.03, 0.5], [bow_x, 1.0]], 5), "xz"), 0.012, 6),
            bar([bow_x + 0.02, 0, 0.02], [bow_x + 0.02, 0, 0.99], 0.006, sides=4),
            box(0.05, 0.03, 0.08).at(bow_x + 0.01, 0, 0.05),
        ]
    )
    return [
        ("body", body),
        ("body", join([scroll, peg_box])),
        ("black", join([neck, pegs, tail, bridge, rest])),
        ("bow", bow),
    ]


def drum(rng: Rng) -> Parts:
    u = rng.uniform
    radius, tall, rods = u(0.35, 0.5), u(0.35, 0.9), int(rng.integers(6, 11))
    shell = lathe([[radius, 0], [radius * u(0.85, 1.12), tall / 2], [radius, tall]], 36)
    skins = join([cylinder(radius * 0.98, 0.03, sides=36).at(z=z) for z in (0.0, tall)])
    hoops = join([torus(radius + 0.015, 0.022, 36, 8).at(z=z) for z in (0.01, tall - 0.01)])
    tension = bar([radius + 0.02, 0, 0.02], [radius + 0.02, 0, tall - 0.02], 0.012, sides=6).ring(rods)
    sticks = join(
        [bar([-0.25, s * 0.06 - 0.05, tall + 0.04], [0.45, s * 0.2 - 0.05, tall + 0.06], 0.016) for s in (-1, 1)]
    )
    return [("shell", shell), ("skin", skins), ("metal", join([hoops, tension])), ("stick", sticks)]


def trumpet(rng: Rng) -> Parts:
    u = rng.uniform
    flare = u(0.14, 0.19)
    bell = (
        lathe(
            np.concatenate(
                [
                    spline([[0.024, 0.5], [0.03, 0.2], [0.06, 0.05], [flare, -0.02]], 5),
                    [[flare * 0.95, -0.012], [0.045, 0.06], [0.0, 0.15]],
                ]
            ),
            24,
        )
        .turned(x=90)
        .at(0, -0.55, 0.1)
    )
    loop = spline(
        [
            [0, -0.05, 0.1],
            [0, 0.4, 0.1],
            [0, 0.52, 0.02],
            [0, 0.4, -0.06],
            [0, -0.2, -0.06],
            [0, -0.3, 0.02],
            [0, -0.2, 0.1],
            [0.05, 0.1, 0.1],
            [0.05, 0.75, 0.1],
        ],
        4,
    )
    pipe = tube(loop, 0.022, 8)
    cup = (
        lathe([[0.02, 0], [0.025, 0.03], [0.05, 0.07], [0.03, 0.065], [0, 0.03]], 14).turned(x=-90).at(0.05, 0.75, 0.1)
    )
    count = int(rng.integers(3, 5))
    places = [0.0 + 0.075 * i for i in range(count)]
    valves = join([cylinder(0.032, 0.28, sides=14).at(0.03, y, 0.02) for y in places])
    caps = join(
        [
            join(
                [
                    bar([0.03, y, 0.16], [0.03, y, 0.22], 0.01, sides=6),
                    cylinder(0.026, 0.012, sides=12).at(0.03, y, 0.22),
                ]
            )
            for y in places
        ]
    )
    return [("brass", join([bell, pipe])), ("valve", join([valves, cup])), ("cap", caps)]


def piano(rng: Rng) -> Parts:
    """Upright."""
    u = rng.uniform
    width, height = u(1.3, 1.5), u(1.0, 1.3)
    back = box(width, 0.3, height, bevel=0.02).at(0, 0.2, height / 2)
    key_z = height * 0.56
    bed = box(width, 0.34, 0.1).at(0, -0.08, key_z - 0.06)
    legs = box(0.08, 0.1, key_z - 0.06).at(width / 2 - 0.05, -0.18, (key_z - 0.06) / 2).both("x")
    cheeks = box(0.05, 0.34, 0.16).at(width / 2 - 0.02, -0.08, key_z).both("x")
    lid = box(width * 1.03, 0.34, 0.03).at(0, 0.19, height)
    count = 22
    key_w = (width - 0.12) / count
    white = join(
        [box(key_w * 0.9, 0.24, 0.04).at((i - (count - 1) / 2) * key_w, -0.11, key_z + 0.01) for i in range(count)]
    )
    black = join(
        [
            box(key_w * 0.5, 0.14, 0.04).at((i - (count - 1) / 2 + 0.5) * key_w, -0.06, key_z + 0.04)
            for i in range(count - 1)
            if i % 7 not in (2, 6)
        ]
    )
    stand = box(width * 0.5, 0.02, 0.2).turned(x=-15).at(0, 0.02, height * 0.78)
    pedals = join([box(0.05, 0.14, 0.02).at(x, -0.0, 0.06) for x in (-0.1, 0, 0.1)])
    return [
        ("case", join([back, bed, legs, cheeks, lid, stand])),
        ("white", white),
        ("black", black),
        ("pedal", pedals),
    ]


def bell(rng: Rng) -> Parts:
    u = rng.uniform
    mouth, shoulder = u(0.42, 0.52), u(0.2, 0.28)
    outer = spline(
        [
            [mouth, 0],
            [mouth * 0.8, 0.12],
            [shoulder * 1.15, 0.45],
            [shoulder, 0.7],
            [shoulder * 0.6, 0.8],
            [0.001, 0.83],
        ],
        4,
    )
    inner = outer[::-1] * [0.92, 0.94]
    body = lathe(np.concatenate([outer[::-1], inner[::-1]]), 32)
    clapper = join([bar([0, 0, 0.7], [0, 0, 0.05], 0.02), ball(0.08, 14).at(z=0.0)])
    band = torus(float(np.interp(0.3, outer[:, 1], outer[:, 0])), 0.016, 32, 6).at(z=0.3)
    if rng.random() < 0.5:
        handle = lathe([[0, 0.8], [0.05, 0.8], [0.035, 0.9], [0.065, 1.1], [0.05, u(1.25, 1.4)], [0, 1.3]], 14)
    else:
        handle = torus(0.1, 0.035, 20, 8).turned(x=90).at(z=0.93)
    return [("body", body), ("clapper", join([clapper, band])), ("handle", handle)]


def microphone(rng: Rng) -> Parts:
    u = rng.uniform
    wide = u(0.1, 0.13)
    head = superellipsoid(wide, wide, u(0.11, 0.16)).at(z=0.12)
    body = lathe([[0, -0.6], [0.045, -0.6], [0.05, -0.3], [0.085, -0.02], [0.085, 0.02], [0, 0.02]], 20)
    ring = torus(wide, 0.02, 24, 8).at(z=0.12)
    stand = bar([0, 0, -0.55], [0, 0, -1.5], 0.018)
    base = lathe([[0, -1.55], [u(0.25, 0.35), -1.55], [0.2, -1.5], [0, -1.48]], 24)
    return [("mesh", head), ("body", join([body])), ("ring", join([ring])), ("stand", join([stand, base]))]


def headphones(rng: Rng) -> Parts:
    u = rng.uniform
    wide, tall = u(0.36, 0.44), u(0.4, 0.5)
    arch = spline([[-wide, 0], [-wide * 0.95, tall * 0.55], [0, tall], [wide * 0.95, tall * 0.55], [wide, 0]], 6)
    band = tube(in_space(arch, "xz"), u(0.02, 0.04), 8)
    pad = tube(in_space(arch[7:18], "xz"), u(0.045, 0.06), 10)
    radius = u(0.16, 0.22)
    cup = (
        lathe([[0, 0], [radius, 0], [radius, 0.06], [radius * 0.7, 0.13], [0, 0.14]], 24)
        .turned(y=90)
        .at(wide - 0.02, 0, -0.05)
    )
    cushion = torus(radius * 0.8, 0.055, 24, 10).turned(y=90).at(wide - 0.05, 0, -0.05)
    return [("band", band), ("cup", cup.both("x")), ("cushion", join([pad, cushion.both("x")]))]


def gramophone(rng: Rng) -> Parts:
    u = rng.uniform
    case = box(0.6, 0.6, u(0.2, 0.32), bevel=0.02)
    plate = cylinder(0.26, 0.03, sides=32).at(z=0.16)
    flare, long = u(0.3, 0.42), u(0.45, 0.6)
    outer = spline([[0.04, 0], [0.07, long * 0.4], [0.16, long * 0.75], [flare, long]], 4)
    bell_part = lathe(np.concatenate([outer, outer[::-1] * [0.95, 1.0] + [0.0, 0.004], [[0, 0.02]]]), 24)
    tilt = u(50, 70)
    throat = np.array([0.0, 0.1, 0.62])
    elbow = throat + 0.12 * np.array([0, np.sin(np.radians(tilt)), -np.cos(np.radians(tilt))])
    neck = spline([[0.1, 0.2, 0.12], [0.12, 0.34, 0.3], elbow, throat], 5)
    horn = join([tube(neck, np.linspace(0.03, 0.042, len(neck)), 12), bell_part.turned(x=tilt).at(*throat)])
    crank = tube(np.array([[0.3, 0, 0], [0.42, 0, 0], [0.42, -0.12, 0.0], [0.5, -0.12, 0]]), 0.016)
    arm = join([bar([0.1, 0.2, 0.22], [0.02, -0.1, 0.2], 0.02), cylinder(0.05, 0.03, sides=12).at(0.02, -0.1, 0.195)])
    return [("case", case), ("record", plate), ("horn", horn), ("metal", join([crank, arm]))]


def flute(rng: Rng) -> Parts:
    u = rng.uniform
    radius = u(0.03, 0.045)
    pipe = cylinder(radius, 1.1, sides=16).sideways()
    rings = join([cylinder(radius * 1.25, 0.03, sides=16).sideways().at(x) for x in (-0.55, -0.25, 0.25, 0.55)])
    keys = join(
        [
            cylinder(radius * 0.62, 0.02, sides=12).at(x, 0, radius * 1.1)
            for x in np.linspace(-0.15, 0.48, int(rng.integers(7, 12)))
        ]
    )
    rod = bar([-0.2, radius, radius * 0.9], [0.5, radius, radius * 0.9], 0.008, sides=6)
    lip = plate_with_hole(ellipse(0.06, 0.035, 16), ellipse(0.018, 0.012, 16), 0.012).at(-0.42, 0, radius)
    return [("pipe", pipe), ("key", join([rings, keys, rod])), ("lip", lip)]


def xylophone(rng: Rng) -> Parts:
    u = rng.uniform
    count = int(rng.integers(7, 12))
    x = np.linspace(-0.5, 0.5, count)
    long = np.linspace(u(0.42, 0.5), u(0.22, 0.3), count)
    plates = [
        box(0.75 / count, size, 0.025, bevel=0.008).at(place, 0, 0.1) for place, size in zip(x, long, strict=True)
    ]
    rail = join([beam([-0.55, s * 0.16, 0.05], [0.55, s * 0.09, 0.05], 0.05, 0.05) for s in (-1, 1)])
    ends = join([box(0.05, 0.42, 0.07).at(-0.57, 0, 0.045), box(0.05, 0.26, 0.07).at(0.57, 0, 0.045)])
    stick = bar([0, 0, 0], [0.5, 0.1, 0.1], 0.012)
    mallet = join([stick, ball(0.04, 12)]).at(-0.1, -0.1, 0.17)
    return [
        ("low", join(plates[::2])),
        ("high", join(plates[1::2])),
        ("frame", join([rail, ends])),
        ("mallet", join([mallet, mallet.turned(z=25).at(0.1, 0.15)])),
    ]


INSTRUMENTS: tuple[Recipe, ...] = (
    recipe(guitar, body="wood|plastic:bright", neck="wood", metal="metal", hole="wood:dark|plastic:black"),
    recipe(violin, body="wood:brown", black="wood:black,dark", bow="wood"),
    recipe(drum, shell="wood|plastic:bright|metal:bright", skin="paper:pale,white", metal="metal", stick="wood"),
    recipe(trumpet, brass="metal:gold,brass", valve="metal:silver,brass", cap="ceramic:pale"),
    recipe(piano, case="wood|plastic:black", white="ceramic:white", black="plastic:black", pedal="metal:brass"),
    recipe(bell, body="metal:brass,gold,copper", clapper="metal:dark,brass", handle="wood|metal:brass"),
    recipe(microphone, mesh="metal", body="metal:dark|plastic:black", ring="metal:silver,gold", stand="metal"),
    recipe(
        headphones,
        band="plastic:black,white,bright|metal",
        cup="plastic:black,white,bright|metal",
        cushion="leather:dark|fabric:dark",
    ),
    recipe(gramophone, case="wood", record="plastic:black", horn="metal:brass,copper", metal="metal"),
    recipe(flute, pipe="metal:silver,gold|wood:dark", key="metal:silver,gold", lip="metal:silver"),
    recipe(xylophone, low="metal:bright|wood", high="metal:bright|wood", frame="wood", mallet="wood|plastic:bright"),
)
