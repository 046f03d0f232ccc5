"""Taskonomy's folders as its download leaves them: which pictures belong together, and which buildings to which part.

<building>/<domain>/<view>.png, <domain>/<building>/<view>.png, or <domain>/taskonomy/<building>/<view>.png, with files
named point_<p>_view_<v>_domain_<d>.png: the same point and view are the same scene, whatever <d> is called.

Parts are made of whole buildings, because the views of one show the same rooms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfer.dense.listfile import Entry

IMAGES = "rgb"
DOMAINS = (
    ("segment_semantic",),
    ("normal",),
    ("depth_zbuffer", "depth_euclidean"),
    ("keypoints2d",),
    ("edge_texture",),
)
"""Folders of the tasks in the order of `taskonomy.TASKS`; of several the first that is there."""
GAPS = 0.05
"""Share of a building's views that may lack a label: the published files have about 0.05 %, a broken download more."""
TEST_SHARE = 1 / 7
"""Of the buildings, as in the published split."""
PUBLISHED_SPLIT = {
    "train": (
        "allensville", "beechwood", "benevolence", "coffeen", "cosmos", "forkland", "hanson", "hiteman", "klickitat",
        "lakeville", "leonardo", "lindenwood", "marstons", "merom", "mifflinburg", "newfields", "onaga", "pinesdale",
        "pomaria", "ranchester", "shelbyville", "stockman", "tolstoy", "wainscott", "woodbine",
    ),
    "val": ("collierville", "corozal", "darden", "markleeville", "wiconisco"),
    "test": ("ihlen", "mcdade", "muleshoe", "noxapater", "uvalda"),
}  # fmt: skip
"""Taskonomy's tiny split; the download leaves out woodbine."""

Folders = dict[str, dict[str, Path]]
"""building -> domain -> folder."""


def find_folders(root: Path) -> Folders:
    """The domains of every building; empty if there is none."""
    known = {IMAGES, *(name for names in DOMAINS for name in names)}
    found: Folders = {}
    for top in _subfolders(root):
        if top.name in known:
            for folder in _subfolders(top / "taskonomy" if (top / "taskonomy").is_dir() else top):
                found.setdefault(folder.name, {})[top.name] = folder
        else:
            for folder in _subfolders(top):
                if folder.name in known:
                    found.setdefault(top.name, {})[folder.name] = folder
    return dict(sorted(found.items()))


def list_scenes(root: Path, folders: Folders) -> dict[str, list[Entry]]:
    """The scenes of every building: paths from `root` of the image and its labels, none where a view has no such label.

    Raises:
        FileNotFoundError: a building without pictures, without a domain that others have, or with many gaps in one.
    """
    everywhere = {domain for domains in folders.values() for domain in domains}
    columns = [next((name for name in names if name in everywhere), None) for names in DOMAINS]
    scenes: dict[str, list[Entry]] = {}
    for building, domains in folders.items():
        files = {name: _views(domains.get(name)) for name in (IMAGES, *columns) if name is not None}
        images = files[IMAGES]
        if not images:
            raise FileNotFoundError(f"{root}: building {building} has no pictures in {IMAGES}")
        for name, found in files.items():
            lacking = sorted(images.keys() - found.keys())
            if len(lacking) > GAPS * len(images):
                raise FileNotFoundError(
                    f"{root}: {len(lacking)} of {len(images)} pictures of building {building} have no {name}, among "
                    f"them {lacking[0]}; download it again, or remove the building"
                )
        chosen = [None if name is None else files[name] for name in columns]
        scenes[building] = [
            tuple(
                None if found is None or view not in found else found[view].relative_to(root).as_posix()
                for found in (images, *chosen)
            )
            for view in sorted(images)
        ]
    return scenes


def split_buildings(buildings: Sequence[str], validation: float) -> dict[str, tuple[str, ...]]:
    """The published split if it has all of these buildings and some in every part, else a seeded one.

    Args:
        validation: share of the buildings that are not for testing; published 5 of 30.

    Raises:
        ValueError: fewer than three buildings.
    """
    published = {part: tuple(b for b in buildings if b in names) for part, names in PUBLISHED_SPLIT.items()}
    if all(published.values()) and sum(map(len, published.values())) == len(buildings):
        return published
    if len(buildings) < 3:
        raise ValueError(
            f"{len(buildings)} buildings ({', '.join(buildings)}); allowed: 3 or more, to train, validate and test"
        )
    test = max(1, round(TEST_SHARE * len(buildings)))
    val = min(len(buildings) - test - 1, max(1, round(validation * (len(buildings) - test))))
    order = np.random.default_rng([0, 3]).permutation(len(buildings))
    parts = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
    return {part: tuple(sorted(buildings[i] for i in rows)) for part, rows in parts.items()}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _views(folder: Path | None) -> dict[str, Path]:
    """Pictures of a folder by point and view."""
    return {} if folder is None else {path.stem.partition("_domain_")[0]: path for path in folder.glob("*.png")}
