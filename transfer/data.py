"""A downstream task as data: labelled image sets, and the readers of what users bring themselves.

In: a folder (`train/[val/]test/<class>/...`, or `<class>/...` with a seeded split), a CSV list, WebDataset
shards. Out: a `Task`. Nothing is decoded here; an image is read when somebody asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from transfer.images import IMAGE_SUFFIXES, array_to_image, decode_image
from transfer.splits import IndexRow, format_index, index_digest, name_key, stratified_split

TRAIN_FRACTION = 0.7
"""Share of the training part where a task brings no split (reference datasets.md, 2.1)."""
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What users call the parts of a split, in lower case."""


class ImageSource(Protocol):
    """Where the pictures lie; rows are positions in the source, not in a split."""

    def read(self, row: int) -> Image.Image: ...


@dataclass(frozen=True)
class FileSource:
    """Image files below one root."""

    root: Path
    names: tuple[str, ...]

    def read(self, row: int) -> Image.Image:
        return decode_image(self.root / self.names[row])


@dataclass(frozen=True)
class ArraySource:
    """Pictures that a data set keeps as one array, (N, H, W) or (N, H, W, 3) uint8."""

    arrays: np.ndarray

    def read(self, row: int) -> Image.Image:
        return array_to_image(np.asarray(self.arrays[row]))


@dataclass(frozen=True)
class RangeSource:
    """Image files inside tars: (file, offset, size) each."""

    ranges: tuple[tuple[Path, int, int], ...]

    def read(self, row: int) -> Image.Image:
        path, offset, size = self.ranges[row]
        with path.open("rb") as file:
            file.seek(offset)
            return decode_image(file.read(size))


@dataclass(frozen=True)
class ImageSet:
    """N labelled images of one split."""

    names: tuple[str, ...]
    labels: np.ndarray  # (N,) int64
    source: ImageSource
    rows: np.ndarray  # (N,) int64, position of each image in the source
    groups: np.ndarray | None = None  # (N,) of anything sortable; what must not be torn apart

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Image.Image:
        return self.source.read(int(self.rows[index]))

    def select(self, indices: np.ndarray) -> ImageSet:
        """The images at these positions (or under this mask), in this order."""
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices
        return replace(
            self,
            names=tuple(self.names[i] for i in indices),
            labels=self.labels[indices],
            rows=self.rows[indices],
            groups=None if self.groups is None else self.groups[indices],
        )


def image_set(
    names: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    source: ImageSource,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    groups: Sequence[str] | np.ndarray | None = None,
) -> ImageSet:
    """An ImageSet in the order of the sorted names, whatever order the disk or an archive had."""
    order = np.array(sorted(range(len(names)), key=lambda i: name_key(names[i])), dtype=np.int64)
    everything = ImageSet(
        tuple(names),
        np.asarray(labels, dtype=np.int64),
        source,
        np.arange(len(names)) if rows is None else np.asarray(rows, dtype=np.int64),
        None if groups is None else np.asarray(groups),
    )
    return everything.select(order)


@dataclass(frozen=True)
class Task:
    """A downstream classification task. `val` is the data set's own validation part, if it has one."""

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    val: ImageSet | None = None
    also_report: tuple[str, ...] = ()
    """Metrics beside top-1 accuracy that the community reports: mean_per_class, macro_auc."""
    split: str = "given"
    """given | made (seeded, from sorted names) | published | grouped"""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the score should know: the variant found, what was left out."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            found = self.classes[0] if self.classes else "none"
            raise ValueError(f"task {self.name}: needs at least two classes with images, found {found}")
        if not len(self.train) or not len(self.test):
            raise ValueError(f"task {self.name}: {len(self.train)} training and {len(self.test)} test images")
        if len(np.unique(self.train.labels)) < 2:
            raise ValueError(f"task {self.name}: only one class has training images")
        for images in filter(None, (self.train, self.val, self.test)):
            wrong = np.flatnonzero((images.labels < 0) | (images.labels >= len(self.classes)))
            if len(wrong):  # -1 would pass for the last class
                raise ValueError(
                    f"task {self.name}: {len(wrong)} labels are out of range, first {images.names[wrong[0]]} with "
                    f"{images.labels[wrong[0]]}; allowed: 0 to {len(self.classes) - 1}, counted from 0"
                )

    def index_text(self) -> str:
        """The split as an index file's text (splits.format_index)."""
        parts = [("train", self.train), ("val", self.val), ("test", self.test)]
        return format_index(
            [
                IndexRow(split, int(label), self.classes[label], name)
                for split, images in parts
                if images is not None
                for name, label in zip(images.names, images.labels, strict=True)
            ]
        )

    def digest(self) -> str:
        """sha256 of the index: classes, labels, names and split, not the pixels."""
        return index_digest(self.index_text())


def report_beside_accuracy(labels: np.ndarray) -> tuple[str, ...]:
    """Mean per class where accuracy flatters: some class has more than twice the images of another."""
    counts = np.bincount(labels)
    return ("mean_per_class",) if counts.max() > 2 * counts[counts > 0].min() else ()


