"""The `render_shard` stage: simulation parameters in, one WebDataset shard out.

A shard is a tar of samples `<index, eight digits>.jpg .cls .json`. It is written under a temporary name, flushed and
renamed; its bytes depend on the configuration, the bpy version and the device type only: members stand in index
order, the tar carries no times and no owners, and Pillow encodes the pictures.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from sim.assets import AssetCatalog, CatalogConfig, load_catalog
from sim.files import naming_full_disk, to_json, write_atomically
from sim.journal import Journal
from sim.labels import require_passes
from sim.params import SimParams, SimRanges
from sim.render import AnnotatingRenderer, BlenderRenderer, Renderer, SceneFailure, ScenesFailed, Shot
from sim.room import sample_room
from sim.samples import sample_members
from sim.scene import SceneSpec, sample_scene
from sim.wire import Denoiser, Device, RenderSettings

FORMAT_VERSION = 1
"""Of shard and index files; part of what a reader may rely on."""

RECORD_FIELDS = frozenset(
    {"name", "images", "bytes", "sha256", "classes", "start", "count", "failed", "config", "catalog", "renderer"}
)
"""What the .json of every shard holds."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RenderConfig:
    """Everything that changes the pixels or the files of a data set."""

    params: SimParams = field(default_factory=SimParams)
    """The eight simulation parameters."""
    ranges: SimRanges = field(default_factory=SimRanges)
    """Bounds of the distributions behind their "random" levels."""
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    """Models, materials and environments."""
    models: Literal["all", "train", "heldout"] = "all"
    """Which models of each class: all, or one half, for telling apart models and classes."""
    seed: int = 0
    size: int = 224
    """Width and height of the pictures in pixels."""
    samples: int = 2
    """Cycles paths per pixel."""
    denoiser: Denoiser = "oidn"
    """Chosen by measurement at 224 px on a CPU; see `sim.wire.RenderSettings`."""
    format: Literal["jpg", "webp", "png"] = "jpg"
    quality: int = 90
    """Of jpg and webp, 1 to 100."""
    images_per_shard: int = 1000
    layout: Literal["single", "room"] = "single"
    """One object before its environment, or a room with several."""
    passes: tuple[str, ...] = ()
    """Label maps beside each picture: depth, normals, instance, class, part, edges, keypoints."""

    def __post_init__(self) -> None:
        self.settings()
        if self.format not in ("jpg", "webp", "png"):
            raise ValueError(f"format is {self.format!r}; allowed: jpg, webp, png")
        if self.models not in ("all", "train", "heldout"):
            raise ValueError(f"models is {self.models!r}; allowed: all, train, heldout")
        if self.layout not in ("single", "room"):
            raise ValueError(f"layout is {self.layout!r}; allowed: single, room")
        require_passes(self.passes)
        for name, low, high in (("quality", 1, 100), ("images_per_shard", 1, 10**6), ("seed", 0, 2**63)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; allowed: {low} to {high}")

    def settings(self) -> RenderSettings:
        return RenderSettings(size=self.size, samples=self.samples, denoiser=self.denoiser, labels=bool(self.passes))

    def scene(self, catalog: AssetCatalog, index: int) -> SceneSpec:
        """Draw image `index`."""
        draw = sample_scene if self.layout == "single" else sample_room
        return draw(catalog, self.params, self.ranges, self.seed, index, models=self.models)

    def as_json(self) -> dict[str, Any]:
        """What the files record and what a resumed run is compared with."""
        record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for item in dataclasses.fields(CatalogConfig):
            if item.metadata.get("omit_default") and getattr(self.catalog, item.name) == item.default:
                del record["catalog"][item.name]
        return record


@functools.lru_cache(maxsize=4)
def catalog_of(config: CatalogConfig) -> AssetCatalog:
    """`load_catalog`, once per process: every shard needs it."""
    return load_catalog(config)


def open_renderer(
    config: RenderConfig,
    *,
    device: Device = "cpu",
    threads: int = 1,
    gpu: str | None = None,
    log: Path | None = None,
) -> BlenderRenderer:
    """The Blender renderer for a configuration; see `sim.render.BlenderRenderer` for the arguments."""
    catalog = catalog_of(config.catalog)
    return BlenderRenderer(catalog, config.settings(), device=device, threads=threads, gpu=gpu, log=log)


def shard_name(number: int) -> str:
    return f"shard-{number:06d}"


def render_shard(
    config: RenderConfig,
    *,
    out: Path,
    start: int,
    count: int,
    renderer: Renderer | AnnotatingRenderer,
    progress: Progress | None = None,
    begin: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Render the images `start` to `start + count - 1` into `out/shard-<start // images_per_shard>.tar`.

    A shard that is there already is checked and kept. An interrupted one goes on where it was (journal beside it).

    Args:
        begin: called with the renderer's version before anything in `out` changes; may refuse.

    Returns:
        The content of the shard's .json file: images, bytes, sha256, classes, config, renderer, and `failed`, the
        scenes that could not be rendered (their images are missing; a further call tries them again).

    Raises:
        ValueError: `out` holds a shard of another configuration or of other assets.
        RenderError: Blender cannot work here.
        OSError: for example a full disk; nothing is left under a final name.
    """
    if start % config.images_per_shard or not 1 <= count <= config.images_per_shard:
        raise ValueError(
            f"images {start} to {start + count} are no shard; one holds up to {config.images_per_shard} images"
        )
    name = shard_name(start // config.images_per_shard)
    out.mkdir(parents=True, exist_ok=True)
    kept = finished_shard(config, out, start, count)
    if kept is not None:
        return kept
    version = renderer.version
    if begin is not None:
        begin(version)
    description = {
        "config": config.as_json(),
        "start": start,
        "catalog": catalog_of(config.catalog).digest(),
        "renderer": version,
    }
    lost = f"{name} could not be finished; finished shards are kept"
    with naming_full_disk(out, lost), Journal(out / f"{name}.journal", description) as journal:
        failures = _fill(journal, config, range(start, start + count), renderer, progress)
        present = [index for index in range(start, start + count) if index in journal]
        if not present:
            raise ScenesFailed(failures)
        record = _write_shard(out, name, journal, present)
        record |= {"start": start, "count": count, "failed": [dataclasses.asdict(item) for item in failures]}
        record |= {"config": description["config"], "catalog": description["catalog"]}
        record |= {"renderer": description["renderer"]}
        write_atomically(out / f"{name}.json", to_json(record))
        journal.remove()
    return record


def finished_shard(config: RenderConfig, out: Path, start: int, count: int) -> dict[str, Any] | None:
    """The record of a shard that needs no rendering: complete in `out`, its bytes as recorded; else None.

    Raises ValueError as `require_own` does.
    """
    kept = read_record(out, shard_name(start // config.images_per_shard))
    if kept is None:
        return None
    require_own(config, kept, str(out))
    same = kept["start"] == start and kept["count"] == count and not kept["failed"]
    return kept if same and _is_intact(out, kept) else None


def _fill(
    journal: Journal,
    config: RenderConfig,
    indices: range,
    renderer: Renderer | AnnotatingRenderer,
    progress: Progress | None,
) -> list[SceneFailure]:
    """Render what the journal lacks, grouped by HDRI: another one makes Cycles rebuild its importance map."""
    catalog = catalog_of(config.catalog)
    specs = [config.scene(catalog, index) for index in indices if index not in journal]
    specs.sort(key=lambda spec: (spec.hdri, spec.model, spec.index))
    try:
        for spec, shot in _shoot(renderer, specs, bool(config.passes)):
            journal.append(spec.index, sample_members(config, spec, shot))
            if progress is not None:
                progress(sum(index in journal for index in indices), len(indices), spec.class_name)
    except ScenesFailed as error:
        return error.failures
    return []


def _shoot(
    renderer: Renderer | AnnotatingRenderer, specs: list[SceneSpec], labels: bool
) -> Iterator[tuple[SceneSpec, Shot]]:
    if labels:
        yield from cast(AnnotatingRenderer, renderer).shoot(specs)
    else:
        for spec, pixels in renderer.render(specs):
            yield spec, Shot(pixels, {}, [])


def _write_shard(out: Path, name: str, journal: Journal, indices: list[int]) -> dict[str, Any]:
    path = out / f"{name}.tar"
    temporary = path.with_name(path.name + ".tmp")
    classes: dict[str, int] = {}
    try:
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for index in indices:
                    members = journal.read(index)
                    class_name = json.loads(members["json"])["class_name"]
                    classes[class_name] = classes.get(class_name, 0) + 1
                    for suffix, data in members.items():
                        info = tarfile.TarInfo(f"{index:08d}.{suffix}")
                        info.size, info.mode, info.mtime = len(data), 0o644, 0
                        tar.addfile(info, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        record = {
            "format": FORMAT_VERSION,
            "name": path.name,
            "images": len(indices),
            "bytes": temporary.stat().st_size,
            "sha256": file_sha256(temporary),
            "classes": dict(sorted(classes.items())),
        }
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return record


def read_record(out: Path, name: str) -> dict[str, Any] | None:
    """The .json of a shard, None when it is not there. Raises ValueError when it is damaged or of another program."""
    path = out / f"{name}.json"
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and its .tar to render the shard again") from None
    if not isinstance(record, dict) or not record.keys() >= RECORD_FIELDS:
        raise ValueError(f"{path} is no record of a rendered shard; choose another output directory")
    return record


def _is_intact(out: Path, record: Mapping[str, Any]) -> bool:
    path = out / str(record["name"])
    return path.exists() and path.stat().st_size == record["bytes"] and file_sha256(path) == str(record["sha256"])


def require_own(config: RenderConfig, record: Mapping[str, Any], where: str) -> None:
    """See that a shard in `where` is of this configuration and of the assets as they are now.

    Raises ValueError naming the first field that differs, or the folders whose content does: a label is the number of
    a class in the catalogue, so it would mean another class.
    """
    flat_mine, flat_theirs = dict(_flatten(config.as_json())), dict(_flatten(record["config"]))
    for name in [*flat_mine, *flat_theirs]:
        here, there = flat_mine.get(name, "absent"), flat_theirs.get(name, "absent")
        if here != there:
            raise ValueError(
                f"{where} holds data of another configuration: {name} is {there!r} there and {here!r} here; "
                "choose another output directory"
            )
    if record["catalog"] != catalog_of(config.catalog).digest():
        folders = [
            folder for folder in (config.catalog.assets, config.catalog.hdris, config.catalog.textures) if folder
        ]
        what = f"what is in {' or '.join(folders)}" if folders else "the catalogue of this version"
        raise ValueError(
            f"{where} holds data of other assets: {what} has changed since; choose another output directory"
        )


def _flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
