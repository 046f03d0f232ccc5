"""Which image is for training, validation or test: seeded, independent of the order in which a disk lists
files.

Two kinds of split. A *stratified* one deals out the images of every class; this is what published numbers
rest on. A *grouped* one keeps everything that belongs together (photos of one leaf, one lesion, one patient)
on one side, because a model that has seen the patient is not tested on that patient.
"""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def name_key(name: str) -> str:
    """Sort key of a relative path: composed Unicode, so that file systems that decompose names agree with
    the others."""
    return unicodedata.normalize("NFC", name)


def stratified_split(labels: np.ndarray, *, fraction: float, seed: int) -> np.ndarray:
    """First-part mask (N,) bool: of each class of n images int(fraction * n), at least one, drawn without
    replacement.

    Args:
        labels: (N,) integers, in the order of the sorted names.
        fraction: share of the first part. int(0.7 * 700) is 489 in floating point, and the published sizes
            rest on it.
        seed: class c is shuffled by `default_rng([seed, c])`, so that one class never moves another's split.

    Source: reference "made 70/30" (Task2Sim's transfer_broad recipe). Deviations: 1. sorted names instead of
    the listing's order; 2. one stream per class instead of one for all.
    """
    first = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, int(label)]).permutation(members)
        first[order[: max(1, int(fraction * len(members)))]] = True
    return first


def grouped_parts(labels: np.ndarray, groups: np.ndarray, *, shares: Sequence[float], seed: int) -> np.ndarray:
    """Part number (N,) of every image; no group lies in two parts, and each part gets about its share of
    each class.

    Groups are dealt out greedily, large ones first (equal sizes in random order), each to the part where the
    squared relative class deviations grow least. The idea is scikit-learn's StratifiedGroupKFold, with
    unequal shares.
    """
    classes, class_index = np.unique(labels, return_inverse=True)
    names, group_index = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group_index, class_index), 1)
    totals = counts.sum(axis=0)  # (C,)
    target = np.asarray(shares, dtype=np.float64)[:, None] / sum(shares)  # (P, 1)
    have = np.zeros((len(shares), len(classes)))  # share of each class dealt so far
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_of_group = np.zeros(len(names), dtype=np.int64)
    for group in order:
        more = counts[group] / totals
        # How full each part would be, relative to what it should hold: an empty part is served first.
        cost = ((((have + more) / target) ** 2 - (have / target) ** 2) * target).sum(axis=1)
        part = int(np.argmin(cost))
        have[part] += more
        part_of_group[group] = part
    parts: np.ndarray = part_of_group[group_index]
    return parts


def cross_validation_folds(
    labels: np.ndarray, *, folds: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Fold number (N,): stratified, and grouped if groups are given.

    Raises:
        ValueError: fewer than two images in every class, so that no fold has both training and held-out
            images.
    """
    if groups is not None:
        return grouped_parts(labels, groups, shares=[1.0] * folds, seed=seed)
    fold = np.zeros(len(labels), dtype=np.int64)
    dealt = 0  # go on dealing where the last class stopped, so that small classes do not all land in fold 0
    for label in np.unique(labels):
        members = np.random.default_rng([seed, int(label), folds]).permutation(np.flatnonzero(labels == label))
        fold[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    if len(np.unique(fold)) < 2:
        raise ValueError(f"{len(labels)} training images are too few for {folds}-fold cross-validation")
    return fold


def validation_mask(labels: np.ndarray, *, fraction: float, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """The validation part (N,) bool that is carved out of a training split; grouped if groups are given."""
    if groups is not None:
        in_second: np.ndarray = grouped_parts(labels, groups, shares=[1 - fraction, fraction], seed=seed) == 1
        return in_second
    return ~stratified_split(labels, fraction=1 - fraction, seed=seed)


@dataclass(frozen=True)
class IndexRow:
    """One line of an index file."""

    split: str
    """train | val | test"""
    label: int
    class_name: str
    name: str
    """Relative path, or whatever names the image inside its data set."""


def format_index(rows: Sequence[IndexRow]) -> str:
    """The index file's text: CSV with a header, one line per image, `\\n` line ends.

    A byte of a file's name that is no UTF-8 (Python reads it as a lone surrogate) is written as `\\udcXX`, so that the
    text can be stored; reading it leaves that name so.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["split", "label", "class", "name"])
    writer.writerows([row.split, row.label, row.class_name, row.name] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def parse_index(text: str) -> list[IndexRow]:
    """The inverse of `format_index`.

    Raises:
        ValueError: another header, or a row that is not split, label, class, name.
    """
    reader = csv.reader(io.StringIO(text))
    if next(reader, None) != ["split", "label", "class", "name"]:
        raise ValueError("not an index file: its first line must be split,label,class,name")
    rows = []
    for row in reader:
        if len(row) != 4 or row[0] not in ("train", "val", "test") or not row[1].isdecimal():
            raise ValueError(
                f"index file, line {reader.line_num}: expected split,label,class,name, found {','.join(row)}"
            )
        rows.append(IndexRow(row[0], int(row[1]), row[2], row[3]))
    return rows


def index_digest(text: str) -> str:
    """sha256 of the index text, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
