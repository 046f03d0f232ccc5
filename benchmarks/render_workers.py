"""Two rendering workers against one, and the memory of a worker over a long set.

    python -P benchmarks/render_workers.py --what workers --size 224 --samples 2 --denoiser oidn
    python -P benchmarks/render_workers.py --what memory --images 2000

Goals: 1.8 times one worker; memory within 10 % after 200 images.

`workers`: the same shards by one Blender process pinned to one core together with its parent, and by two processes on
two cores, in turns, all processes started and warm; images per second of wall time, so nothing else may run. `memory`:
the resident size of one Blender process after every image; the process must be the same one from the first to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import psutil

from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.params import TASK2SIM_SPACE, SimParams, all_on
from sim.render import BlenderRenderer
from sim.shards import RenderConfig, open_renderer

SHARDS = 12
"""Even, and many enough that two workers end almost together."""
SETTLED = 200
"""Images after which caches are full: memory is compared with what it was then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("workers", "memory", "both"), default="both")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--denoiser", choices=("none", "oidn"), default="none")
    parser.add_argument("--images", type=int, help="default: 240 a round for workers, 2,000 for memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=24)
    arguments = parser.parse_args()
    if arguments.what != "workers" and (arguments.images or 2000) <= SETTLED:
        parser.error(f"--images is {arguments.images}; memory needs more than {SETTLED}")
    for what, images in (("workers", arguments.images or 240), ("memory", arguments.images or 2000)):
        if arguments.what not in (what, "both"):
            continue
        config = RenderConfig(
            params=SimParams(**TASK2SIM_SPACE.to_levels(all_on())),  # type: ignore[arg-type]
            catalog=CatalogConfig(num_classes=arguments.classes),
            size=arguments.size,
            samples=arguments.samples,
            denoiser=arguments.denoiser,
            images_per_shard=-(-images // SHARDS),
        )
        with tempfile.TemporaryDirectory() as folder:
            if what == "workers":
                _compare_workers(config, Path(folder), images, arguments.rounds)
            else:
                _watch_memory(config, Path(folder), images)


def _compare_workers(config: RenderConfig, folder: Path, images: int, rounds: int) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this process may run on one core only; two are needed")
    sides = {"one worker, one core": cores[:1], "two workers, two cores": cores}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with ExitStack() as stack:
        renderers = {name: [_started(stack, config, used) for _ in used] for name, used in sides.items()}
        for number in range(rounds + 1):  # round 0 builds meshes and loads HDRIs everywhere
            for name, used in sides.items():
                os.sched_setaffinity(0, used)  # threads that are started from here on inherit it
                seconds = _render(config, folder / f"{number}-{len(used)}", images, list(renderers[name]))
                if number:
                    rates[name].append(images / seconds)
                    print(f"round {number}  {name:24s} {rates[name][-1]:7.2f} images/s", flush=True)
    one, two = (statistics.median(values) for values in rates.values())
    print(json.dumps({"size": config.size, "samples": config.samples, "one": one, "two": two}))
    print(f"two / one: {two / one:.2f}")


def _started(stack: ExitStack, config: RenderConfig, cores: list[int]) -> BlenderRenderer:
    """A renderer of one thread whose process may run on `cores`."""
    os.sched_setaffinity(0, cores)
    renderer = stack.enter_context(open_renderer(config, threads=1))
    print(f"started {renderer.version} on cores {cores}", flush=True)
    return renderer


def _render(config: RenderConfig, out: Path, images: int, free: list[BlenderRenderer]) -> float:
    begun = time.perf_counter()
    render_dataset(
        config, out=out, num_images=images, workers=len(free), factory=lambda *_, **__: nullcontext(free.pop())
    )
    return time.perf_counter() - begun


def _watch_memory(config: RenderConfig, folder: Path, images: int) -> None:
    with open_renderer(config) as renderer:
        sizes: list[int] = []
        pids: set[int | None] = set()
        render_dataset(
            config,
            out=folder / "set",
            num_images=images,
            workers=1,
            progress=_note_memory(renderer, sizes, pids),
            factory=lambda *_, **__: nullcontext(renderer),
        )
    mb = [size / 2**20 for size in sizes]
    settled, most, last = mb[SETTLED - 1], max(mb[SETTLED:]), mb[-1]
    print(
        json.dumps({"images": len(mb), "processes": len(pids), "mb_every_100": [round(size) for size in mb[99::100]]})
    )
    print(f"after {SETTLED} images {settled:.0f} MB, then at most {most:.0f} MB, at the end {last:.0f} MB")
    print(f"most / settled: {most / settled:.3f} (processes: {len(pids)}, allowed: 1)")


def _note_memory(renderer: BlenderRenderer, sizes: list[int], pids: set[int | None]) -> Callable[[int, int, str], None]:
    seen = 0

    def note(done: int, total: int, what: str) -> None:
        nonlocal seen
        if done == seen:  # a shard's end, not an image
            return
        seen = done
        pids.add(renderer.pid)
        sizes.append(psutil.Process(renderer.pid).memory_info().rss)
        if done % 100 == 0:
            print(f"{done}/{total} images, {sizes[-1] / 2**20:.0f} MB", flush=True)

    return note


if __name__ == "__main__":
    main()
