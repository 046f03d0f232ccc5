"""Vessels and kitchen ware: mostly turned on a lathe, with handles, spouts and lids."""

from __future__ import annotations

import numpy as np

from sim.families.recipe import Recipe, Rng, recipe
from sim.geometry import Parts, Solid, join
from sim.outlines import Array, Points, in_space, spline
from sim.solids import ball, bar, cylinder, lathe, torus, tube


def hollow(outside: Points, wall: float, floor: float | None = None) -> Array:
    """Lathe profile of a vessel: up `outside` (radius, z), and back down inside at distance `wall`."""
    outer = np.asarray(outside, dtype=np.float64)
    base = outer[0, 1] + (wall if floor is None else floor)
    inner = outer[::-1] - [wall, 0.0]
    inner = inner[inner[:, 1] > base]
    last = [max(inner[-1, 0], 0.001), base]
    return np.concatenate([[[0.0, outer[0, 1]]], outer, inner, [last, [0.0, base]]])


def ear(top: float, bottom: float, start: float, out: float, thick: float) -> Solid:
    """A handle in the xz plane on the +x side, from height `bottom` to `top` at radius `start`."""
    middle = (top + bottom) / 2
    path = [
        [start, top],
        [start + out * 0.8, top - 0.02],
        [start + out, middle],
        [start + out * 0.7, bottom + 0.02],
        [start, bottom],
    ]
    return tube(in_space(spline(path, 4), "xz"), thick, sides=8)


def mug(rng: Rng) -> Parts:
    u = rng.uniform
    height, low, high = u(0.75, 1.15), u(0.32, 0.45), u(0.36, 0.5)
    side = spline([[low * 0.9, 0], [low, 0.05], [(low + high) / 2 * u(0.94, 1.12), 0.5 * height], [high, height]], 4)
    body = lathe(hollow(side, 0.035), 32)
    handle = ear(height * u(0.78, 0.88), height * u(0.15, 0.3), (low + high) / 2 - 0.03, u(0.2, 0.32), u(0.035, 0.06))
    return [("body", body), ("handle", handle)]


def teapot(rng: Rng) -> Parts:
    u = rng.uniform
    belly, height = u(0.42, 0.55), u(0.5, 0.75)
    side = spline(
        [
            [belly * 0.6, 0],
            [belly * 0.95, 0.22 * height],
            [belly, 0.5 * height],
            [belly * 0.8, 0.85 * height],
            [belly * 0.5, height],
        ],
        4,
    )
    body = lathe(np.concatenate([[[0, 0]], side, [[0, height]]]), 32)
    rim = belly * 0.5
    lid = lathe(spline([[rim, height - 0.01], [rim * 0.8, height + 0.07], [rim * 0.25, height + 0.11]], 4), 28)
    knob = ball(u(0.04, 0.07), 14).at(z=height + 0.14)
    reach = u(0.3, 0.42)
    spout_path = spline(
        [
            [belly * 0.8, 0.3 * height],
            [belly + reach * 0.4, 0.45 * height],
            [belly + reach * 0.75, 0.8 * height],
            [belly + reach, height * u(0.95, 1.1)],
        ],
        5,
    )
    spout = tube(in_space(spout_path, "xz"), np.linspace(0.11, 0.045, len(spout_path)), sides=12)
    if rng.random() < 0.65:
        handle = ear(height * 0.85, height * 0.25, belly * 0.8, u(0.28, 0.4), 0.04).mirrored("x")
    else:
        arch = spline(
            [
                [-belly * 0.6, height * 0.85],
                [-belly * 0.6, height * 1.4],
                [0, height * u(1.6, 1.9)],
                [belly * 0.6, height * 1.4],
                [belly * 0.6, height * 0.85],
            ],
            4,
        )
        handle = tube(in_space(arch, "xz"), 0.03)
    return [("body", body), ("body", spout), ("lid", lid), ("lid", knob), ("handle", handle)]


