"""What the animals are made of."""

from __future__ import annotations

import numpy as np

from sim.geometry import Solid
from sim.outlines import Points, spline
from sim.solids import (
    ball,
    tube,
)


def limb(points: Points, thick: list[float], sides: int = 10) -> Solid:
    """A leg, neck or tail: a smooth tube through `points`, `thick` (one radius per point) at them."""
    path = spline(points, 4)
    knots = np.linspace(0, 1, len(thick))
    return tube(path, np.interp(np.linspace(0, 1, len(path)), knots, thick), sides)


def eyes(x: float, y: float, z: float, size: float) -> Solid:
    return ball(size, 10).at(x, y, z).both("x")
