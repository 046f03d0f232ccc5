"""Looking at a data set: every shard checked against the index, counts, and a contact sheet."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sim.dataset import INDEX
from sim.files import write_atomically
from sim.shards import Progress, file_sha256

INDEX_FIELDS = {
    "shards": list,
    "classes": list,
    "num_images": int,
    "class_counts": dict,
    "config": dict,
    "failed": list,
}
SHARD_FIELDS = {"name": str, "images": int, "bytes": int, "sha256": str}
"""What the readers here rely on."""


class DataSetDamaged(ValueError):
    """A data set is not what its index says; one line that names the file."""


@dataclass(frozen=True)
class Inspection:
    """What a verified data set holds."""

    num_images: int
    num_shards: int
    num_bytes: int
    class_counts: dict[str, int]
    config: dict[str, Any]
    failed: list[dict[str, Any]]


def read_index(data: Path) -> dict[str, Any]:
    """index.json of a complete data set. Raises FileNotFoundError or DataSetDamaged."""
    path = data / INDEX
    if not path.exists():
        unfinished = any(data.glob("shard-*")) if data.is_dir() else False
        raise FileNotFoundError(
            f"{data} is no complete data set: it has no {INDEX}"
            + ("; run the same `simpath render` again to finish it" if unfinished else "")
        )
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _check(index, INDEX_FIELDS, "index")
        _check(index["config"], {"format": str}, "config")
        for number, shard in enumerate(index["shards"]):
            _check(shard, SHARD_FIELDS, f"shards[{number}]")
        if not (index["shards"] and index["classes"] and all(isinstance(name, str) for name in index["classes"])):
            raise ValueError("it names no shard, no class, or a class that is no text")
        _check(index["class_counts"], dict.fromkeys(index["classes"], int), "class_counts")
    except ValueError as error:
        raise DataSetDamaged(f"{path} is damaged: {error}") from None
    for shard in index["shards"]:
        if not re.fullmatch(r"[^/\\]+\.tar", shard["name"]):
            raise DataSetDamaged(f"{path}: shard name {shard['name']!r} is not the plain name of a .tar beside it")
    return index


def _check(record: Any, fields: Mapping[str, type], where: str) -> None:
    """Raises ValueError naming the first field that `record` lacks or that is of another type."""
    if not isinstance(record, dict):
        raise ValueError(f"{where} is {type(record).__name__}; allowed: an object")
    for name, kind in fields.items():
        if name not in record:
            raise ValueError(f"{where} lacks {name!r}")
        if not isinstance(record[name], kind):
            raise ValueError(f"{name!r} of {where} is {type(record[name]).__name__}; allowed: {kind.__name__}")


def verify_dataset(data: Path, progress: Progress | None = None) -> Inspection:
    """Read every byte of a data set and compare with its index.

    Raises:
        FileNotFoundError: no index.
        DataSetDamaged: a shard is missing, truncated or altered; all bad ones are named.
    """
    index = read_index(data)
    shards, params = index["shards"], index["config"].get("params")
    if not isinstance(params, dict):
        raise DataSetDamaged(f"{data / INDEX} is damaged: config lacks 'params'")
    wrong = []
    for number, shard in enumerate(shards):
        path = data / shard["name"]
        if not path.exists():
            wrong.append(f"{shard['name']} is missing")
        elif (size := path.stat().st_size) != shard["bytes"]:
            wrong.append(f"{shard['name']} has {size} bytes instead of {shard['bytes']}")
        elif file_sha256(path) != shard["sha256"]:
            wrong.append(f"{shard['name']} was altered (its sha256 differs)")
        if progress is not None:
            progress(number + 1, len(shards), shard["name"])
    if wrong:
        raise DataSetDamaged(f"{data}: {'; '.join(wrong)}")
    return Inspection(
        num_images=index["num_images"],
        num_shards=len(shards),
        num_bytes=sum(shard["bytes"] for shard in shards),
        class_counts=index["class_counts"],
        config=index["config"],
        failed=index["failed"],
    )


def contact_sheet(data: Path, out_png: Path, rows: int = 6, columns: int = 8, tile: int = 112) -> None:
    """A grid of pictures with the class names below them; as many classes as fit, then further images of each.

    Args:
        tile: width and height of one picture on the sheet, pixels.
    """
    index = read_index(data)
    chosen = _choose(data, index, rows * columns)
    caption, gap, margin = 18, 8, 16
    rows = max(1, -(-len(chosen) // columns))
    width = 2 * margin + columns * tile + (columns - 1) * gap
    height = 2 * margin + rows * (tile + caption) + (rows - 1) * gap
    sheet = Image.new("RGB", (width, height), (250, 250, 248))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (class_name, picture) in enumerate(chosen):
        x = margin + place % columns * (tile + gap)
        y = margin + place // columns * (tile + caption + gap)
        sheet.paste(picture.resize((tile, tile), Image.Resampling.LANCZOS), (x, y))
        text = _shorten(class_name, font, tile)
        draw.text((x + tile / 2, y + tile + 2), text, fill=(60, 60, 60), font=font, anchor="ma")
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    write_atomically(out_png, encoded.getvalue())


def iterate_samples(data: Path, index: dict[str, Any]) -> Iterator[dict[str, bytes]]:
    """Members of every sample by suffix, with "key", in the order of the shards."""
    for shard in index["shards"]:
        sample: dict[str, bytes] = {}
        for name, content in _members(data / shard["name"]):
            key, _, suffix = name.partition(".")
            if sample and sample["key"].decode() != key:
                yield sample
                sample = {}
            sample |= {"key": key.encode(), suffix: content}
        if sample:
            yield sample


def _members(shard: Path) -> Iterator[tuple[str, bytes]]:
    """Raises DataSetDamaged for what is no plain tar of files."""
    try:
        # "r:": a small compressed file with a tar's name could unpack to more than there is memory for
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    raise DataSetDamaged(f"{shard}: {member.name} is a link, a folder or a device, not a file")
                yield member.name, file.read()
    except tarfile.TarError as error:
        raise DataSetDamaged(f"{shard} is no readable tar ({error})") from None


def _choose(data: Path, index: dict[str, Any], wanted: int) -> list[tuple[str, Image.Image]]:
    """The first images of every class, as even a number of each as `wanted` allows, sorted by class number."""
    present = [name for name in index["classes"] if index["class_counts"].get(name)][:wanted]
    per_class = max(1, wanted // max(1, len(present)))
    taken: Counter[str] = Counter()
    chosen: list[tuple[int, str, Image.Image]] = []
    suffix = index["config"]["format"]
    goal = sum(min(per_class, index["class_counts"][name]) for name in present)
    for sample in iterate_samples(data, index):
        if len(chosen) >= goal:
            break
        label = int(sample["cls"])
        if not (0 <= label < len(index["classes"]) and suffix in sample):
            raise DataSetDamaged(f"{data}: sample {sample['key'].decode()} does not fit its {INDEX}")
        name = index["classes"][label]
        if name in present and taken[name] < per_class:
            taken[name] += 1
            picture = Image.open(io.BytesIO(sample[suffix]), formats=("JPEG", "PNG", "WEBP")).convert("RGB")
            chosen.append((label, name, picture))
    chosen.sort(key=lambda item: item[0])
    return [(name, picture) for _, name, picture in chosen]


def _shorten(text: str, font: Any, width: int) -> str:
    text = text.replace("_", " ")
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text
