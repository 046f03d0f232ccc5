"""Composed classes: part graphs that differ by structure, for more classes than everyday life has names for.

A class is a graph: a trunk of one to four segments stacked along z, a foot, and up to three groups of attachments
(each repeated by a symmetry, and possibly carrying something at its tips). The graph is drawn from a stream of the
class's own number, so it is the same in every catalogue; a model draws proportions, and sometimes counts, around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.families.recipe import Recipe, Rng
from sim.geometry import Parts, Solid, join, loft
from sim.outlines import Array, ellipse, gear, in_space, lobes, rectangle, spline, star
from sim.solids import ball, bar, box, cylinder, extrude, frame, lathe, leaf, superellipsoid, torus, tube

COMPOSED_SEED = 237
SPREAD = 0.25  # models differ from their class by up to this part of every length

SEGMENTS = ("vase", "ball", "prism", "star", "disc", "cone", "bulge", "cage", "twist", "brick", "ringed", "petal")
FEET = ("none", "disc", "legs", "box", "arch", "spike")
ATTACHMENTS = ("arm", "fin", "stalk", "hoop", "blade", "peg", "hook", "panel")
TIPS = ("none", "ball", "cube", "cone", "ring", "star")
KINDS = (
    "plastic:bright", "metal", "wood", "ceramic", "stone", "glass:blue,green,white", "fabric", "metal:gold,copper",
    "leather", "concrete", "rubber", "plastic:white,dark",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Attachments of one kind: `count` of them about the trunk at `height` (0 bottom, 1 top)."""

    kind: str
    tip: str
    count: int
    height: float
    length: float
    tilt_deg: float
    slot: str


@dataclass(frozen=True)
class PartGraph:
    """The structure of one class; calling it with a stream makes a model."""

    segments: tuple[tuple[str, float, float], ...]
    """(kind, radius, height) from the bottom up."""
    sides: int
    foot: str
    groups: tuple[Group, ...]

    def __call__(self, rng: Rng) -> Parts:
        def vary(value: float) -> float:
            return value * float(rng.uniform(1 - SPREAD, 1 + SPREAD))

        parts: Parts = []
        z, levels = 0.0, [(0.0, self.segments[0][1])]
        for index, (kind, radius, height) in enumerate(self.segments):
            radius, height = vary(radius), vary(height)
            part = segment(kind, radius, height, self.sides, rng).at(z=z)
            parts.append(("trim" if index % 2 else "body", part))
            levels.append((z + height / 2, radius))
            z += height * 0.97
        levels.append((z, levels[-1][1]))
        for group in self.groups:
            place = group.height * z
            heights, radii = np.array(levels).T
            radius = float(np.interp(place, heights, radii))
            count = group.count if group.count < 4 else max(3, group.count + int(rng.integers(-1, 2)))
            one = attachment(group, vary(group.length), radius * 0.75, rng)
            parts.append((group.slot, one.ring(count, 90.0 if count == 2 else 20.0).at(z=place)))
        parts.append(("limb", foot(self.foot, vary(self.segments[0][1]), vary(0.3))))
        if not {"trim"} & {name for name, _ in parts}:
            parts.append(("trim", torus(levels[1][1] * 1.02, 0.03, 24, 6).at(z=levels[1][0])))
        return parts


