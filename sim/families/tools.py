"""Tools of the workshop; they stand or lie facing -y."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import ellipse, gear, in_space, rectangle, spline
from sim.solids import (
    bar,
    box,
    cylinder,
    extrude,
    lathe,
    plate_with_hole,
    torus,
    tube,
)


def grip(length: float, radius: float, belly: float = 1.25) -> Solid:
    """A turned handle from z = 0 down to -length."""
    profile = [
        [0, 0],
        [radius * 0.8, 0],
        [radius * 0.75, -0.15 * length],
        [radius * belly, -0.55 * length],
        [radius * 0.95, -0.85 * length],
        [radius * belly, -0.97 * length],
        [0, -length],
    ]
    return lathe(np.array(profile), 16)


def hammer(rng: Rng) -> Parts:
    u = rng.uniform
    long, head, thick = u(0.8, 1.1), u(0.14, 0.2), u(0.05, 0.075)
    handle = tube(
        [[0, 0, 0], [0, 0, -0.3 * long], [0, 0, -0.75 * long], [0, 0, -long]], np.array([0.03, 0.027, 0.042, 0.036]), 10
    )
    face = lathe(
        [
            [0, -head],
            [thick, -head],
            [thick, -head * 0.75],
            [thick * 0.7, -head * 0.6],
            [thick * 0.75, 0.02],
            [0, 0.02],
        ],
        18,
    ).sideways()
    eye = box(0.11, 0.1, 0.12, bevel=0.02)
    if rng.random() < 0.65:
        claw = tube(
            in_space(spline([[0.02, 0], [0.12, 0.01], [0.2, -0.04], [0.26, -u(0.1, 0.16)]], 4), "xz"),
            np.linspace(0.038, 0.012, 13),
            8,
        )
        back = claw.turned(z=9).both("y")
    else:
        back = extrude([[0, -0.05], [u(0.2, 0.26), -0.008], [u(0.2, 0.26), 0.008], [0, 0.05]], 0.09).turned(
            x=rng.choice([0, 90])
        )
    wrap = grip(long * 0.4, 0.036, 1.1).at(z=-long * 0.6)
    return [("handle", handle), ("head", join([face, eye, back])), ("grip", wrap)]


def key(rng: Rng) -> Parts:
    u = rng.uniform
    long, radius = u(0.6, 0.8), 0.035
    shaft = bar([0, 0, 0], [0, 0, -long], radius)
    collar = join([torus(0.045, 0.018, 18, 8).at(z=z) for z in (-0.05, -0.1)])
    style = rng.integers(3)
    if style == 0:
        bow = tube(in_space(ellipse(u(0.16, 0.22), u(0.13, 0.2), 28), "xz"), u(0.025, 0.045), 8, closed=True).at(z=0.18)
    elif style == 1:
        ring = tube(in_space(ellipse(0.095, sides=20), "xz"), 0.028, 8, closed=True)
        bow = join([ring.at(0, 0, 0.27), ring.at(-0.11, 0, 0.1), ring.at(0.11, 0, 0.1)])
    else:
        outer = ellipse(u(0.17, 0.22), u(0.15, 0.2), 24)
        bow = plate_with_hole(outer, np.add(ellipse(0.05, sides=24), [0, 0.08]), 0.045).turned(x=90).at(z=0.15)
    teeth = [
        box(u(0.1, 0.19), 0.04, 0.045).at(0.08, 0, -long + 0.03 + 0.075 * i) for i in range(int(rng.integers(2, 5)))
    ]
    bit = box(0.07, 0.035, 0.075 * len(teeth)).at(0.05, 0, -long + 0.03 + 0.0375 * (len(teeth) - 1))
    return [("metal", join([shaft, collar, bow])), ("bit", join([*teeth, bit]))]


def wrench(rng: Rng) -> Parts:
    u = rng.uniform
    long, jaw = u(0.75, 1.0), u(0.13, 0.18)
    angle = np.radians(np.linspace(62, 298, 20))
    opening = jaw * u(0.5, 0.6)
    head = np.concatenate(
        [
            np.stack([jaw * np.cos(angle), jaw * np.sin(angle)], axis=1),
            [[jaw * 0.42, -opening], [-jaw * 0.1, -opening * 0.9], [-jaw * 0.1, opening * 0.9], [jaw * 0.42, opening]],
        ]
    )
    jaws = extrude(head, 0.07, bevel=0.012).turned(z=15 + 90).at(0, long / 2, 0)
    stem = loft(
        np.stack(
            [
                np.column_stack([rectangle(w, 0.045, 0.015), np.full(16, z)])
                for w, z in (
                    (0.13, -long / 2 + 0.05),
                    (0.085, -long * 0.25),
                    (0.085, long * 0.25),
                    (0.14, long / 2 - 0.1),
                )
            ]
        )
    )
    outer = jaw * 0.85
    ring = plate_with_hole(ellipse(outer, sides=24), ellipse(outer * 0.55, sides=24), 0.075).at(
        0, -long / 2 - outer * 0.6
    )
    return [("metal", join([jaws, ring]).turned(x=90)), ("stem", stem)]


def screwdriver(rng: Rng) -> Parts:
    u = rng.uniform
    long, radius, flutes = u(0.45, 0.7), u(0.07, 0.1), int(rng.integers(5, 9))
    handle = lathe(
        [
            [0, 0],
            [radius * 0.5, 0],
            [radius * 0.55, 0.05],
            [radius, 0.12],
            [radius * 1.05, 0.36],
            [radius * 0.8, 0.44],
            [0, 0.46],
        ],
        6 * flutes,
    )
    angle = np.arctan2(handle.vertices[:, 1], handle.vertices[:, 0])
    wave = (1 + 0.09 * np.cos(flutes * angle))[:, None] * [[1, 1, 0]] + [[0, 0, 1]]
    collar = cylinder(radius * 0.62, 0.06, sides=20).at(z=-0.01)
    shaft = bar([0, 0, 0], [0, 0, -long], 0.028)
    tip = (
        box(0.085, 0.02, 0.1).at(z=-long - 0.02)
        if rng.random() < 0.5
        else lathe([[0, -0.1], [0.02, -0.08], [0.03, 0], [0, 0]], 4).at(z=-long)
    )
    return [("handle", handle.warped(lambda v: v * wave)), ("shaft", join([shaft, tip])), ("collar", collar)]


def saw(rng: Rng) -> Parts:
    u = rng.uniform
    long, low, high, count = u(1.0, 1.3), u(0.1, 0.16), u(0.22, 0.3), int(rng.integers(18, 30))
    x = np.linspace(0, long, 2 * count + 1)
    teeth = np.stack([x, 0.03 * (np.arange(2 * count + 1) % 2)], axis=1)
    top = [[long, low], [0, high]]
    blade = extrude(np.concatenate([teeth, top]), 0.012).turned(x=90)
    outer = rectangle(0.3, 0.34, 0.08, 4)
    hole = rectangle(0.13, 0.2, 0.06, 4)
    skew = np.array([[1, 0], [-0.25, 1]])
    handle = plate_with_hole(outer @ skew, hole @ skew, 0.06).turned(x=90).at(-0.1, 0, high / 2)
    screws = join([cylinder(0.02, 0.08, sides=10).turned(x=90).at(0.01, 0, z) for z in (0.07, high - 0.07)])
    return [("blade", blade), ("handle", handle), ("screw", screws)]


def axe(rng: Rng) -> Parts:
    u = rng.uniform
    long, edge = u(0.9, 1.2), u(0.24, 0.36)
    handle = tube(
        spline([[0, 0, 0.06], [0.01, 0, -0.3 * long], [-0.03, 0, -0.7 * long], [0.03, 0, -long]], 4),
        np.interp(np.linspace(0, 1, 13), [0, 0.5, 0.9, 1], [0.035, 0.03, 0.035, 0.045]),
        10,
    )
    flare = u(0.03, 0.14)
    outline = spline([[-0.08, -0.06], [0.08, -0.06], [0.2, -0.1 - flare / 2], [0.3, -edge / 2 - flare]], 3)
    blade_edge = spline([[0.3, -edge / 2 - flare], [0.36, -flare / 2], [0.3, edge / 2]], 4)
    top = spline([[0.3, edge / 2], [0.18, 0.08], [0.06, 0.06], [-0.08, 0.06]], 3)
    shape = np.concatenate([outline[:-1], blade_edge[:-1], top])
    wedge = extrude(shape, 0.09).warped(
        lambda v: (
            v * np.stack([np.ones(len(v)), np.ones(len(v)), np.clip(1 - (v[:, 0] - 0.05) / 0.31, 0.04, 1)], axis=1)
        )
    )
    parts: Parts = [("handle", handle), ("head", wedge.turned(x=90))]
    if rng.random() < 0.3:
        parts.append(("head", wedge.turned(x=90).mirrored("x")))
    return parts


def pliers(rng: Rng) -> Parts:
    u = rng.uniform
    jaw, spread = u(0.22, 0.4), u(4, 14)
    nose = extrude([[-0.005, 0], [0.09, 0], [0.08, jaw * 0.35], [u(0.025, 0.06), jaw], [0.0, jaw]], 0.07)
    path = spline([[0.02, 0.02], [-0.09, -0.12], [-0.12, -0.4], [-0.07, -u(0.6, 0.75)]], 5)
    handle = tube(in_space(path[4:], "xy"), 0.038, 8)
    arm = tube(in_space(path[:8], "xy"), 0.03, 8)
    pin = cylinder(0.075, 0.12, sides=18)
    metal, plastic = join([nose, arm]).turned(z=-spread), handle.turned(z=-spread)
    return [
        ("metal", join([metal, metal.turned(y=180), pin]).turned(x=90)),
        ("grip", join([plastic, plastic.turned(y=180)]).turned(x=90)),
    ]


def drill(rng: Rng) -> Parts:
    u = rng.uniform
    body = lathe([[0, -0.28], [0.13, -0.26], [u(0.14, 0.17), -0.1], [0.14, 0.15], [0.09, 0.26], [0, 0.26]], 22).turned(
        x=90
    )
    handle = box(0.12, 0.17, u(0.38, 0.5), bevel=0.04).turned(x=-12).at(0, 0.12, -0.26)
    battery = box(0.17, u(0.24, 0.32), 0.13, bevel=0.03).at(0, 0.1, -0.54)
    chuck = lathe([[0, 0], [0.085, 0], [0.085, 0.1], [0.04, 0.18], [0, 0.18]], 12).turned(x=90).at(0, -0.25, 0)
    bit = tube([[0, -0.42, 0], [0, -0.42 - u(0.2, 0.35), 0]], np.array([0.022, 0.018]), 6)
    trigger = box(0.05, 0.06, 0.12, bevel=0.02).at(0, 0.0, -0.16)
    return [("body", join([body, handle])), ("battery", join([battery, trigger])), ("chuck", join([chuck, bit]))]


def gearwheel(rng: Rng) -> Parts:
    u = rng.uniform
    teeth, inner = int(rng.integers(10, 19)), u(0.4, 0.44)
    rim = plate_with_hole(gear(teeth, 0.5, inner, u(0.25, 0.4)), ellipse(inner * 0.72, sides=4 * teeth), 0.16)
    hub = plate_with_hole(ellipse(0.14, sides=24), ellipse(0.07, sides=24), 0.26)
    spoke = box(inner * 0.68, 0.08, 0.1).at(inner * 0.44)
    return [("rim", rim.turned(x=75)), ("hub", join([hub, spoke.ring(int(rng.integers(3, 7)))]).turned(x=75))]


def nut_and_bolt(rng: Rng) -> Parts:
    u = rng.uniform
    radius, long, turns = u(0.1, 0.15), u(0.6, 0.8), 9
    head = extrude(ellipse(radius * 1.9, sides=6), radius * 1.1, bevel=0.02).at(z=long)
    z = np.linspace(0, long, 8 * turns + 1)
    core = cylinder(radius * 0.86, long, sides=18).at(z=long / 2)
    t = z / long * 2 * np.pi * turns
    helix = tube(
        np.stack([radius * 0.88 * np.cos(t), radius * 0.88 * np.sin(t), z], axis=1), 0.22 * long / turns * 1.1, 5
    )
    side = ellipse(radius * 1.9, sides=24)
    hexagon = np.array(
        [p * np.cos(np.pi / 6) / np.cos((np.arctan2(p[1], p[0]) % (np.pi / 3)) - np.pi / 6) for p in side]
    )
    nut = plate_with_hole(hexagon, ellipse(radius, sides=24), radius * 1.4).at(z=long * u(0.2, 0.5))
    return [("bolt", join([head, core, helix])), ("nut", nut)]


def anvil(rng: Rng) -> Parts:
    u = rng.uniform
    top = box(0.6, 0.26, 0.16, bevel=0.02).at(0.05, 0, 0.5)
    horn = lathe([[0.11, 0], [0.1, 0.1], [0.001, u(0.3, 0.42)]], 16).turned(y=-90).at(-0.24, 0, 0.5)
    waist = loft(
        np.stack(
            [
                np.column_stack([rectangle(w, d, 0.04), np.full(16, z)])
                for w, d, z in (
                    (0.6, 0.36, 0.0),
                    (0.58, 0.34, 0.1),
                    (0.3, 0.2, 0.2),
                    (0.28, 0.2, 0.32),
                    (0.45, 0.25, 0.44),
                )
            ]
        )
    )
    block = cylinder(u(0.36, 0.42), u(0.3, 0.5), sides=18)
    return [("iron", join([top, horn, waist])), ("block", block.at(z=-0.2))]


TOOLS: tuple[Recipe, ...] = (
    recipe(hammer, handle="wood|metal", head="metal", grip="wood|rubber|plastic:bright"),
    recipe(key, metal="metal:gold,brass,silver", bit="metal:gold,brass,silver"),
    recipe(wrench, metal="metal", stem="metal|plastic:red,blue"),
    recipe(screwdriver, handle="plastic:bright|wood", shaft="metal", collar="metal|plastic:black"),
    recipe(saw, blade="metal", handle="wood|plastic:bright", screw="metal:brass"),
    recipe(axe, handle="wood", head="metal|metal:red"),
    recipe(pliers, metal="metal", grip="plastic:red,blue,yellow|rubber"),
    recipe(drill, body="plastic:yellow,orange,blue,green", battery="plastic:black,dark", chuck="metal:dark"),
    recipe(gearwheel, rim="metal|plastic:bright", hub="metal:brass,dark|metal"),
    recipe(nut_and_bolt, bolt="metal", nut="metal|metal:brass"),
    recipe(anvil, iron="metal:dark,black", block="wood"),
)