def split_task(
    name: str,
    classes: Sequence[str],
    images: ImageSet,
    *,
    seed: int,
    fraction: float = TRAIN_FRACTION,
) -> Task:
    """A task without a split of its own: stratified, seeded, from the sorted names."""
    if not len(images):
        raise ValueError(f"task {name}: no image found")
    first = stratified_split(images.labels, fraction=fraction, seed=seed)
    train, test = images.select(first), images.select(~first)
    return Task(name, tuple(classes), train, test, also_report=report_beside_accuracy(images.labels), split="made")


def read_text(path: Path) -> str:
    """A list or table that a data set or a user brings, which must be UTF-8 (a byte order mark may lead).

    Raises:
        ValueError: it is another encoding; the message names the file.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path} is no UTF-8 text (byte 0x{byte:02x} at {error.start}): save it as UTF-8") from error


def class_folders(folder: Path) -> list[Path]:
    """Subfolders in name order, without hidden ones and what archive tools leave behind."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    found = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]
    return sorted(found, key=lambda path: name_key(path.name))


def image_files(folder: Path) -> list[Path]:
    """Image files anywhere below, hidden ones left out, sorted by relative path."""
    found = [path for path in folder.rglob("*") if _is_image(path)]
    return sorted(found, key=lambda path: name_key(path.relative_to(folder).as_posix()))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _holds_image(folder: Path) -> bool:
    return any(_is_image(path) for path in folder.rglob("*"))


def holds_image_classes(folder: Path) -> bool:
    """Whether at least two subfolders hold an image: class folders, or train/ and test/."""
    found = (_holds_image(sub) for sub in class_folders(folder))
    return sum(itertools.islice(filter(None, found), 2)) == 2


def labelled_folder(folder: Path, classes: Sequence[str], *, root: Path | None = None) -> ImageSet:
    """Images of `folder/<class>/...`; names are relative to `root` (default: folder). Absent classes are
    empty."""
    root = folder if root is None else root
    names, labels = [], []
    for label, class_name in enumerate(classes):
        for path in image_files(folder / class_name) if (folder / class_name).is_dir() else []:
            names.append(path.relative_to(root).as_posix())
            labels.append(label)
    return image_set(names, labels, FileSource(root, tuple(names)))


def read_image_folder(folder: Path, *, name: str | None = None, seed: int = 0) -> Task:
    """`train/[val/]test/<class>/...`, or `<class>/...` with a seeded 70/30 split.

    The parts' folders may be spelt as SPLIT_NAMES knows them, in any case (`Training`, `valid`). Classes are the class
    folders of the training part that hold an image, by name. Folders of images beside the parts are named in a note.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: fewer than two classes, no image, train/ without test/, two folders for one part, or a test class
            that training lacks.
    """
    name = folder.name if name is None else name
    parts = _part_folders(name, folder)
    base = parts.get("train", folder)
    classes = [path.name for path in class_folders(base) if image_files(path)]
    if not classes:
        raise ValueError(
            f"task {name}: no class folder with images in {base}; expected <class>/<image>, or train/ and test/ of such"
        )
    if len(classes) < 2:
        raise ValueError(f"task {name}: only one class with images in {base} ({classes[0]}); needs at least two")
    if not parts:
        if all(class_name.lower() in SPLIT_NAMES for class_name in classes):
            raise ValueError(f"task {name}: {', '.join(classes)} in {folder} hold images but no class folders")
        return split_task(name, classes, labelled_folder(folder, classes), seed=seed)
    images = {part: labelled_folder(path, classes, root=folder) for part, path in parts.items()}
    for part, path in sorted(parts.items()):
        unknown = [p.name for p in class_folders(path) if p.name not in classes and image_files(p)]
        if part != "train" and unknown:
            raise ValueError(f"task {name}: {path.name}/ has classes without training images: {', '.join(unknown[:5])}")
    if not len(images["test"]):
        raise ValueError(f"task {name}: no image in class folders of {parts['test']}")
    beside = [p.name for p in class_folders(folder) if p not in parts.values() and _holds_image(p)]
    return Task(
        name,
        tuple(classes),
        images["train"],
        images["test"],
        val=images.get("val"),
        also_report=report_beside_accuracy(images["train"].labels),
        notes=(f"not read, beside the parts of the split: {', '.join(beside)}",) if beside else (),
    )


def _part_folders(name: str, folder: Path) -> dict[str, Path]:
    """The folders of train, val and test, by part; empty where the folder is not split.

    Raises:
        ValueError: two folders for one part, or training or test is missing.
    """
    parts: dict[str, Path] = {}
    for path in class_folders(folder):
        part = SPLIT_NAMES.get(path.name.lower())
        # A split folder holds class folders; a folder "train" with images right inside is a class (of vehicles).
        if part is None or not class_folders(path):
            continue
        if part in parts:
            raise ValueError(f"task {name}: {parts[part].name}/ and {path.name}/ in {folder} are both the {part} part")
        parts[part] = path
    if parts and not {"train", "test"} <= parts.keys():
        found = ", ".join(path.name for path in parts.values())
        raise ValueError(
            f"task {name}: {folder} holds {found}/ but needs train/ and test/, each with class folders inside"
        )
    return parts