def vase(rng: Rng) -> Parts:
    u = rng.uniform
    foot, belly, neck, lip = u(0.12, 0.22), u(0.22, 0.4), u(0.07, 0.16), u(0.12, 0.26)
    at = u(0.25, 0.6)
    side = spline([[foot, 0], [belly, at], [neck, u(0.75, 0.88)], [lip, 1.0]], 8)
    parts: Parts = [("body", lathe(hollow(side, 0.02), 36))]
    bands = torus(neck + 0.012, u(0.012, 0.025), section=8).at(z=float(np.interp(neck, [0, 1], [0.8, 0.84])))
    parts.append(("band", bands))
    return parts


def bottle(rng: Rng) -> Parts:
    u = rng.uniform
    radius, body_z, neck, height = u(0.12, 0.19), u(0.5, 0.66), u(0.04, 0.06), 1.0
    shoulder = u(0.08, 0.2)
    side = np.concatenate(
        [
            [[radius * 0.92, 0], [radius, 0.02], [radius, body_z]],
            spline([[radius, body_z], [radius * 0.8, body_z + shoulder * 0.6], [neck, body_z + shoulder]], 4)[1:],
            [[neck, height - 0.08], [neck * 1.25, height - 0.07], [neck * 1.25, height - 0.02]],
        ]
    )
    body = lathe(np.concatenate([[[0, 0]], side, [[0, height - 0.02]]]))
    label = lathe([[radius + 0.004, body_z * u(0.2, 0.35)], [radius + 0.004, body_z * u(0.7, 0.9)]], 28)
    cap = cylinder(neck * u(1.0, 1.35), u(0.05, 0.09), sides=20).at(z=height)
    return [("body", body), ("label", label), ("cap", cap)]


def bowl(rng: Rng) -> Parts:
    u = rng.uniform
    radius, height = 0.5, u(0.25, 0.45)
    foot = u(0.18, 0.28)
    side = spline([[foot, 0], [foot, 0.05], [radius * u(0.75, 0.9), height * 0.5], [radius, height]], 5)
    ring = torus(radius - 0.01, u(0.012, 0.025), section=8).at(z=height)
    return [("body", lathe(hollow(side, 0.025, 0.06), 36)), ("rim", ring)]


def wine_glass(rng: Rng) -> Parts:
    u = rng.uniform
    bowl_r, stem, bowl_h, mouth = u(0.17, 0.28), u(0.3, 0.45), u(0.3, 0.5), u(0.7, 0.95)
    side = spline(
        [
            [0.02, stem],
            [bowl_r * 0.75, stem + 0.15 * bowl_h],
            [bowl_r, stem + 0.45 * bowl_h],
            [bowl_r * mouth, stem + bowl_h],
        ],
        5,
    )
    body = lathe(hollow(side, 0.012, 0.02), 32)
    foot = lathe(
        [
            [0, 0],
            [u(0.16, 0.22), 0],
            [0.1, 0.02],
            [0.022, 0.06],
            [0.016, stem * 0.6],
            [0.025, stem],
            [0, stem + 0.01],
        ]
    )
    return [("bowl", body), ("stem", foot)]


def cooking_pot(rng: Rng) -> Parts:
    u = rng.uniform
    radius, height = u(0.38, 0.5), u(0.32, 0.6)
    body = lathe(hollow([[radius * 0.94, 0], [radius, 0.05], [radius, height]], 0.02), 36)
    lid = lathe(
        [
            [0, height + 0.005],
            [radius * 1.02, height + 0.005],
            [radius * 0.98, height + 0.03],
            [radius * 0.4, height + u(0.06, 0.12)],
            [0, height + 0.1],
        ],
        36,
    )
    knob = lathe([[0, 0], [0.03, 0], [0.03, 0.03], [0.07, 0.06], [0.05, 0.09], [0, 0.09]], 16).at(z=height + 0.08)
    if rng.random() < 0.6:
        loop = tube(
            spline(
                [
                    [radius - 0.01, -0.1, 0],
                    [radius + 0.1, -0.08, 0],
                    [radius + 0.1, 0.08, 0],
                    [radius - 0.01, 0.1, 0],
                ],
                3,
            ),
            0.02,
        )
        grips = loop.at(z=height * 0.75).both("x")
    else:
        grips = bar([radius - 0.01, 0, height * 0.8], [radius + u(0.5, 0.7), 0, height * 0.9], 0.03, 0.036)
    return [("body", body), ("lid", join([lid])), ("handle", knob), ("handle", grips)]


