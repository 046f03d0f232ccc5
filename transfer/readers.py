"""One reader per named set: what lies under ROOT/NAME -> Task."""

from __future__ import annotations

from collections.abc import Callable

from transfer import readers_arrays, readers_lists, readers_trees
from transfer.data import Task
from transfer.layouts import Request

READERS: dict[str, Callable[[Request], Task]] = {
    "CropDisease": readers_trees.read_crop_disease,
    "Flowers102": readers_lists.read_flowers,
    "DeepWeeds": readers_lists.read_deepweeds,
    "CUB": readers_lists.read_cub,
    "EuroSAT": readers_trees.read_eurosat,
    "Resisc45": readers_trees.read_resisc45,
    "AID": readers_trees.read_aid,
    "CactusAerial": readers_trees.read_cactus,
    "Omniglot": readers_trees.read_omniglot,
    "SVHN": readers_arrays.read_svhn,
    "USPS": readers_arrays.read_usps,
    "ISIC": readers_lists.read_isic,
    "ChestX": readers_lists.read_chestx,
    "ChestXPneumonia": readers_trees.read_pneumonia,
    "Kaokore": readers_lists.read_kaokore,
    "Sketch": readers_trees.read_sketch,
    "PACS-C": readers_arrays.read_pacs,
    "PACS-S": readers_arrays.read_pacs,
    "DTD": readers_trees.read_dtd,
    "FMD": readers_trees.read_fmd,
}
