"""What the store and the scheduler cost when there is much to do. Prints one line per number; about four minutes.

    python benchmarks/scale.py [--tasks 10000] [--artifacts 100000]

1. Overhead of a task: trivial shards (one small file each) through the flow and Dask, against direct calls of the
   same function into the same kind of store. Limit: 5 ms per task, and a client whose memory does not grow.
2. Look-ups and re-submission in a store of 1,000 and of many artifacts. Limit: no slower by more than a half.
3. Overhead on stages of realistic length (half a second of computing each). Limit: 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from pipelines.artifact import METADATA, Key, Store
from pipelines.cluster import open_cluster
from pipelines.flow import Flow
from pipelines.stages import Stage, fixed

MIB = 1 << 20
IN_MEMORY = Path("/dev/shm")  # nosec B108 # holds a folder that mkdtemp makes for this user alone


@dataclass(frozen=True)
class ShardConfig:
    number: int
    busy_s: float = 0.0


def shard(config: ShardConfig, *, out: Path) -> dict[str, int]:
    """A small file, after so many seconds of computing (CPU time of this thread)."""
    end = time.thread_time() + config.busy_s
    while time.thread_time() < end:
        np.linalg.svd(np.ones((32, 32)))
    (out / "shard.txt").write_text(str(config.number))
    return {"number": config.number}


STAGES = {"shard": Stage("scale:shard", fixed("1"), "python"), "work": Stage("scale:shard", fixed("1"), "torch")}


def rss_mib() -> float:
    return psutil.Process().memory_info().rss / MIB


def overhead(folder: Path, tasks: int) -> bool:
    direct_tasks = min(tasks, 2000)
    direct = timed(lambda: make_directly(Store(folder / "direct"), direct_tasks)) / direct_tasks
    memory = []
    with open_cluster() as cluster, Flow(Store(folder / "dask"), cluster, run="scale", stages=STAGES) as flow:
        flow.wait([flow.submit("shard", ShardConfig(-1))])  # the first task imports

        def through_dask() -> None:
            for start in range(0, tasks, 1000):
                # shards are asked for in portions here only to look at the memory between them
                flow.wait([flow.submit("shard", ShardConfig(i)) for i in range(start, min(start + 1000, tasks))])
                memory.append(rss_mib())

        dask = timed(through_dask) / tasks
    grown = memory[-1] - memory[len(memory) // 10]
    print(f"direct call into the store: {1e3 * direct:.2f} ms per task ({direct_tasks} tasks)")
    print(f"through the flow and Dask:  {1e3 * dask:.2f} ms per task ({tasks} tasks)")
    print(f"overhead: {1e3 * (dask - direct):.2f} ms per task (limit 5)")
    print(f"client memory: {memory[0]:.0f} MiB after 1,000 tasks, {memory[-1]:.0f} MiB after {tasks} (limit +20)")
    return dask - direct <= 5e-3 and grown <= 20


def make_directly(store: Store, tasks: int) -> None:
    for number in range(tasks):
        config = ShardConfig(number)
        store.produce(Key.of("shard", "1", config), lambda out, config=config: shard(config, out=out))


def look_ups(folder: Path, artifacts: int) -> bool:
    store = Store(folder / "many")
    times = []
    for size in (1000, artifacts):
        fill(store, size)
        picks = np.random.default_rng(size).integers(0, size, 1000)
        digests = [key(int(i)).digest for i in picks]
        loaded = timed(lambda digests=digests: [store.load(digest) for digest in digests]) / len(digests)
        absent = timed(lambda: [store.has(key(-1 - i).digest) for i in range(1000)]) / 1000
        with open_cluster() as cluster, Flow(store, cluster, run=f"n{size}", stages=STAGES) as flow:
            again = timed(
                lambda picks=picks, flow=flow: flow.wait([flow.submit("shard", ShardConfig(int(i))) for i in picks])
            )
        times.append((loaded, absent, again / len(picks)))
        print(
            f"{size} artifacts: load {1e6 * loaded:.0f} us, absent {1e6 * absent:.0f} us, "
            f"submit of a complete one {1e6 * again / len(picks):.0f} us"
        )
    return all(late <= 1.5 * early + 20e-6 for early, late in zip(*times, strict=True))


def key(number: int) -> Key:
    return Key.of("shard", "1", ShardConfig(number))


def fill(store: Store, size: int) -> None:
    """Complete artifacts without flushing each to the disk: only their number matters here."""
    for number in range(size):
        wanted = key(number)
        path = store.path(wanted.digest)
        if not path.exists():
            path.mkdir(parents=True)
            metadata = {"digest": wanted.digest, "stage": "shard", "inputs": {}, "files": {}, "bytes": 0, "wall_s": 0.0}
            (path / METADATA).write_text(json.dumps({**metadata, "summary": {"number": number}}))


def realistic(folder: Path) -> bool:
    configs = [ShardConfig(i, busy_s=0.5) for i in range(40)]

    def directly() -> None:
        store = Store(folder / "direct-work")
        for config in configs:
            store.produce(Key.of("work", "1", config), lambda out, config=config: shard(config, out=out))

    direct = timed(directly)
    with (
        open_cluster(cores=1) as cluster,
        Flow(Store(folder / "dask-work"), cluster, run="work", stages=STAGES) as flow,
    ):
        start = timed(lambda: flow.wait([flow.submit("work", ShardConfig(-1))]))  # the child starts and imports
        dask = timed(lambda: flow.wait([flow.submit("work", config) for config in configs]))
    print(f"40 stages of 0.5 s on one core: direct {direct:.1f} s, through Dask in a child {dask:.1f} s", end="")
    print(f", overhead {100 * (dask / direct - 1):.1f} % (limit 5); once per run, the child's start {start:.1f} s")
    return dask <= 1.05 * direct


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--artifacts", type=int, default=100_000)
    # in memory: how long a disk takes to flush a file is not what is measured here
    parser.add_argument("--folder", type=Path, default=IN_MEMORY, help="where the stores are made")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # children import the stage above by the name `scale`
    folder = Path(tempfile.mkdtemp(prefix="simpath-scale-", dir=arguments.folder))
    try:
        kept = [overhead(folder, arguments.tasks), look_ups(folder, arguments.artifacts), realistic(folder)]
    finally:
        shutil.rmtree(folder)
    print("all limits kept" if all(kept) else "A LIMIT WAS NOT KEPT")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
