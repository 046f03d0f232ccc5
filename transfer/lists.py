"""Users' own data in two more shapes: a CSV list of images, and WebDataset shards."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfer.data import (
    SPLIT_NAMES,
    FileSource,
    ImageSet,
    RangeSource,
    Task,
    image_set,
    read_text,
    report_beside_accuracy,
    split_task,
)
from transfer.images import IMAGE_SUFFIXES
from transfer.splits import grouped_parts, name_key

COLUMNS = {
    "image": ("image", "path", "file", "filename", "file_name", "name"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "set", "subset"),
    "group": ("group", "patient", "subject", "lesion", "leaf"),
}


def read_csv_task(path: Path, *, seed: int = 0, split: str = "published") -> Task:
    """A CSV file with a header: image (relative to the file), label (any text), and if there are any split and group.

    Column names may be `image|path|file|filename`, `label|class|category|target`, `split|set|subset`,
    `group|patient|subject|lesion|leaf`. White space around labels, groups and split names does not count. Without a
    split column the split is made, 70/30; with `split="grouped"` the groups stay whole: of a split that the file
    brings, training and validation lose the images of groups that the test part knows, and a note says how many.

    Raises:
        ValueError: no image or label column, a row without image, label or group, an unknown split name, fewer than two
            classes, an image path outside.
    """
    name, root = path.stem, path.parent
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        header = [column.strip().lower() for column in reader.fieldnames or []]
        reader.fieldnames = header
        rows, lines = [], []
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)  # the last one of a row whose cells have several
    except csv.Error as error:
        raise ValueError(f"{path} is no readable table ({error})") from error
    columns = {key: next((c for c in names if c in header), None) for key, names in COLUMNS.items()}
    image_column, label_column = columns["image"], columns["label"]
    if image_column is None or label_column is None:
        raise ValueError(f"{path}: needs a column image and a column label; found {', '.join(header) or 'nothing'}")
    group_column, split_column = columns["group"], columns["split"]
    files, texts = [row[image_column] or "" for row in rows], _cells(rows, label_column)
    groups = None if group_column is None else _cells(rows, group_column)
    if groups is None and split == "grouped":
        raise ValueError(f"{path}: the grouped split needs a column group (or patient, subject, lesion, leaf)")
    if groups is not None and "" in groups:  # they would be one large group
        line = lines[groups.index("")]
        raise ValueError(f"{path}, line {line}: no {group_column}; an image that belongs to no other needs its own")
    for number, file_name, text in zip(lines, files, texts, strict=True):
        if not file_name or not text:
            raise ValueError(f"{path}, line {number}: no image or no label")
        if Path(file_name).is_absolute() or ".." in Path(file_name).parts:
            raise ValueError(f"{path}, line {number}: {file_name} is not below {root}")
    classes = sorted(set(texts), key=name_key)
    labels = [classes.index(text) for text in texts]
    images = image_set(files, labels, FileSource(root, tuple(files)), groups=groups)
    if len(set(images.names)) != len(images):
        raise ValueError(f"{path}: {len(images) - len(set(images.names))} images stand there twice")
    parts = None if split_column is None else dict(zip(files, _cells(rows, split_column), strict=True))
    if parts is None:
        if groups is None or split != "grouped":
            return split_task(name, classes, images, seed=seed)
        assert images.groups is not None, "image_set keeps groups"
        first = grouped_parts(images.labels, images.groups, shares=[0.7, 0.3], seed=seed) == 0
        return Task(
            name,
            tuple(classes),
            images.select(first),
            images.select(~first),
            split="grouped",
            also_report=report_beside_accuracy(images.labels),
        )
    return _task_of_parts(name, classes, images, [parts[file_name] for file_name in images.names], split, path)


def _cells(rows: Sequence[dict[str, str | None]], column: str) -> list[str]:
    """A column without the white space around its cells; what a short row lacks is empty."""
    return [(row[column] or "").strip() for row in rows]


def read_shard_task(path: Path, *, seed: int = 0) -> Task:
    """WebDataset shards: one `.tar`, or a folder of them, of samples `<key>.<jpg|png|...>` with `<key>.cls` or
    `<key>.json` (its `label`, `class` or `cls`).

    Shards whose path has a part that begins with train, val or test, in any case, belong to that part; else the split
    is made, 70/30.
    Only images, cls and json are read; other members are passed over. `classes.txt` beside the shards (one name per
    line) or `_info.json` names the classes.

    Raises:
        ValueError: a truncated shard, a sample without a label or with two images, no image, fewer than two classes.
    """
    root = path.parent if path.is_file() else path
    shards = [path] if path.is_file() else sorted(path.rglob("*.tar"), key=lambda p: name_key(p.as_posix()))
    ranges: list[tuple[Path, int, int]] = []
    names, texts, parts = [], [], []
    for shard in shards:
        relative = shard.relative_to(root)
        part = next((s for s in ("train", "val", "test") if any(p.lower().startswith(s) for p in relative.parts)), "")
        for key, image, text in _read_shard(shard):
            names.append(f"{relative.as_posix()}/{key}")
            ranges.append((shard, *image))
            texts.append(text)
            parts.append(part)
    if not names:
        raise ValueError(f"task {root.name}: no labelled image in the shards of {path}")
    numeric = all(text.isdecimal() for text in texts)
    found = sorted(set(texts), key=(lambda text: (int(text), "")) if numeric else (lambda text: (0, name_key(text))))
    classes = _class_names(root, found, numeric)
    position = {text: number for number, text in enumerate(found)}
    images = image_set(names, [position[text] for text in texts], RangeSource(tuple(ranges)))
    if not any(parts):
        return split_task(root.name, classes, images, seed=seed)
    by_name = dict(zip(names, parts, strict=True))
    return _task_of_parts(root.name, classes, images, [by_name[name] for name in images.names], "published", path)


def _read_shard(shard: Path) -> list[tuple[str, tuple[int, int], str]]:
    """(key, (offset, size) of the image, label text) of every sample that has an image."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, str] = {}
    end = 0
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue
                end = member.offset_data + -(-member.size // 512) * 512
                folder, _, file_name = member.name.rpartition("/")
                stem, _, extension = file_name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if f".{extension.lower()}" in IMAGE_SUFFIXES:
                    if key in images:
                        raise ValueError(f"shard {shard}: sample {key} has two images; the second is {member.name}")
                    images[key] = (member.offset_data, member.size)
                elif extension in ("cls", "json") and (extension == "cls" or key not in labels):
                    stream = tar.extractfile(member)
                    text = "" if stream is None else _label_text(stream.read(), extension, f"{shard}: {member.name}")
                    if text:
                        labels[key] = text
    except tarfile.TarError as error:
        raise ValueError(f"shard {shard} is damaged or truncated ({error})") from error
    with shard.open("rb") as file:
        file.seek(end)
        mark = file.read(1024)  # tarfile takes a missing end mark for the end, and webdataset too
        if len(mark) < 1024 or mark.strip(b"\0"):
            raise ValueError(f"shard {shard} is truncated: its end mark is missing")
    unlabelled = [key for key in images if key not in labels]
    if unlabelled:
        raise ValueError(
            f"shard {shard}: {len(unlabelled)} images have neither .cls nor a label in .json ({unlabelled[0]})"
        )
    return [(key, image, labels[key]) for key, image in images.items()]


def _label_text(data: bytes, extension: str, name: str) -> str:
    text = data.decode("utf-8", errors="replace").strip()
    if extension == "cls":
        return text
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is no JSON ({error})") from error
    for column in ("label", "cls", "class", "class_name"):
        if isinstance(record, dict) and column in record:
            return str(record[column]).strip()
    return ""


def _class_names(root: Path, found: Sequence[str], numeric: bool) -> list[str]:
    """Names for numeric labels, where a file beside the shards gives them."""
    if not numeric:
        return list(found)
    names: list[str] = []
    if (root / "classes.txt").exists():
        names = [line.strip() for line in read_text(root / "classes.txt").splitlines() if line.strip()]
    elif (root / "_info.json").exists():
        names = _info_classes(root / "_info.json")
    return [names[int(text)] if int(text) < len(names) else text for text in found]


def _info_classes(path: Path) -> list[str]:
    """The class names in the `_info.json` of a set, if it has any."""
    try:
        info = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error})") from error
    names = info.get("classes", []) if isinstance(info, dict) else None
    if not isinstance(names, list):
        raise ValueError(f"{path}: expected an object whose classes, if there are any, are a list of names")
    return [str(name) for name in names]


