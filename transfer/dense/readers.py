"""Dense data sets as users have them on disk: a folder in, `DenseData` out.

Layouts (`datasets.md` 2.3): rendered rooms (`rooms.py`); NYUv2 with a list file (`nyuv2.py`) or as mtan's arrays;
CityScapes as mtan's arrays (`arrays.py`); Tiny-Taskonomy with a list file (`taskonomy.py`) or as its download leaves it
(`buildings.py`).
"""

from __future__ import annotations

from pathlib import Path

from transfer.dense.arrays import read_cityscapes
from transfer.dense.config import MultitaskConfig
from transfer.dense.data import DenseData
from transfer.dense.nyuv2 import read_nyuv2
from transfer.dense.rooms import read_rooms
from transfer.dense.taskonomy import read_taskonomy


def read_dense(config: MultitaskConfig, data: Path) -> DenseData:
    """The data set of a configuration.

    Raises:
        FileNotFoundError: no such folder, or a file that belongs to the data set is not there.
        ValueError: a layout that is not the configuration's, or labels that it lacks.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data} is no folder")
    if config.layout == "rooms":
        found = read_rooms(data, config.tasks)
    elif config.layout == "nyuv2":
        found = read_nyuv2(data, validation=config.validation, list_file=config.list_file)
    elif config.layout == "cityscapes":
        found = read_cityscapes(data, classes=config.cityscapes_classes, validation=config.validation)
    else:
        found = read_taskonomy(data, validation=config.validation, list_file=config.list_file)
    absent = [task for task in config.tasks if task not in found.labelled]
    if absent:
        raise ValueError(f"{data} has no labels for {', '.join(absent)}; it has {', '.join(found.labelled)}")
    return found
