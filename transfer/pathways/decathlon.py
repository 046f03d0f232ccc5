"""Visual Decathlon: reader of its annotation files, the settings SpotTune used on it, and its score.

Layout, as the challenge distributes it, below ROOT/decathlon: annotations/<domain>_{train,val,test}.json (COCO style:
images with id and file_name, annotations with image_id and category_id, categories) and the images where file_name
says. Source: Rebuffi, Bilen, Vedaldi, NeurIPS 2017 (the benchmark); SpotTune (Guo et al., CVPR 2019), section 4.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data import FileSource, ImageSet, Task, image_set
from transfer.pathways.config import SpotTuneConfig

CLASSES = {
    "imagenet12": 1000,
    "aircraft": 100,
    "cifar100": 100,
    "daimlerpedcls": 2,
    "dtd": 47,
    "gtsrb": 43,
    "vgg-flowers": 102,
    "omniglot": 1623,
    "svhn": 10,
    "ucf101": 101,
}
"""Domains in the order of the published tables, and how many classes each has."""

BASELINE = dict(zip(CLASSES, (59.87, 60.34, 82.12, 92.82, 55.53, 97.53, 81.41, 87.69, 96.55, 51.20), strict=True))
"""Accuracy (percent) of the score's reference network; twice its error earns no points."""

_WEIGHT_DECAY = {
    "imagenet12": 1e-4,
    "aircraft": 5e-4,
    "cifar100": 0.0,
    "daimlerpedcls": 5e-4,
    "dtd": 0.0,
    "gtsrb": 0.0,
    "vgg-flowers": 1e-4,
    "omniglot": 5e-4,
    "svhn": 0.0,
    "ucf101": 5e-4,
}
VAL_IS_TEST = "the test labels are kept by the challenge's server: val is the test split, train alone is trained on"
"""Note of a task that was read from the files as they are distributed."""

_NO_RANDOM_CROP = ("gtsrb", "omniglot", "svhn", "daimlerpedcls")


def decathlon_points(domain: str, accuracy: float) -> float:
    """Points of one domain: 1000 ((Emax - E) / Emax)^2, E the error, Emax twice the baseline's; none beyond Emax.

    Args:
        accuracy: percent.
    """
    if domain not in BASELINE:
        raise ValueError(f"unknown domain {domain!r}; allowed: {', '.join(CLASSES)}")
    worst = 2 * (100 - BASELINE[domain])
    return float(1000 * (max(0.0, worst - (100 - accuracy)) / worst) ** 2)


def decathlon_score(accuracies: Mapping[str, float]) -> float:
    """The decathlon score of accuracies (percent) by domain: 2500 for the baseline, 10000 for perfection.

    Raises:
        ValueError: a domain is missing or unknown.
    """
    missing = [domain for domain in CLASSES if domain not in accuracies]
    if missing:
        raise ValueError(f"the decathlon score needs all ten domains; missing: {', '.join(missing)}")
    return sum(decathlon_points(domain, value) for domain, value in accuracies.items())


def load_domain(domain: str, *, root: Path) -> Task:
    """One domain as a `Task` below `root`/decathlon.

    Where the test file has labels, the task has train, val and test, and the stage selects on val and trains the final
    networks on train + val, as SpotTune did (`train_splits="train"` leaves val out). The distributed test files have
    none (the challenge's server keeps them): then val is the test split and train alone is for training, which is said
    in the task's notes.

    Raises:
        ValueError: unknown domain, or annotation files that contradict themselves.
        FileNotFoundError: an annotation file is missing.
    """
    if domain not in CLASSES:
        raise ValueError(f"unknown domain {domain!r}; allowed: {', '.join(CLASSES)}")
    folder = root / "decathlon" if (root / "decathlon").is_dir() else root
    train, categories = _read_split(folder, domain, "train", {})
    val, _ = _read_split(folder, domain, "val", categories)
    test, _ = _read_split(folder, domain, "test", categories)
    names = tuple(categories[identifier] for identifier in sorted(categories))
    assert train is not None
    if val is None:
        raise ValueError(f"{domain}_val.json has images without annotations")
    if len(names) != CLASSES[domain]:
        raise ValueError(f"{domain} has {CLASSES[domain]} classes, {domain}_train.json names {len(names)}")
    if test is None:
        return Task(f"decathlon:{domain}", names, train, val, notes=(VAL_IS_TEST,))
    return Task(f"decathlon:{domain}", names, train, test, val=val)