def _task_of_parts(
    name: str, classes: Sequence[str], images: ImageSet, parts: Sequence[str], split: str, path: Path
) -> Task:
    """A task whose images say themselves where they belong."""
    known = [SPLIT_NAMES.get(part.lower()) for part in parts]
    if None in known:
        raise ValueError(f"{path}: split {parts[known.index(None)]!r}; allowed: train, val, test")
    by_part = {part: images.select(np.array([k == part for k in known])) for part in ("train", "val", "test")}
    if not len(by_part["train"]) or not len(by_part["test"]):
        raise ValueError(
            f"{path}: needs training and test images, found only {', '.join(sorted(set(map(str, known))))}"
        )
    notes = []
    if split == "grouped":
        test_groups = by_part["test"].groups
        for part, shown in (("train", "training"), ("val", "validation")):
            groups = by_part[part].groups
            assert groups is not None and test_groups is not None, "checked by the caller"
            clean = ~np.isin(groups, test_groups)
            if part == "train" and not clean.any():
                raise ValueError(f"{path}: the grouped split leaves no training image: the test part has all groups")
            if len(clean):
                left_out = int((~clean).sum())
                notes.append(f"{left_out} {shown} images left out: the test part shows the same groups")
            by_part[part] = by_part[part].select(clean)
    return Task(
        name,
        tuple(classes),
        by_part["train"],
        by_part["test"],
        val=by_part["val"] if len(by_part["val"]) else None,
        also_report=report_beside_accuracy(by_part["train"].labels),
        split="grouped" if split == "grouped" else "given",
        notes=tuple(notes),
    )
