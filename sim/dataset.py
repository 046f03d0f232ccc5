"""A whole data set directory: shards rendered by several Blender processes, then `_info.json`, README.md, index.json.

`index.json` is written last, so a directory that has it is complete. `render_dataset` makes and resumes a directory;
`assemble_dataset` links shards that were rendered elsewhere into one. Both leave the same files.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.assets import require_models, skipped_assets
from sim.datacard import data_card
from sim.files import naming_full_disk, to_json, write_atomically
from sim.shardrun import RendererFactory, ShardRun
from sim.shards import (
    FORMAT_VERSION,
    Progress,
    RenderConfig,
    catalog_of,
    open_renderer,
    read_record,
    require_own,
    shard_name,
)
from sim.wire import Device

INDEX = "index.json"
INFO, CARD = "_info.json", "README.md"


def shard_plan(config: RenderConfig, num_images: int) -> list[tuple[int, int]]:
    """(first image, number of images) of every shard of a set. Raises ValueError for an empty set."""
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; allowed: 1 and up")
    size = config.images_per_shard
    return [(start, min(size, num_images - start)) for start in range(0, num_images, size)]


def render_dataset(
    config: RenderConfig,
    *,
    out: Path,
    num_images: int,
    workers: int | None = None,
    device: Device = "cpu",
    shards: tuple[int, int] | None = None,
    progress: Progress | None = None,
    factory: RendererFactory = open_renderer,
) -> dict[str, Any]:
    """Render `num_images` images into the directory `out`; go on where an earlier call stopped.

    Args:
        workers: Blender processes; None: one per CPU core, or one per GPU.
        shards: render only the shards first:last (last excluded) of the set, for several machines on one
            directory; whoever finds all shards there writes the index.
        factory: opens the renderer of one worker; tests put a stand-in here.

    Returns:
        images, rendered (by this call), shards, bytes, seconds, images_per_second, failed, complete.

    Raises:
        ValueError: a bad argument, or `out` holds data of another configuration, of other assets, or of another
            renderer or device.
        RenderError: Blender cannot work here.
        OSError: for example a full disk.
    """
    plan = shard_plan(config, num_images)
    wanted = begin_dataset(config, out, num_images, shards)
    begun = time.monotonic()
    begin = functools.partial(begin_change, out)
    run = ShardRun(config, out, wanted, workers, device, progress, factory, begin=begin)
    run.finish()
    return close_dataset(config, out, plan, rendered=run.rendered, seconds=time.monotonic() - begun)


def begin_dataset(
    config: RenderConfig, out: Path, num_images: int, shards: tuple[int, int] | None
) -> list[tuple[int, int]]:
    """Make `out`, or see that it may go on; returns (first image, number of images) of the wanted shards.

    Raises ValueError as `render_dataset` does.
    """
    plan = shard_plan(config, num_images)
    first, last = shards or (0, len(plan))
    if not 0 <= first < last <= len(plan):
        raise ValueError(f"shards is {first}:{last}; this set has the shards 0:{len(plan)}")
    require_models(catalog_of(config.catalog), config.models)
    out.mkdir(parents=True, exist_ok=True)
    refuse_foreign_data(config, out, num_images)
    return plan[first:last]


def begin_change(out: Path, version: str) -> None:
    """Before shards made with `version` come into `out`: it is no complete set meanwhile, so its index goes.

    Until then it stays the set that it was, also where Blender does not start. Raises ValueError when the shards there
    were made with another version, or on another device.
    """
    require_renderer(_records(out), version, str(out))
    (out / INDEX).unlink(missing_ok=True)


def close_dataset(
    config: RenderConfig, out: Path, plan: Sequence[tuple[int, int]], *, rendered: int, seconds: float
) -> dict[str, Any]:
    """Write the index if every shard of `plan` is there in full; the summary that `render_dataset` returns."""
    records = [read_record(out, shard_name(number)) for number in range(len(plan))]
    present = [record for record in records if record is not None]
    complete = all(
        record is not None and record["count"] == count for record, (_, count) in zip(records, plan, strict=True)
    )
    if complete:
        write_index(config, out, present)
    return {
        "images": sum(record["images"] for record in present),
        "rendered": rendered,
        "shards": len(present),
        "bytes": sum(record["bytes"] for record in present),
        "seconds": round(seconds, 3),
        "images_per_second": round(rendered / seconds, 2) if seconds > 0 else 0.0,
        "failed": [failure for record in present for failure in record["failed"]],
        "complete": complete,
    }


def adopt_shard(folder: Path, out: Path, name: str) -> None:
    """Link a shard that was rendered in `folder` into `out` (a copy where links are not possible), its .json last."""
    for file in (f"{name}.tar", f"{name}.json"):
        _link(folder / file, out / file)


def assemble_dataset(config: RenderConfig, shard_dirs: Sequence[Path], *, out: Path, num_images: int) -> dict[str, Any]:
    """Make a data set directory of shards that lie elsewhere, by hard links where possible, else copies.

    Raises:
        ValueError: a shard is missing, damaged in size, or of another configuration or other assets.
    """
    out.mkdir(parents=True, exist_ok=True)
    refuse_foreign_data(config, out, num_images)
    records = []
    for number, (start, count) in enumerate(shard_plan(config, num_images)):
        name = shard_name(number)
        folder = next((folder for folder in shard_dirs if (folder / f"{name}.json").exists()), None)
        record = None if folder is None else read_record(folder, name)
        if folder is None or record is None or record["count"] != count or record["start"] != start:
            raise ValueError(
                f"{name} with images {start} to {start + count - 1} is in none of the {len(shard_dirs)} given folders"
            )
        require_own(config, record, str(folder))
        adopt_shard(folder, out, name)
        if (out / record["name"]).stat().st_size != record["bytes"]:
            raise ValueError(f"{folder / record['name']} is not as long as its .json says; it was truncated or altered")
        records.append(record)
    index = write_index(config, out, records)
    return {
        "images": index["num_images"],
        "shards": len(records),
        "bytes": sum(record["bytes"] for record in records),
        "failed": index["failed"],
    }


def write_index(config: RenderConfig, out: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`_info.json` (timm's reader), README.md and, last, `index.json`; returns the index."""
    catalog = catalog_of(config.catalog)
    for record in records:
        require_own(config, record, str(out))
    if len(found := sorted({record["renderer"] for record in records})) > 1:
        raise ValueError(f"the shards in {out} were made with different versions of the renderer: {', '.join(found)}")
    counts = dict.fromkeys(catalog.classes, 0)
    for record in records:
        for name, count in record["classes"].items():
            counts[name] += count
    index = {
        "format": FORMAT_VERSION,
        "num_images": sum(record["images"] for record in records),
        "classes": list(catalog.classes),
        "class_counts": counts,
        "config": config.as_json(),
        "catalog": catalog.digest(),
        "renderer": records[0]["renderer"],
        "denoiser": config.denoiser,
        "shards": [{name: record[name] for name in ("name", "images", "bytes", "sha256")} for record in records],
        "failed": [failure for record in records for failure in record["failed"]],
        "skipped_assets": skipped_assets(config.catalog),
    }
    if catalog.textures:
        index["textures"] = [
            {"name": item.material, "sha256": item.sha256, "license": item.license} for item in catalog.textures
        ]
    lengths = [record["images"] for record in records]
    split = {
        "name": "train",
        "filenames": [record["name"] for record in records],
        "shard_lengths": lengths,
        "num_samples": sum(lengths),
    }
    write_atomically(out / INFO, to_json({"splits": {"train": split}}))
    write_atomically(out / CARD, data_card(index, catalog).encode())
    write_atomically(out / INDEX, to_json(index))
    return index


