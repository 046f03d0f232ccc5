"""The stage table: what the pipeline can run, under which name, in which version, by which function, where.

A stage function has the signature `(config, *, <inputs by name>, out: Path, <knobs>) -> JSON summary`; of the knobs
`progress`, `threads`, `stop`, `session` and `log` are offered to those that have such a parameter. Raise a stage's
version whenever its result changes for the same config and inputs: old artifacts then stay where they are, unused.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.job import Kind
from pipelines.rendering import DatasetConfig, ShardConfig
from sim.blender.bridge import INSTALL_RENDER  # importing it loads no Blender
from sim.shards import catalog_of


@dataclass(frozen=True)
class Stage:
    function: str
    """`module:function`; not imported before a job runs."""
    version: Callable[[], str]
    kind: Kind
    unit: str = "steps"
    """What its progress counts."""
    silence_limit_s: float | None = None
    """Longer without progress means that it hangs."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Runtime arguments unless `submit` gives others."""
    depends: Callable[[Any], Mapping[str, str]] = lambda config: {}
    """Digests of what the config means but does not hold, by name; they enter the key like inputs."""


def fixed(version: str) -> Callable[[], str]:
    return lambda: version


@functools.cache
def renderer_version() -> str:
    """Versions of bpy and of the denoiser: pixels differ between versions. Raises RuntimeError where one is missing."""
    try:
        return "+".join(f"{package}{importlib.metadata.version(package)}" for package in ("bpy", "pyoidn"))
    except importlib.metadata.PackageNotFoundError as error:
        raise RuntimeError(f"rendering needs the package {error.name}, on Python 3.11: {INSTALL_RENDER}") from None


def _catalog(config: ShardConfig | DatasetConfig) -> dict[str, str]:
    """The models and materials behind the catalogue's name: better shapes must not pass for the old ones."""
    return {"catalog": catalog_of(config.render.catalog).digest()}


STAGES: dict[str, Stage] = {
    "render_shard": Stage(
        "pipelines.rendering:shard_stage",
        lambda: f"2+{renderer_version()}",
        "blender",
        unit="images",
        # the last resort: the renderer itself replaces a Blender that is silent for 2 minutes (20 on a new GPU)
        silence_limit_s=3600,
        depends=_catalog,
    ),
    "dataset": Stage(
        "pipelines.rendering:dataset_stage",
        lambda: f"2+{renderer_version()}",
        "python",
        unit="sets",
        depends=_catalog,
    ),
    "made_task": Stage("pipelines.demo_tasks:made_task_stage", fixed("1"), "torch", unit="images"),
    "pretrain": Stage(
        "pipelines.training:pretrain_stage",
        fixed("2"),
        "torch",
        silence_limit_s=3600,
    ),
    "features": Stage("transfer.features:extract_features", fixed("1"), "torch", unit="images", silence_limit_s=3600),
    "reward": Stage("transfer.score:reward", fixed("5"), "torch", unit="probes"),
    "final": Stage("transfer.score:final", fixed("6"), "torch", unit="probes"),
}
