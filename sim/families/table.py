"""The hand-written classes in the catalogue's order."""

from __future__ import annotations

from sim.families.animals import ANIMALS
from sim.families.buildings import BUILDINGS
from sim.families.food import FOOD
from sim.families.furniture import FURNITURE
from sim.families.instruments import INSTRUMENTS
from sim.families.plants import PLANTS
from sim.families.recipe import Recipe
from sim.families.tools import TOOLS
from sim.families.vehicles import VEHICLES
from sim.families.vessels import VESSELS

HANDMADE: tuple[Recipe, ...] = (
    FURNITURE + VESSELS + VEHICLES + ANIMALS + PLANTS + TOOLS + INSTRUMENTS + BUILDINGS + FOOD
)
