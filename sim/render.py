"""Scenes in, pictures out: drives one persistent Blender child process and survives what happens to it.

The child (sim/blender/worker.py) is kept across shards. When it crashes, hangs or grows past its memory
limit it is replaced, and the images that it had not delivered are sent again; an image that kills
Blender every time is named in `ScenesFailed` after all others are done.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from filelock import FileLock

from sim.child import WORKER, Child, ChildLost, ChildRefused
from sim.devices import visible_variable
from sim.scene import SceneSpec
from sim.skies import MADE, environment_file
from sim.wire import Device, RenderSettings, spec_to_json, unpack_arrays

if TYPE_CHECKING:
    from sim.assets import AssetCatalog, ModelAsset

STARTUP_TIMEOUT_S = 300.0
GPU_STARTUP_TIMEOUT_S = 1200.0
"""The wheel has no kernels for A100 to H200: Cycles compiles them before the first image (then cached)."""
IN_FLIGHT = 3
"""Scenes that the child has in hand, so that it never waits for the parent."""


@dataclass(frozen=True)
class SceneFailure:
    index: int
    model: str
    reason: str

    def __str__(self) -> str:
        return f"image {self.index} (model {self.model}): {self.reason}"


@dataclass(frozen=True)
class Shot:
    """What Blender made of one scene."""

    pixels: np.ndarray  # (H, W, 3) uint8, sRGB
    labels: dict[str, np.ndarray]
    """Maps by name, see `sim.blender.labels`; empty unless the settings ask for labels."""
    objects: list[dict[str, Any]]
    """Pose, boxes and visibility of every object, with the labels."""


class RenderError(RuntimeError):
    """Blender cannot work here at all; one line that says why."""


class ScenesFailed(RuntimeError):
    """Some scenes could not be rendered; all others were. `failures` names them."""

    def __init__(self, failures: list[SceneFailure]) -> None:
        super().__init__(f"{len(failures)} scene(s) failed, first: {failures[0]}")
        self.failures = failures


class Renderer(Protocol):
    """Renders scenes; pictures may come in another order than the scenes went in."""

    @property
    def version(self) -> str:
        """What made the pixels, for the data card: program and version."""

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        """Yield (spec, uint8 (H, W, 3)). Raises ScenesFailed at the end if scenes are missing."""


class AnnotatingRenderer(Renderer, Protocol):
    """A renderer that also makes labels."""

    def shoot(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, Shot]]:
        """Like `render`, with label maps and object records."""


class BlenderRenderer:
    """A Blender child process with everything needed to replace it. Use as a context manager.

    Args:
        catalog: resolves the model and HDRI names of the scenes.
        settings: size, samples and the like.
        device: cpu, or a GPU kind; a GPU that is not there is a RenderError, never a silent CPU.
        threads: CPU threads of the child.
        gpu: the one GPU that the child sees, by its name (`sim.devices.gpu_names`); None: all that this process sees.
        timeout_s: longest time without an image before the child is killed.
        memory_limit_mb: resident size past which the child is replaced between two images.
        retries: how many times an image that was lost with its child, or a lost start, is tried again.
        log: file that collects what Blender prints; None: a temporary file.
        command: the child's command line; tests put a small stand-in here.
    """

    def __init__(
        self,
        catalog: AssetCatalog,
        settings: RenderSettings,
        *,
        device: Device = "cpu",
        threads: int = 1,
        gpu: str | None = None,
        timeout_s: float = 120.0,
        memory_limit_mb: int = 4096,
        retries: int = 2,
        log: Path | None = None,
        command: Sequence[str] = WORKER,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; allowed: 1 or more")
        self._models = {asset.id: asset for name in catalog.classes for asset in catalog.models(name, "all")}
        self._hdris = {asset.name: asset.path for asset in catalog.hdris}
        self._textures = {asset.material: str(asset.path) for asset in catalog.textures}
        self._job: dict[str, Any] = {"settings": vars(settings).copy(), "threads": threads, "device": device}
        self._device = device
        self._visible = {} if gpu is None else {visible_variable(device): gpu}
        self._timeout_s = timeout_s
        self._memory_limit_mb = memory_limit_mb
        self._retries = retries
        self._log_path = log
        self._command = command
        self._child: Child | None = None
        self._version = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return None if self._child is None else self._child.process.pid

    @property
    def version(self) -> str:
        """Versions of what makes the pixels, and the device type; starts the child if there is none yet."""
        if not self._version:
            self._start()
        return f"{self._version}, {self._device}"

    def log_to(self, log: Path) -> None:
        """Collect what Blender prints from the next scene on in another file."""
        self._log_path = log
        if self._child is not None:
            self._child.log = log

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        """Yield (spec, pixels uint8 (H, W, 3)) in the order of `specs`. Raises what `shoot` raises."""
        for spec, shot in self.shoot(specs):
            yield spec, shot.pixels

    def shoot(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, Shot]]:
        """Yield (spec, shot) in the order of `specs`.

        Raises:
            RenderError: Blender cannot start here.
            ScenesFailed: after all other images, if some failed for good.
        """
        source = iter(specs)
        waiting: deque[SceneSpec] = deque()  # sent to the child, oldest first
        again: deque[SceneSpec] = deque()  # lost with a child, to be sent before anything else
        losses: dict[int, int] = {}
        failures: list[SceneFailure] = []
        while True:
            try:
                child = self._start()
                while len(waiting) < IN_FLIGHT and not child.retiring:
                    spec = again.popleft() if again else next(source, None)
                    if spec is None:
                        break
                    waiting.append(spec)
                    child.send({**self._request(spec), "log": str(child.log)})
                if not waiting:
                    if not child.retiring:
                        break
                    self.close()
                    continue
                head, payload = child.receive(self._timeout_s)
            except ChildLost as lost:
                self.close()
                if waiting:  # the child works in order, so the oldest scene is the one that it died of
                    guilty = waiting.popleft()
                    losses[guilty.index] = losses.get(guilty.index, 0) + 1
                    if losses[guilty.index] > self._retries:
                        failures.append(SceneFailure(guilty.index, guilty.model, str(lost)))
                    else:
                        waiting.appendleft(guilty)
                    again.extendleft(reversed(waiting))
                    waiting.clear()
                continue
            spec = waiting.popleft()
            if head["kind"] == "failed":
                failures.append(SceneFailure(spec.index, spec.model, head["message"]))
                continue
            assert head["index"] == spec.index, f"asked for image {spec.index}, got {head['index']}"
            child.retiring = child.retiring or head["rss_mb"] > self._memory_limit_mb
            arrays = unpack_arrays(head["arrays"], payload)
            yield spec, Shot(arrays.pop("pixels"), arrays, head["objects"])
        if failures:
            raise ScenesFailed(failures)

    def _request(self, spec: SceneSpec) -> dict[str, Any]:
        names = [spec.model] if spec.room is None else [spec.model, *(other.model for other in spec.room.others)]
        for name in names:
            if name not in self._models:
                raise ValueError(f"scene {spec.index} names model {name!r}, which is not in the catalogue")
        if spec.hdri not in self._hdris and spec.hdri not in MADE:
            raise ValueError(f"scene {spec.index} names HDRI {spec.hdri!r}, which is not in the catalogue")
        textures = {material.name for material in spec.all_materials() if material.pattern == "maps"}
        for name in sorted(textures - set(self._textures)):
            raise ValueError(f"scene {spec.index} names material {name!r}, which is not in the catalogue")
        path = environment_file(spec.hdri) if spec.hdri in MADE else self._hdris[spec.hdri]
        return {
            "spec": spec_to_json(spec),
            "models": {name: model_source(self._models[name]) for name in names},
            "hdri": None if path is None else str(path),
            "textures": {name: self._textures[name] for name in sorted(textures)},
        }

    def _start(self) -> Child:
        """The child. A start that a signal or the time limit ended is tried again as often as an image."""
        attempts = 0
        while self._child is None:
            attempts += 1
            child = Child(self._command, self._log_path, self._visible, self._job["threads"])
            timeout = STARTUP_TIMEOUT_S if self._device == "cpu" else GPU_STARTUP_TIMEOUT_S
            try:
                with _alone_on_node(self._device):
                    child.send({**self._job, "folder": child.folder})
                    head, _ = child.receive(timeout)
            except ChildLost as lost:
                status = child.process.returncode  # None while it runs, negative after a signal
                child.stop()
                # one that ended by itself, such as on a failed import, would do so again
                if (status is not None and status >= 0) or attempts > self._retries:
                    tried = f" ({attempts} attempts)" if attempts > 1 else ""
                    raise RenderError(f"Blender did not start: {lost}{tried}") from None
                continue
            except ChildRefused as refused:
                child.stop()
                raise RenderError(str(refused)) from None
            except BaseException:
                child.stop()
                raise
            self._version = head["programs"]
            self._child = child
        return self._child


@contextmanager
def _alone_on_node(device: Device) -> Iterator[None]:
    """GPU children start one after another: the first compiles Cycles' kernels, the others find them in its cache."""
    if device == "cpu":
        yield
        return
    with FileLock(Path(tempfile.gettempdir()) / f"simpath-{os.getuid()}-{device}.lock"):
        yield


def model_source(asset: ModelAsset) -> dict[str, Any]:
    """How the child gets the mesh of a model: made from numbers, or read from a normalised file."""
    from sim.assets import ProceduralModel

    source = asset.source
    if isinstance(source, ProceduralModel):
        return {
            "kind": "procedural",
            "seed": source.seed,
            "class_name": source.class_name,
            "index": source.index,
        }
    return {"kind": "file", "path": str(source.path)}
