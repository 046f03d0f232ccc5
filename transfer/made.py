"""Two small tasks that are made on the spot, so that the demo needs no download; they are named as made wherever shown.

`make_line_drawings`: pen drawings of procedural models that no rendering has shown (another catalogue seed).
`make_textures`: twelve kinds of procedural surface patterns in random colours, scales and orientations.
Both write `train/<class>/*.png`, `test/<class>/*.png` and `made.json`, and are equal for equal seeds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfer.drawing import Outline, draw_model, trace_model
from transfer.patterns import PATTERNS, paint_pattern

LINE_DRAWING_SEED = 1009
"""Catalogue seed of the drawn models. Rendering's default is 7: same kinds of things, none of the same models."""
LINE_DRAWING_CLASSES = (
    "bed",
    "chair",
    "desk_lamp",
    "frying_pan",
    "ladder",
    "mug",
    "stool",
    "table",
    "teapot",
    "vase",
    "watering_can",
    "wine_glass",
)
Progress = Callable[[int, int, str], None]


def make_line_drawings(
    out: Path,
    *,
    seed: int = 0,
    classes: Sequence[str] = LINE_DRAWING_CLASSES,
    train_per_class: int = 30,
    test_per_class: int = 20,
    models_per_class: int = 10,
    size: int = 64,
    catalogue_seed: int = LINE_DRAWING_SEED,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Feature edges and silhouettes of models, seen from a random side, in a slightly unsteady hand.

    Models of train and test differ too: the first 60 % of a class's models are drawn for train, the rest for test.

    Args:
        out: the folder to make; an existing one must hold the same drawings.
        seed: of views and strokes; image i of class c draws from `default_rng([seed, c, i])`.
        models_per_class: 2 at least.

    Raises:
        ValueError: unknown class, fewer than two models, or `out` holds something else.
    """
    from sim.shapes import build_mesh

    if models_per_class < 2:
        raise ValueError(f"models_per_class {models_per_class}: train and test need different models, at least 2")
    for_train = max(1, int(0.6 * models_per_class))
    outlines: dict[tuple[str, int], Outline] = {}

    def draw(class_name: str, split: str, number: int, rng: np.random.Generator) -> np.ndarray:
        model = number % for_train if split == "train" else for_train + number % (models_per_class - for_train)
        if (class_name, model) not in outlines:
            mesh = build_mesh(catalogue_seed, class_name, model)
            outlines[class_name, model] = trace_model(mesh.vertices, mesh.faces)
        return draw_model(outlines[class_name, model], rng, size=size)

    about = {
        "task": "made: line drawings of procedural models",
        "seed": seed,
        "catalogue_seed": catalogue_seed,
        "classes": list(classes),
        "train_per_class": train_per_class,
        "test_per_class": test_per_class,
        "models_per_class": models_per_class,
        "size": size,
    }
    return _write_folder(out, about, draw, progress)


def make_textures(
    out: Path,
    *,
    seed: int = 0,
    train_per_class: int = 30,
    test_per_class: int = 20,
    size: int = 64,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Twelve kinds of pattern; colour, scale, direction and light say nothing about the kind.

    Args:
        out: the folder to make; an existing one must hold the same textures.
        seed: image i of class c draws from `default_rng([seed, c, i])`.
    """

    def paint(class_name: str, split: str, number: int, rng: np.random.Generator) -> np.ndarray:
        return paint_pattern(class_name, rng, size=size)

    about = {
        "task": "made: procedural textures",
        "seed": seed,
        "classes": sorted(PATTERNS),
        "train_per_class": train_per_class,
        "test_per_class": test_per_class,
        "size": size,
    }
    return _write_folder(out, about, paint, progress)


def _write_folder(
    out: Path,
    about: Mapping[str, Any],
    make: Callable[[str, str, int, np.random.Generator], np.ndarray],
    progress: Progress | None,
) -> dict[str, Any]:
    if out.exists():
        marker = out / "made.json"
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else None
        if found != about:
            raise ValueError(f"{out} exists and does not hold these images ({about['task']}); choose another folder")
        return dict(about)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    per_class = about["train_per_class"] + about["test_per_class"]
    total, done = len(about["classes"]) * per_class, 0
    for label, class_name in enumerate(about["classes"]):
        for index in range(per_class):
            split = "train" if index < about["train_per_class"] else "test"
            number = index if split == "train" else index - about["train_per_class"]
            pixels = make(class_name, split, number, np.random.default_rng([about["seed"], label, index]))
            path = partial / split / class_name / f"{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            done += 1
            if progress is not None and done % 20 == 0:
                progress(done, total, str(about["task"]))
    (partial / "made.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    partial.rename(out)
    return dict(about)
