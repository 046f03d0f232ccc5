"""The hand-written classes in the catalogue's order."""

from __future__ import annotations

from sim.families.furniture import FURNITURE
from sim.families.recipe import Recipe
from sim.families.vessels import VESSELS

HANDMADE: tuple[Recipe, ...] = FURNITURE + VESSELS