def segment(kind: str, radius: float, height: float, sides: int, rng: Rng) -> Solid:
    """One piece of trunk from z = 0 to about z = height; a disc hovers, like a saucer, above 0.35 of the height."""
    u = rng.uniform
    middle = height / 2
    if kind == "vase":
        return lathe(
            spline(
                [
                    [radius * 0.6, 0],
                    [radius, 0.3 * height],
                    [radius * u(0.3, 0.55), 0.75 * height],
                    [radius * 0.7, height],
                ],
                4,
            )
        )
    if kind == "ball":
        return superellipsoid(radius, radius, middle, upright=u(0.8, 1.1)).at(z=middle)
    if kind == "prism":
        return extrude(ellipse(radius, sides=sides), height, bevel=0.06 * height).at(z=middle)
    if kind == "star":
        return extrude(star(sides, radius * 1.15, radius * u(0.45, 0.6)), height).at(z=middle)
    if kind == "disc":
        return lathe(
            [
                [radius * 1.25, 0.35 * height],
                [radius * 1.4, middle],
                [radius * 1.25, 0.65 * height],
                [0.2 * radius, height],
            ]
        )
    if kind == "cone":
        return lathe([[radius, 0], [radius * u(0.1, 0.35), height]], sides)
    if kind == "bulge":
        return lathe(
            spline(
                [
                    [radius * 0.4, 0],
                    [radius, 0.25 * height],
                    [radius * 0.5, middle],
                    [radius, 0.75 * height],
                    [radius * 0.4, height],
                ],
                4,
            )
        )
    if kind == "cage":
        rods = bar([radius * 0.8, 0, 0], [radius * 0.8, 0, height], 0.07 * radius, sides=6).ring(sides + 2)
        rims = join([torus(radius * 0.8, 0.09 * radius, 24, 6).at(z=level) for level in (0.0, middle, height)])
        return join([rods, rims])
    if kind == "twist":
        return _layered(rectangle(radius * 1.5, radius * 1.5), height).twisted(u(70, 120))
    if kind == "brick":
        return box(radius * u(1.6, 2.2), radius * u(1.0, 1.4), height, bevel=0.04 * radius).at(z=middle)
    if kind == "ringed":
        rings = join([torus(radius * 0.8, radius * 0.22, 24, 8).at(z=height * level) for level in (0.2, 0.5, 0.8)])
        return join([cylinder(radius * 0.75, height).at(z=middle), rings])
    return extrude(lobes(sides, radius, 0.22), height, bevel=0.08 * height).tapered(u(0.6, 0.9)).at(z=middle)


def _layered(outline: Array, height: float) -> Solid:
    """A prism with many levels, so that it can be twisted."""
    levels = np.linspace(0, height, 9)
    return loft(np.stack([np.column_stack([outline, np.full(len(outline), z)]) for z in levels]))


def attachment(group: Group, length: float, start: float, rng: Rng) -> Solid:
    """One attachment along +x from radius `start`, tilted upwards by the group's angle, with its tip."""
    thick = length * float(rng.uniform(0.07, 0.11))
    end = np.array([length, 0.0, 0.0])
    if group.kind == "arm":
        path = spline(
            [[0, 0, 0], [0.45 * length, 0, 0.12 * length], [0.8 * length, 0, 0], [length, 0, 0.35 * length]], 4
        )
        solid, end = tube(path, np.linspace(1.2 * thick, 0.6 * thick, len(path))), path[-1]
    elif group.kind == "fin":
        outline = [
            [-0.1 * length, -0.3 * length],
            [0.35 * length, -0.25 * length],
            [length, 0.25 * length],
            [0.2 * length, 0.35 * length],
            [-0.1 * length, 0.3 * length],
        ]
        solid = extrude(outline, 0.7 * thick).turned(x=90)
        end = np.array([length, 0, 0.25 * length])
    elif group.kind == "stalk":
        solid = bar([-0.1 * length, 0, 0], end, 0.5 * thick)
    elif group.kind == "hoop":
        solid = tube(in_space(ellipse(0.5 * length, 0.4 * length, 20), "xz"), 0.6 * thick, 6, closed=True).at(
            0.45 * length
        )
        end = np.array([0.95 * length, 0, 0])
    elif group.kind == "blade":
        solid = leaf(1.1 * length, 0.45 * length, 0.2, 0.1, 0.3 * thick)
        end = np.array([1.0 * length, 0, -0.1 * length])
    elif group.kind == "peg":
        solid = lathe(
            [
                [1.3 * thick, -0.1 * length],
                [1.3 * thick, 0.5 * length],
                [2.0 * thick, 0.55 * length],
                [2.0 * thick, 0.7 * length],
            ],
            12,
        ).turned(y=90)
        end = np.array([0.7 * length, 0, 0])
    elif group.kind == "hook":
        path = spline(
            [
                [0, 0, 0],
                [0.6 * length, 0, 0],
                [length, 0, -0.2 * length],
                [0.85 * length, 0, -0.6 * length],
                [0.55 * length, 0, -0.5 * length],
            ],
            4,
        )
        solid, end = tube(path, np.linspace(1.1 * thick, 0.7 * thick, len(path))), path[-1]
    else:  # panel
        solid = frame(0.7 * length, 0.8 * length, 0.14 * length, thick).turned(x=90).at(0.35 * length)
        end = np.array([0.7 * length, 0, 0])
    return join([solid, *tip(group.tip, 0.2 * length, end)]).turned(y=-group.tilt_deg).at(x=start)