def refuse_foreign_data(
    config: RenderConfig, out: Path, num_images: int, *, url: str | None = None, names: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """See that nothing in `out` belongs to something else than this set.

    Args:
        url: where the files lie whose shard records were copied to `out`.
        names: all files there; default: those of `out`.

    Returns:
        The records of the shards there.

    Raises:
        ValueError: shards of another configuration or of other assets, more images than asked for, or files that would
            be written over and are not of a data set.
    """
    where = url or str(out)
    records = _records(out)
    for record in records:
        require_own(config, record, where)
    # a rendering that is killed after it wrote a .tar and before its .json leaves the journal too
    known = {record["name"] for record in records} | {f"{path.stem}.tar" for path in out.glob("shard-*.journal")}
    strange = sorted(path.name for path in out.glob("*.tar") if path.name not in known)
    if not records:
        there = {path.name for path in out.iterdir()} if names is None else names
        strange += [name for name in (INDEX, INFO, CARD) if name in there]
    if strange:
        raise ValueError(f"{where} holds {strange[0]}, which was not made here; choose another output directory")
    images = sum(record["count"] for record in records)
    if images > num_images:
        raise ValueError(f"{where} holds {images} images already, num_images is {num_images}; choose another directory")
    return records


def require_renderer(records: Iterable[Mapping[str, Any]], version: str, where: str) -> None:
    """See that the shards in `where` were made with `version`: one set has the pixels of one renderer and device.

    Raises ValueError naming the first other one.
    """
    for record in records:
        if record["renderer"] != version:
            raise ValueError(
                f"{where} holds shards made with {record['renderer']}, here it is {version}; "
                "choose another output directory, or that version and device"
            )


def _records(out: Path) -> list[dict[str, Any]]:
    """Of every shard in `out`, in order."""
    return [record for path in sorted(out.glob("shard-*.json")) if (record := read_record(out, path.stem))]


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another file system, or one without hard links
        try:
            with naming_full_disk(target, f"{target.name} could not be written"):
                shutil.copyfile(source, temporary)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    temporary.replace(target)
