"""Wheels of all kinds, their axis along x."""

from __future__ import annotations

from sim.geometry import Parts, Solid, join
from sim.solids import (
    bar,
    cylinder,
    lathe,
    torus,
)


def tyre(radius: float, width: float) -> Solid:
    """Tyre with its axis along x."""
    inner = radius * 0.62
    profile = [[inner, -width / 2], [radius * 0.93, -width / 2], [radius, -width * 0.3], [radius, width * 0.3]]
    return lathe([*profile, [radius * 0.93, width / 2], [inner, width / 2]], 24).sideways()


def hub(radius: float, width: float) -> Solid:
    """What fills the tyre of the same size."""
    inner = radius * 0.64
    return lathe(
        [
            [0, -width / 2],
            [inner * 0.3, -0.52 * width],
            [inner, -0.42 * width],
            [inner, 0.42 * width],
            [inner * 0.3, 0.52 * width],
            [0, width / 2],
        ],
        16,
    ).sideways()


def wheels(radius: float, width: float, track: float, places: list[float]) -> Parts:
    """Pairs of wheels at x = +- track / 2 and the given places along y, standing on z = 0."""
    rubber = join([tyre(radius, width).at(track / 2, y, radius) for y in places])
    metal = join([hub(radius, width).at(track / 2, y, radius) for y in places])
    return [("tyre", rubber.both("x")), ("hub", metal.both("x"))]


def spoked_wheel(radius: float, thick: float, spokes: int, sides: int = 28) -> tuple[Solid, Solid]:
    """Tyre and spokes of a thin wheel with its axis along x, centred on the origin."""
    rim = torus(radius, thick, sides=sides, section=6).sideways()
    rods = bar([0, 0, 0], [radius, 0, 0], thick * 0.25, sides=5).ring(spokes)
    return rim, join([rods, cylinder(radius * 0.09, radius * 0.24, sides=12)]).sideways()
