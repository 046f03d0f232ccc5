"""The hand-written classes in the catalogue's order."""

from __future__ import annotations

import itertools

from sim.families.adventure import ADVENTURE
from sim.families.appliances import APPLIANCES
from sim.families.buildings import BUILDINGS
from sim.families.clothes import CLOTHES
from sim.families.craft import CRAFT
from sim.families.creatures import CREATURES
from sim.families.fruit import FRUIT
from sim.families.furniture import FURNITURE
from sim.families.household import HOUSEHOLD
from sim.families.instruments import INSTRUMENTS
from sim.families.mammals import MAMMALS
from sim.families.meals import MEALS
from sim.families.plants import PLANTS
from sim.families.recipe import Recipe
from sim.families.rolling import ROLLING
from sim.families.seats import SEATS
from sim.families.sports import SPORTS
from sim.families.street import STREET
from sim.families.sweets import SWEETS
from sim.families.tools import TOOLS
from sim.families.toys import TOYS
from sim.families.utensils import UTENSILS
from sim.families.vehicles import VEHICLES
from sim.families.vessels import VESSELS
from sim.families.worn import WORN

FAMILIES = (
    SEATS, VESSELS, VEHICLES, MAMMALS, PLANTS, TOOLS, INSTRUMENTS, BUILDINGS, FRUIT, CLOTHES, HOUSEHOLD, SPORTS,
    FURNITURE, CRAFT, CREATURES, UTENSILS, STREET, MEALS, WORN, APPLIANCES, TOYS, SWEETS, ADVENTURE, ROLLING,
)  # fmt: skip

# A small catalogue takes the first n classes: these differ from each other as much as everyday things can.
FIRST = (
    "chair", "mug", "car", "fish", "broadleaf_tree", "airplane", "guitar", "house", "hammer", "scissors", "bicycle",
    "mushroom", "umbrella", "cactus", "sailboat", "key", "dog", "banana", "ladder", "desk_lamp", "teapot", "butterfly",
    "hat", "table",
)  # fmt: skip


def handmade() -> tuple[Recipe, ...]:
    """The first classes, then one of each family in turn."""
    every = {recipe.name: recipe for family in FAMILIES for recipe in family}
    turns = [recipe.name for row in itertools.zip_longest(*FAMILIES) for recipe in row if recipe is not None]
    order = [*FIRST, *(name for name in turns if name not in FIRST)]
    return tuple(every[name] for name in order)