def frying_pan(rng: Rng) -> Parts:
    u = rng.uniform
    radius, height, long = 0.45, u(0.08, 0.16), u(0.55, 0.8)
    body = lathe(hollow([[radius * u(0.75, 0.88), 0], [radius, height]], 0.02, 0.02), 36)
    path = spline(
        [[radius - 0.02, height * 0.7], [radius + 0.1, height * 1.1], [radius + long, height * u(1.2, 2.2)]],
        5,
    )
    handle = tube(in_space(path, "xz"), np.interp(np.linspace(0, 1, len(path)), [0, 0.3, 1], [0.022, 0.03, 0.04]))
    return [("body", body), ("handle", handle)]


def jug(rng: Rng) -> Parts:
    u = rng.uniform
    low, belly, neck, height = u(0.2, 0.28), u(0.28, 0.4), u(0.16, 0.22), 1.0
    side = spline([[low, 0], [belly, 0.35], [neck, 0.78], [neck * 1.25, height]], 6)
    body = lathe(hollow(side, 0.02), 36)

    def lip(v: Array) -> Array:
        pull = np.clip((v[:, 2] - 0.8) / 0.2, 0, 1) ** 2 * np.clip(-v[:, 0] / neck, 0, 2) ** 3
        return v + np.stack([-0.1 * pull, 0 * pull, 0.05 * pull], axis=1)

    handle = ear(0.92, u(0.3, 0.4), neck * 1.1, u(0.22, 0.34), u(0.03, 0.045))
    return [("body", body.warped(lip)), ("handle", handle)]


def bucket(rng: Rng) -> Parts:
    u = rng.uniform
    low, high, height = u(0.24, 0.34), u(0.38, 0.46), u(0.6, 0.8)
    body = lathe(
        hollow([[low, 0], [high, height], [high + 0.03, height], [high + 0.03, height + 0.03]], 0.05, 0.03),
        32,
    )
    angle = u(-50, 80)
    arch = spline(
        [
            [-high - 0.02, 0, 0],
            [-high * 0.8, 0, high * 0.7],
            [0, 0, high * 1.05],
            [high * 0.8, 0, high * 0.7],
            [high + 0.02, 0, 0],
        ],
        5,
    )
    grip = bar([-0.1, 0, high * 1.04], [0.1, 0, high * 1.04], 0.028)
    return [
        ("body", body),
        ("handle", tube(arch, 0.012).turned(x=angle).at(z=height)),
        ("grip", grip.turned(x=angle).at(z=height)),
    ]


def watering_can(rng: Rng) -> Parts:
    u = rng.uniform
    radius, height = u(0.28, 0.36), u(0.45, 0.6)
    body = lathe(hollow([[radius, 0], [radius, height], [radius * 0.7, height + 0.06]], 0.03), 28)
    reach, top = u(0.5, 0.7), height * u(1.05, 1.35)
    spout = tube([[radius * 0.8, 0, 0.1], [radius + reach, 0, top]], np.array([0.07, 0.035]), 12)
    rose = cylinder(0.035, 0.09, 0.11, sides=18).turned(y=55).at(radius + reach + 0.02, 0, top + 0.02)
    arch = in_space(
        spline(
            [
                [-radius * 0.98, 0.15],
                [-radius - 0.25, height * 0.7],
                [-radius * 0.6, height * 1.45],
                [radius * 0.5, height + 0.08],
            ],
            5,
        ),
        "xz",
    )
    return [("body", body), ("body", spout), ("rose", rose), ("handle", tube(arch, 0.025))]


