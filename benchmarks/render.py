"""Images per second of the whole rendering path against bare Blender, both in one run, in turns.

    python benchmarks/render.py                        # the demo's setting: 64 px, 8 samples
    python benchmarks/render.py --size 224 --samples 2 --denoiser oidn

Sides, over the same scenes with every parameter on, one process of one thread each, pinned to one core:

- path: `render_dataset` with a running child, from drawing the scenes to finished shards on disk.
- bare: a loop in a Blender process that is set up the same way: set the scene, `bpy.ops.render.render()`,
  nothing written, nothing sent. Once in the order of the images and once in the path's order (grouped by HDRI). With
  `--denoiser oidn` Cycles calls Open Image Denoise itself here, at the same quality.

The target is path / bare >= 0.7 at the demo's setting, >= 0.85 at 224 px, against the faster bare loop.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.params import TASK2SIM_SPACE, SimParams, all_on
from sim.render import model_source
from sim.scene import SceneSpec, sample_scene
from sim.shards import RenderConfig, catalog_of, open_renderer
from sim.wire import spec_from_json, spec_to_json

BARE_LOOP = "--bare-loop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--denoiser", choices=("none", "oidn"), default="none")
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=24)
    arguments = parser.parse_args()
    config = RenderConfig(
        params=SimParams(**TASK2SIM_SPACE.to_levels(all_on())),  # type: ignore[arg-type]
        catalog=CatalogConfig(num_classes=arguments.classes),
        size=arguments.size,
        samples=arguments.samples,
        denoiser=arguments.denoiser,
        images_per_shard=arguments.images,
    )
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rates: dict[str, list[float]] = {"path": [], "bare, image order": [], "bare, grouped": []}
    specs = _specs(config, arguments.images)
    grouped = sorted(specs, key=lambda spec: (spec.hdri, spec.model, spec.index))
    with open_renderer(config) as renderer, _BareLoop(config) as bare, tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds + 1):  # round 0 builds meshes and loads HDRIs on every side
            out = Path(folder) / str(number)
            begun = time.perf_counter()
            render_dataset(
                config, out=out, num_images=arguments.images, workers=1, factory=lambda *_, **__: nullcontext(renderer)
            )
            path = arguments.images / (time.perf_counter() - begun)
            loops = [arguments.images / bare.seconds(order) for order in (specs, grouped)]
            if number:
                for name, rate in zip(rates, [path, *loops], strict=True):
                    rates[name].append(rate)
                    print(f"round {number}  {name:18s} {rate:7.2f} images/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(medians["bare, image order"], medians["bare, grouped"])
    print(json.dumps({"size": arguments.size, "samples": arguments.samples, **medians}))
    print(f"path / bare in image order: {medians['path'] / medians['bare, image order']:.2f}")
    print(f"path / fastest bare: {medians['path'] / best:.2f}")


def _specs(config: RenderConfig, count: int) -> list[SceneSpec]:
    catalog = catalog_of(config.catalog)
    return [sample_scene(catalog, config.params, config.ranges, config.seed, index) for index in range(count)]


class _BareLoop:
    """A Blender process that times its own loop; see `_serve_bare`."""

    def __init__(self, config: RenderConfig) -> None:
        catalog = catalog_of(config.catalog)
        models = {asset.id: model_source(asset) for name in catalog.classes for asset in catalog.models(name)}
        self._folder = tempfile.TemporaryDirectory()
        job = {"settings": vars(config.settings()), "models": models, "folder": self._folder.name}
        self._process = subprocess.Popen(  # nosec B603 # this file, arguments as a list
            [sys.executable, __file__, BARE_LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ask(job)

    def __enter__(self) -> _BareLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def seconds(self, specs: list[SceneSpec]) -> float:
        """How long the loop over `specs` took inside the process."""
        return float(self._ask([spec_to_json(spec) for spec in specs]))

    def _ask(self, message: Any) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def _serve_bare() -> None:
    """Child of `_BareLoop`: reads lists of scenes, answers with the seconds that a loop over them took."""
    from sim.blender.bridge import start_blender
    from sim.wire import RenderSettings

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    settings = RenderSettings(**job["settings"])
    start_blender(settings, threads=1, device="cpu")
    import bpy

    from sim.blender.build import SceneBuilder
    from sim.blender.worker import hdri_path, load_model

    builder = SceneBuilder(
        lambda name: load_model(job["models"][name]),
        lambda name: hdri_path(name, None),
        importance_map=settings.importance_map,
        texture_path=Path,
    )
    if settings.denoiser == "oidn":  # Blender's own call of it, so that the pictures are as good
        scene = bpy.context.scene
        scene.cycles.use_denoising = bpy.context.view_layer.cycles.use_denoising = True
        scene.cycles.denoiser, scene.cycles.denoising_quality = "OPENIMAGEDENOISE", "FAST"
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        specs = [spec_from_json(record) for record in json.loads(line)]
        begun = time.perf_counter()
        for spec in specs:
            builder.show(spec)
            bpy.ops.render.render()
        print(time.perf_counter() - begun, file=answers, flush=True)
    os._exit(0)


if __name__ == "__main__":
    if BARE_LOOP in sys.argv:
        _serve_bare()
    else:
        main()