def tip(kind: str, size: float, end: Array) -> list[Solid]:
    """What an attachment carries at its end."""
    if kind == "none":
        return []
    solid = {
        "ball": lambda: ball(size, 14),
        "cube": lambda: box(1.6 * size, 1.6 * size, 1.6 * size, bevel=0.15 * size),
        "cone": lambda: lathe([[size, -0.2 * size], [0.05 * size, 2.2 * size]], 12).turned(y=90),
        "ring": lambda: torus(size, 0.3 * size, 18, 6).turned(x=90),
        "star": lambda: extrude(star(5, 1.4 * size, 0.6 * size), 0.5 * size).turned(x=90),
    }[kind]()
    return [solid.at(*(float(value) for value in end))]


def foot(kind: str, radius: float, height: float) -> Solid:
    """What the trunk stands on, below z = 0."""
    if kind == "disc":
        return lathe([[1.5 * radius, -0.3 * height], [1.5 * radius, -0.15 * height], [0.5 * radius, 0.05]])
    if kind == "legs":
        return bar([0.5 * radius, 0, 0.05], [1.3 * radius, 0, -height], 0.12 * radius, 0.08 * radius).ring(
            3 if radius < 0.3 else 4, 30
        )
    if kind == "box":
        return box(2.2 * radius, 2.2 * radius, 0.5 * height, bevel=0.05 * height).at(z=-0.2 * height)
    if kind == "arch":
        path = spline(
            [
                [-1.3 * radius, 0, -height],
                [-0.9 * radius, 0, -0.2 * height],
                [0, 0, 0.02],
                [0.9 * radius, 0, -0.2 * height],
                [1.3 * radius, 0, -height],
            ],
            4,
        )
        return tube(path, 0.16 * radius).ring(2)
    if kind == "spike":
        return lathe([[0.02, -1.6 * height], [0.45 * radius, 0.05]], 16)
    return extrude(gear(9, 0.9 * radius, 0.75 * radius), 0.08).at(z=-0.02)


def draw_graph(number: int) -> tuple[PartGraph, dict[str, str]]:
    """Structure and natural materials of composed class `number`."""
    rng = np.random.default_rng([COMPOSED_SEED, number])
    u = rng.uniform
    count = int(rng.integers(1, 5))
    first = number % len(SEGMENTS)  # neighbours begin differently whatever is drawn
    kinds = [SEGMENTS[first], *(str(rng.choice(SEGMENTS)) for _ in range(count - 1))]
    segments = tuple((kind, float(u(0.18, 0.42)), float(u(0.5, 1.1) / count**0.6)) for kind in kinds)
    groups = []
    for index in range(int(rng.integers(1, 4)) if count < 4 else 1):
        groups.append(
            Group(
                kind=ATTACHMENTS[(number + 3 * index + number // len(ATTACHMENTS)) % len(ATTACHMENTS)],
                tip=str(rng.choice(TIPS)),
                count=int(rng.choice([2, 2, 3, 4, 5, 6])),
                height=float(u(0.1, 0.95)),
                length=float(u(0.3, 0.75)),
                tilt_deg=float(u(-35, 75)),
                slot="limb" if index != 1 else "trim",
            )
        )
    graph = PartGraph(segments, int(rng.integers(4, 9)), FEET[(number // 2) % len(FEET)], tuple(groups))
    chosen = rng.permutation(len(KINDS))[:6]
    slots = {
        slot: f"{KINDS[chosen[2 * i]]}|{KINDS[chosen[2 * i + 1]]}" for i, slot in enumerate(("body", "trim", "limb"))
    }
    return graph, slots


def composed_classes(count: int) -> tuple[Recipe, ...]:
    """The first `count` composed classes, `composed_000` and on."""
    return tuple(Recipe(f"composed_{number:03d}", *draw_graph(number)) for number in range(count))
