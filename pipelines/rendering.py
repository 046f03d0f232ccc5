"""The rendering stages of an experiment: one artifact for each shard, and a data set directory that links them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.job import Session
from sim.dataset import assemble_dataset, shard_plan
from sim.params import SimParams
from sim.render import Renderer, SceneFailure, ScenesFailed
from sim.shards import Progress, RenderConfig, catalog_of, open_renderer, render_shard
from sim.wire import Device


@dataclass(frozen=True)
class ShardConfig:
    """One shard: a range of images of one configuration."""

    render: RenderConfig
    start: int
    count: int
    device: Device = dataclasses.field(default="cpu", metadata={"omit_default": True})
    """Whose bytes it has: a store holds shards of several devices apart. What renders is the stage's `device`."""


@dataclass(frozen=True)
class DatasetConfig:
    """A data set: the first `num_images` images of one configuration."""

    render: RenderConfig
    num_images: int

    def shards(self, device: Device = "cpu") -> Iterator[ShardConfig]:
        """A set that grows keeps its full shards: their configurations do not know how many follow."""
        for start, count in shard_plan(self.render, self.num_images):
            yield ShardConfig(self.render, start, count, device)


class KeptRenderer(Renderer, Protocol):
    """A renderer that goes on from shard to shard."""

    def log_to(self, log: Path) -> None:
        """Collect what it prints from the next scene on in another file."""


def shard_stage(
    config: ShardConfig,
    *,
    out: Path,
    session: Session,
    threads: int,
    log: Path,
    device: Device = "cpu",
    progress: Progress | None = None,
    factory: Callable[..., AbstractContextManager[KeptRenderer]] = open_renderer,
) -> dict[str, Any]:
    """Stage `render_shard`: one shard by the Blender child that this process keeps from shard to shard.

    Args:
        factory: opens the renderer; tests put a stand-in here.

    Raises:
        RenderError: Blender cannot work here, or scenes that cannot be rendered (they are named).
    """
    render = config.render
    key = (render.settings(), catalog_of(render.catalog).digest(), device, threads)
    renderer = session.keep("blender", key, lambda: factory(render, device=device, threads=threads, log=log))
    renderer.log_to(log)
    record = render_shard(render, out=out, start=config.start, count=config.count, renderer=renderer, progress=progress)
    if record["failed"]:
        # A shard with holes is no artifact: its digest promises all of its images.
        raise ScenesFailed([SceneFailure(**failure) for failure in record["failed"]])
    return {"images": record["images"], "bytes": record["bytes"], "sha256": record["sha256"]}


def dataset_stage(config: DatasetConfig, *, shards: list[Path], out: Path) -> dict[str, Any]:
    """Stage `dataset`: hard links to the shards, with index and data card."""
    summary: dict[str, Any] = assemble_dataset(config.render, shards, out=out, num_images=config.num_images)
    return summary


def render_command(config: DatasetConfig, *, device: Device = "cpu") -> tuple[str, ...]:
    """The `simpath render` that makes this data set in DIR: all parameters, and what differs from the defaults."""
    levels = config.render.params.as_dict().items()
    params = [word for name, level in levels for word in (f"--params.{name.replace('_', '-')}", level)]
    others = _options(dataclasses.replace(config.render, params=SimParams()), RenderConfig())
    where = () if device == "cpu" else ("--device", device)
    return ("simpath", "render", "--out", "DIR", "--num-images", str(config.num_images), *others, *params, *where)


def _options(config: Any, default: Any, prefix: str = "--") -> Iterator[str]:
    """Fields that differ from the default as the command line spells them."""
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        option = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _options(value, usual, f"{option}.")
        elif value == usual:
            continue
        elif value is True:
            yield option
        elif field.name == "passes":
            yield from (option, ",".join(value))
        else:
            yield from (option, *map(str, value if isinstance(value, tuple) else (value,)))
