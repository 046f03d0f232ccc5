"""What a class of procedural models is: a function from a random stream to parts, and what its slots are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim.geometry import Parts

Rng = np.random.Generator


@dataclass(frozen=True)
class Recipe:
    """One class.

    `slots` maps each material slot to the kinds that it may naturally have, for example
    `{"seat": "wood|plastic:red,blue", "leg": "metal"}`; see `sim.materials.natural_material`.
    """

    name: str
    build: Callable[[Rng], Parts]
    slots: dict[str, str]


def recipe(build: Callable[[Rng], Parts], **slots: str) -> Recipe:
    """A class named as its function, the slots given by keyword."""
    return Recipe(build.__name__, build, slots)