def kettle(rng: Rng) -> Parts:
    u = rng.uniform
    radius, height = u(0.36, 0.45), u(0.5, 0.7)
    side = spline([[radius, 0], [radius * 1.02, 0.15], [radius * 0.8, 0.7 * height], [radius * 0.4, height]], 4)
    body = lathe(np.concatenate([[[0, 0]], side, [[0, height]]]), 32)
    knob = join([cylinder(radius * 0.42, 0.03).at(z=height + 0.01), ball(0.05, 12).at(z=height + 0.07)])
    spout = tube(
        [[radius * 0.6, 0, height * 0.5], [radius + 0.22, 0, height * u(0.85, 1.0)]],
        np.array([0.09, 0.035]),
        12,
    )
    arch = spline(
        [
            [-radius * 0.6, height * 0.75],
            [-radius * 0.75, height * 1.4],
            [0, height * u(1.65, 1.9)],
            [radius * 0.75, height * 1.4],
            [radius * 0.6, height * 0.75],
        ],
        4,
    )
    grip = in_space(arch[6:11], "xz")
    return [
        ("body", body),
        ("body", spout),
        ("handle", knob),
        ("wire", tube(in_space(arch, "xz"), 0.016)),
        ("handle", tube(grip, 0.035)),
    ]


def barrel(rng: Rng) -> Parts:
    u = rng.uniform
    end, belly, height = u(0.26, 0.34), u(0.36, 0.46), u(0.85, 1.1)
    side = spline(
        [
            [end, 0],
            [belly * 0.95, height * 0.3],
            [belly, height / 2],
            [belly * 0.95, height * 0.7],
            [end, height],
        ],
        5,
    )
    lid = end - 0.02
    body = lathe(np.concatenate([[[0, 0.03], [lid, 0.03]], side, [[lid, height - 0.03], [0, height - 0.03]]]), 24)
    hoops = []
    for part in (0.08, u(0.25, 0.35), u(0.65, 0.75), 0.92):
        radius = float(np.interp(part * height, side[:, 1], side[:, 0]))
        hoops.append(cylinder(radius + 0.012, 0.05, sides=24).at(z=part * height))
    return [("body", body), ("hoop", join(hoops))]


def candle_stick(rng: Rng) -> Parts:
    u = rng.uniform
    base, stem = u(0.2, 0.3), u(0.3, 0.6)
    profile = spline(
        [
            [base, 0],
            [base * 0.9, 0.04],
            [0.05, 0.1],
            [u(0.04, 0.1), 0.1 + stem / 2],
            [0.04, 0.08 + stem],
            [u(0.1, 0.16), 0.12 + stem],
        ],
        5,
    )
    stick = lathe(np.concatenate([[[0, 0]], profile, [[0, 0.12 + stem]]]))
    tall = u(0.25, 0.6)
    candle = cylinder(0.06, tall, 0.055).at(z=0.12 + stem + tall / 2)
    flame = lathe([[0, 0], [0.028, 0.03], [0.02, 0.08], [0, 0.15]], 12).at(z=0.14 + stem + tall)
    return [("stick", stick), ("candle", candle), ("flame", flame)]


VESSELS: tuple[Recipe, ...] = (
    recipe(mug, body="ceramic|ceramic|plastic|metal", handle="ceramic|plastic"),
    recipe(teapot, body="ceramic|ceramic|metal", lid="ceramic|metal", handle="ceramic|wood|metal"),
    recipe(vase, body="ceramic|glass|metal|stone", band="ceramic|metal:gold"),
    recipe(bottle, body="glass:green,brown,white|plastic", label="paper", cap="metal|plastic|wood:cork"),
    recipe(bowl, body="ceramic|wood|metal|plastic", rim="ceramic|wood|metal"),
    recipe(wine_glass, bowl="glass:white", stem="glass:white,green"),
    recipe(cooking_pot, body="metal", lid="metal|glass:white", handle="plastic:black|metal|wood"),
    recipe(frying_pan, body="metal:dark|metal", handle="plastic:black|wood"),
    recipe(jug, body="ceramic|glass:white,blue|metal", handle="ceramic|metal"),
    recipe(bucket, body="plastic|metal", handle="metal", grip="wood|plastic"),
    recipe(watering_can, body="metal|plastic", rose="metal|metal:brass", handle="metal|plastic"),
    recipe(kettle, body="metal|metal:red,blue", handle="plastic:black|wood", wire="metal"),
    recipe(barrel, body="wood", hoop="metal:dark"),
    recipe(candle_stick, stick="metal:brass|metal|ceramic|wood", candle="wax", flame="fire"),
)