def _read_split(folder: Path, domain: str, split: str, known: dict[int, str]) -> tuple[ImageSet | None, dict[int, str]]:
    """Images of one annotation file (None if they have no labels) and the names of its categories by id.

    Args:
        known: the categories of the training file, which say what a label is; empty: the file's own.
    """
    path = folder / "annotations" / f"{domain}_{split}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the challenge's annotations below {folder}")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        labels = {int(row["image_id"]): int(row["category_id"]) for row in content.get("annotations", [])}
        categories = {int(row["id"]): str(row["name"]) for row in content.get("categories", [])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no annotation file: {type(error).__name__} {error}") from None
    for identifier, name in categories.items() if known else ():
        if known.get(identifier) != name:
            expected = repr(known[identifier]) if identifier in known else "nothing"
            raise ValueError(f"{path}: category {identifier} is {name!r}, in the training file {expected}")
    meant = known or categories
    first = min(meant, default=0)
    if not labels and split == "test":
        return None, categories
    unlabelled = [name for identifier, name in files.items() if identifier not in labels]
    if unlabelled:
        raise ValueError(f"{path}: {len(unlabelled)} images have no annotation, first {unlabelled[0]}")
    for name in files.values():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{path}: {name} points outside {folder}")
    ordered = tuple(files.values())
    numbers = np.array([labels[identifier] - first for identifier in files], dtype=np.int64)
    if meant and (numbers.min(initial=0) < 0 or numbers.max(initial=0) >= len(meant)):
        raise ValueError(f"{path}: category ids outside {first} .. {first + len(meant) - 1}")
    return image_set(ordered, numbers, FileSource(folder, ordered)), categories


def channel_statistics(domain: str, *, root: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel of a domain, from ROOT/decathlon/decathlon_mean_std.json.

    The challenge distributes them as a pickle, which this project never opens. Convert it once, where you trust it, to
    {"<domain>": {"mean": [r, g, b], "std": [r, g, b]}, ...}.

    Raises:
        FileNotFoundError: no such JSON.
        ValueError: no or bad entry for the domain.
    """
    folder = root / "decathlon" if (root / "decathlon").is_dir() else root
    path = folder / "decathlon_mean_std.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; convert decathlon_mean_std.pickle to JSON once: "
            '{"<domain>": {"mean": [r, g, b], "std": [r, g, b]}, ...}'
        )
    entry = json.loads(path.read_text(encoding="utf-8")).get(domain, {})
    mean, std = tuple(map(float, entry.get("mean", ()))), tuple(map(float, entry.get("std", ())))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"{path}: {domain} needs a mean and a positive std of three channels")
    return mean, std


def spottune_settings(domain: str, *, root: Path) -> SpotTuneConfig:
    """SpotTune's published settings of a domain: SGD 0.1, policy 0.01, 110 epochs, x0.1 at 40/60/80, batch 128, tau 5.

    Short side 72 pixels; random crops of 64 from the whole picture in training, the central square of 72 in evaluation
    (signs, characters and digits: in training too); pedestrians, higher than wide, are only resized; no flip. Use them
    with `random:decathlon_resnet26` or a network of that shape trained on imagenet12.
    """
    mean, std = channel_statistics(domain, root=root)
    whole = domain in _NO_RANDOM_CROP
    return SpotTuneConfig(
        size=72 if whole else 64,
        resize=72,
        evaluate_whole=True,
        uncut=domain == "daimlerpedcls",
        augment="none" if whole else "crop",
        crop_from="picture",
        channel_mean=(mean[0], mean[1], mean[2]),
        channel_std=(std[0], std[1], std[2]),
        epochs=110,
        milestones=(40 / 110, 60 / 110, 80 / 110),
        batch_size=128,
        learning_rates=(0.1,),
        weight_decay=_WEIGHT_DECAY[domain],
        policy_learning_rate=0.1,
        policy_weight_decay=1e-3,
        policy_shrink=1,
        policy_pretrained=False,
        policy_initial_tuned=0.5,
        tau=5.0,
    )
