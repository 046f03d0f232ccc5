"""Finding a set's files in the layouts that users really have; shared by the readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfer.catalogue import TaskRow
from transfer.data import (
    FileSource,
    ImageSet,
    Task,
    class_folders,
    image_files,
    image_set,
    labelled_folder,
    read_text,
)
from transfer.splits import grouped_parts, name_key, stratified_split


@dataclass(frozen=True)
class Request:
    """What a reader is asked for."""

    row: TaskRow
    folder: Path
    """ROOT/NAME"""
    split: str
    """published | grouped"""
    seed: int
    variant: str = ""
    """One of row.variants (Flowers102: 1020 or 2040); empty: the published one."""

    def __post_init__(self) -> None:
        if self.variant and self.variant not in self.row.variants:
            allowed = f"allowed: {', '.join(self.row.variants)}" if self.row.variants else "there is one version only"
            raise ValueError(f"task {self.row.name}: variant {self.variant}; {allowed}")

    def locate(self, *candidates: str, what: str) -> Path:
        """The first candidate (relative path, may hold wildcards) that exists.

        Raises:
            FileNotFoundError: none does; the message names them.
        """
        for candidate in candidates:
            found = sorted(self.folder.glob(candidate)) if candidate not in (".", "") else [self.folder]
            if found:
                return found[0]
        tried = ", ".join(candidates)
        raise FileNotFoundError(f"task {self.row.name}: no {what} in {self.folder} (looked for {tried})")

    def task(
        self, classes: Sequence[str], train: ImageSet, test: ImageSet, *, split: str, notes: Iterable[str] = ()
    ) -> Task:
        """A Task with this row's name and metrics."""
        return Task(
            self.row.name,
            tuple(classes),
            train,
            test,
            also_report=self.row.also_report,
            split=split,
            notes=tuple(notes),
        )


def made_split(
    request: Request, classes: Sequence[str], images: ImageSet, *, fraction: float = 0.7, notes: Iterable[str] = ()
) -> Task:
    """The split of a set that has none: stratified (`published`) or by group (`grouped`).

    Where the set has an official split that is not in these files, the task says `made` instead of `published`.

    Raises:
        ValueError: `grouped` is asked for and no group is known.
    """
    if not len(images):
        raise ValueError(f"task {request.row.name}: no image found in {request.folder}")
    if request.split == "grouped":
        groups = require_groups(request, images)
        first = grouped_parts(images.labels, groups, shares=[fraction, 1 - fraction], seed=request.seed) == 0
    else:
        first = stratified_split(images.labels, fraction=fraction, seed=request.seed)
    split = "made" if request.split == "published" and request.row.split == "given" else request.split
    return request.task(classes, images.select(first), images.select(~first), split=split, notes=notes)


def given_split(
    request: Request, classes: Sequence[str], train: ImageSet, test: ImageSet, *, notes: Iterable[str] = ()
) -> Task:
    """The set's own split. `grouped` moves every training image of a group that the test part knows out of training.

    Raises:
        ValueError: `grouped` is asked for and no group is known.
    """
    if request.split != "grouped":
        return request.task(classes, train, test, split="published", notes=notes)
    train_groups, test_groups = require_groups(request, train), require_groups(request, test)
    clean = ~np.isin(train_groups, test_groups)
    left_out = int((~clean).sum())
    notes = (*notes, f"{left_out} training images left out: the test part shows the same {request.row.grouped_by}")
    return request.task(classes, train.select(clean), test, split="grouped", notes=notes)


def require_groups(request: Request, images: ImageSet) -> np.ndarray:
    """The images' groups; an error that says why there are none."""
    if images.groups is None:
        known = (
            f"{request.row.grouped_by} is not stated in these files" if request.row.grouped_by else "nothing groups it"
        )
        raise ValueError(f"task {request.row.name} has no grouped split here: {known}; use the published one")
    return images.groups


def class_tree(request: Request, folder: Path, *, classes: Sequence[str] | None = None) -> tuple[list[str], ImageSet]:
    """`folder/<class>/...` as (classes, images); names are relative to the task's folder."""
    found = [path.name for path in class_folders(folder) if image_files(path)] if classes is None else list(classes)
    if not found:
        raise FileNotFoundError(f"task {request.row.name}: no class folder with images in {folder}")
    return found, labelled_folder(folder, found, root=request.folder)


def train_test_tree(request: Request, train: Path, test: Path, *, notes: Iterable[str] = ()) -> Task:
    """Two class trees with one class list, the training part's."""
    classes, train_images = class_tree(request, train)
    unknown = [p.name for p in class_folders(test) if image_files(p) and p.name not in classes]
    if unknown:
        raise ValueError(f"task {request.row.name}: {test} has classes that {train} lacks: {', '.join(unknown[:5])}")
    return given_split(request, classes, train_images, class_tree(request, test, classes=classes)[1], notes=notes)


def listed_images(
    request: Request,
    base: Path,
    names: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str] | None = None,
) -> ImageSet:
    """Images that a list names, below `base`; whether they exist shows when they are read, or in `tasks verify`."""
    prefix = base.relative_to(request.folder).as_posix() if base != request.folder else ""
    relative = [f"{prefix}/{name}" if prefix else name for name in names]
    return image_set(relative, labels, FileSource(request.folder, tuple(relative)), groups=groups)


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table with a header, columns separated by commas, or by tabs if the header holds one.

    Raises:
        ValueError: a needed column is missing, in the header or in a row; no UTF-8. The message names the file.
    """
    text = read_text(path)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        missing = [column for column in needed if column not in (reader.fieldnames or [])]
        if missing:
            found = ", ".join(reader.fieldnames or ["nothing"])
            raise ValueError(f"{path}: no column {', '.join(missing)}; found {found}")
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"{path} is no readable table ({error})") from error
    for number, row in enumerate(rows, start=2):
        if any(row[column] is None for column in needed):
            raise ValueError(f"{path}, row {number}: fewer columns than the header")
    return rows


def files_by_stem(folder: Path) -> dict[str, str]:
    """Image files anywhere below, as stem -> path relative to folder (sets whose pictures lie in several parts)."""
    return {path.stem: path.relative_to(folder).as_posix() for path in image_files(folder)}


def numbered_lines(path: Path) -> dict[int, str]:
    """`<number> <rest>` per line, as CUB and PACS write lists."""
    lines = {}
    for line in text_lines(path):
        number, _, rest = line.partition(" ")
        if not number.isdecimal() or not rest:
            raise ValueError(f"{path}: {line!r} is no line of a number and what it stands for")
        lines[int(number)] = rest
    return lines


def text_lines(path: Path) -> list[str]:
    """The lines that hold something, without the spaces around them."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def sorted_names(names: Iterable[str]) -> list[str]:
    """In the order that every split rests on."""
    return sorted(names, key=name_key)
