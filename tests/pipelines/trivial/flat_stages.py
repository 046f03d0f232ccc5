"""`render_shard` with flat colours instead of Blender; SIMPATH_TEST_FLAT says what goes wrong, as JSON:

bad: images that cannot be rendered; deadly: images at which the process dies; fatal: why nothing works here;
version: of the renderer; seconds: time an image takes; trace: file to which every rendered image is appended.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.job import Session
from pipelines.rendering import ShardConfig, shard_stage
from pipelines.stages import Stage, fixed
from sim.assets import CatalogConfig
from sim.render import RenderError, SceneFailure, ScenesFailed
from sim.scene import SceneSpec
from sim.shards import Progress, RenderConfig
from sim.wire import Device

CONFIG = RenderConfig(catalog=CatalogConfig(num_classes=3, models_per_class=2), size=16, images_per_shard=5)


class FlatRenderer:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.version = plan.get("version", "flat 1")
        self._plan = plan
        self._log: Path | None = None

    def log_to(self, log: Path) -> None:
        self._log = log

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        if "fatal" in self._plan:
            raise RenderError(self._plan["fatal"])
        failures = []
        for spec in specs:
            time.sleep(self._plan.get("seconds", 0))
            if self._log is not None:
                with self._log.open("a") as file:
                    file.write(f"image {spec.index}\n")
            if spec.index in self._plan.get("deadly", ()):
                os.kill(os.getpid(), 9)
            if spec.index in self._plan.get("bad", ()):
                failures.append(SceneFailure(spec.index, spec.model, "it is bad"))
                continue
            if "trace" in self._plan:
                with Path(self._plan["trace"]).open("a") as file:
                    file.write(f"{spec.index}\n")
            yield spec, np.full((16, 16, 3), (spec.index * 40 % 256, spec.class_id * 90, 128), np.uint8)
        if failures:
            raise ScenesFailed(failures)


def flat(config: RenderConfig, **_: Any) -> AbstractContextManager[FlatRenderer]:
    return nullcontext(FlatRenderer(json.loads(os.environ.get("SIMPATH_TEST_FLAT", "{}"))))


def shard(
    config: ShardConfig, *, out: Path, session: Session, threads: int, log: Path, device: Device, progress: Progress
) -> dict[str, Any]:
    return shard_stage(
        config, out=out, session=session, threads=threads, log=log, device=device, progress=progress, factory=flat
    )


STAGES = {"render_shard": Stage("flat_stages:shard", fixed("1"), "blender", unit="images", silence_limit_s=60.0)}
