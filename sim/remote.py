"""A data set at an fsspec URL (s3://, gs://, az://, memory://, ...): shards are made here and uploaded one by one.

An object appears under its final name only when it is complete; index.json is uploaded last. A further call keeps
the shards that are there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sim.assets import require_models
from sim.dataset import CARD, INDEX, INFO, refuse_foreign_data, require_renderer, shard_plan, write_index
from sim.shardrun import RendererFactory, ShardRun
from sim.shards import Progress, RenderConfig, catalog_of, open_renderer, read_record, shard_name
from sim.wire import Device

ATOMIC_UPLOADS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Protocols whose uploads appear at once; elsewhere a temporary name is renamed."""


def is_url(out: str) -> bool:
    """Whether an output is an fsspec URL and not a local path."""
    return "://" in out and not out.startswith("file://")


def render_to_url(
    config: RenderConfig,
    url: str,
    *,
    staging: Path,
    num_images: int,
    workers: int | None = None,
    device: Device = "cpu",
    progress: Progress | None = None,
    factory: RendererFactory = open_renderer,
) -> dict[str, Any]:
    """Render a data set to `url`; the result is the same files as `sim.dataset.render_dataset` leaves.

    Args:
        staging: local directory for the shards in the making; it needs room for one shard per worker.

    Returns:
        As `render_dataset`.

    Raises:
        ValueError: `url` holds data of another configuration, of other assets, or of another renderer or device, or its
            protocol is not known.
        OSError: it cannot be written; one line.
    """
    plan = shard_plan(config, num_images)
    require_models(catalog_of(config.catalog), config.models)
    staging.mkdir(parents=True, exist_ok=True)
    with _naming_url(url):
        place = _Place(url)
        place.require_writable()
        there = place.names()
        for name in there:
            if name.startswith("shard-") and name.endswith(".json"):
                (staging / name).write_bytes(place.read(name))
    kept_records = refuse_foreign_data(config, staging, num_images, url=url, names=there)
    missing = []
    for number, (start, count) in enumerate(plan):
        record = read_record(staging, shard_name(number))
        kept = record is not None and record["count"] == count and not record["failed"]
        if not (kept and record is not None and there.get(record["name"]) == record["bytes"]):
            missing.append((start, count))

    def upload(record: dict[str, Any]) -> None:
        with _naming_url(url):
            place.upload(staging / record["name"])
            place.upload(staging / record["name"].replace(".tar", ".json"))
        (staging / record["name"]).unlink()

    def begin(version: str) -> None:
        require_renderer(kept_records, version, url)
        with _naming_url(url):
            place.remove(INDEX)

    begun, rendered = time.monotonic(), 0
    if missing:
        run = ShardRun(config, staging, missing, workers, device, progress, factory, upload, begin)
        run.finish()
        rendered = run.rendered
    seconds = time.monotonic() - begun
    records = [record for number in range(len(plan)) if (record := read_record(staging, shard_name(number)))]
    write_index(config, staging, records)
    with _naming_url(url):
        for name in (INFO, CARD, INDEX):
            place.upload(staging / name)
    return {
        "images": sum(record["images"] for record in records),
        "rendered": rendered,
        "shards": len(records),
        "bytes": sum(record["bytes"] for record in records),
        "seconds": round(seconds, 3),
        "images_per_second": round(rendered / seconds, 2) if rendered else 0.0,
        "failed": [failure for record in records for failure in record["failed"]],
        "complete": True,
    }


class _Place:
    """A folder behind an fsspec file system."""

    def __init__(self, url: str) -> None:
        import fsspec

        self._files, self._folder = fsspec.core.url_to_fs(url.rstrip("/"))
        protocol = self._files.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._atomic = bool(names & ATOMIC_UPLOADS)

    def names(self) -> dict[str, int]:
        """Size of every file in the folder by name."""
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self._folder, detail=True)
        except FileNotFoundError:
            return {}
        return {
            entry["name"].rsplit("/", 1)[-1]: int(entry["size"] or 0) for entry in entries if entry["type"] == "file"
        }

    def read(self, name: str) -> bytes:
        data: bytes = self._files.cat_file(f"{self._folder}/{name}")
        return data

    def upload(self, path: Path) -> None:
        final = f"{self._folder}/{path.name}"
        if self._atomic:
            self._files.put_file(str(path), final)
        else:
            self._files.put_file(str(path), final + ".tmp")
            self._files.mv(final + ".tmp", final)

    def remove(self, name: str) -> None:
        if self._files.exists(f"{self._folder}/{name}"):
            self._files.rm_file(f"{self._folder}/{name}")

    def require_writable(self) -> None:
        """Found out now, not after the first shard has been rendered."""
        if not self._atomic:
            self._files.makedirs(self._folder, exist_ok=True)
        probe = f"{self._folder}/.simpath-write-probe"
        self._files.pipe_file(probe, json.dumps({}).encode())
        self._files.rm_file(probe)


@contextmanager
def _naming_url(url: str) -> Iterator[None]:
    """Every error of a remote file system as one OSError line; an unknown protocol as a ValueError."""
    try:
        yield
    except (ValueError, ImportError) as error:
        raise ValueError(f"output {url} cannot be used: {error}") from error
    except Exception as error:  # each file system has error classes of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"output {url} cannot be written: {reason}") from error
