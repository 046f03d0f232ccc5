"""Learning rate, batch size and weight decay per task, as published with Task2Sim (reference task2sim.md, section
3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Trained = Literal["head", "all"]


@dataclass(frozen=True)
class Recipe:
    """What the reference varies from task to task."""

    learning_rate: float
    batch_size: int
    weight_decay: float


DEFAULT = Recipe(0.01, 128, 0.0)
"""The most frequent one of the 40; for tasks that are not among the 20."""

# task: linear probe, full fine-tuning
RECIPES: dict[str, tuple[Recipe, Recipe]] = {
    "AID": (Recipe(0.01, 128, 1e-5), Recipe(0.01, 128, 0.0)),
    "CUB": (Recipe(0.01, 32, 0.0), Recipe(0.01, 128, 1e-5)),
    "CactusAerial": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 1e-5)),
    "ChestX": (Recipe(0.001, 128, 0.0), Recipe(0.001, 128, 1e-5)),
    "ChestXPneumonia": (Recipe(0.01, 128, 0.0), Recipe(0.001, 32, 0.0)),
    "CropDisease": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 0.0)),
    "DTD": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 0.0)),
    "DeepWeeds": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 0.0)),
    "EuroSAT": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 1e-5)),
    "FMD": (Recipe(0.01, 32, 1e-5), Recipe(0.001, 32, 1e-5)),
    "Flowers102": (Recipe(0.01, 32, 0.0), Recipe(0.01, 128, 0.0)),
    "ISIC": (Recipe(0.01, 128, 0.0), Recipe(0.001, 32, 0.0)),
    "Kaokore": (Recipe(0.001, 128, 0.0), Recipe(0.001, 128, 0.0)),
    "Omniglot": (Recipe(0.01, 32, 1e-5), Recipe(0.1, 128, 1e-5)),
    "PACS-C": (Recipe(0.001, 32, 0.0), Recipe(0.01, 128, 0.0)),
    "PACS-S": (Recipe(0.01, 128, 1e-5), Recipe(0.01, 128, 0.0)),
    "Resisc45": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 0.0)),
    "SVHN": (Recipe(0.01, 128, 0.0), Recipe(0.01, 128, 0.0)),
    "Sketch": (Recipe(0.01, 32, 1e-5), Recipe(0.01, 128, 0.0)),
    "USPS": (Recipe(0.01, 32, 1e-5), Recipe(0.01, 32, 0.0)),
}


def recipe_for(task: str, trained: Trained) -> Recipe:
    """The published recipe of a task, also for its variants (NAME:VARIANT), else `DEFAULT`."""
    linear, full = RECIPES.get(task.partition(":")[0], (DEFAULT, DEFAULT))
    return linear if trained == "head" else full
