"""A data set rendered by the workers of a cluster: each of its shards is a job (`simpath render --cluster …`).

In: a configuration, a place, a directory that all workers share. Out: the same files as `sim.dataset.render_dataset`
leaves. What is under way lies in OUT/.cluster (a store, logs, credentials, status.json), which is removed when the set
is complete. A second call goes on from there, and from what a call without a cluster has left in OUT.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipelines.artifact import Store
from pipelines.batch import BATCH_SYSTEMS
from pipelines.child import visible_gpus
from pipelines.cluster import open_place
from pipelines.flow import Cluster, Flow, Handle, StageFailed
from pipelines.locks import alone
from pipelines.place import BadPlace, Place
from pipelines.progress import Display, Progress
from pipelines.rendering import ShardConfig
from pipelines.stages import STAGES, Stage
from pipelines.status import STATUS_NAME, WORK
from sim.dataset import adopt_shard, begin_change, begin_dataset, close_dataset, shard_plan
from sim.journal import move_journal
from sim.shards import RenderConfig, finished_shard, read_record, shard_name
from sim.wire import Device


def render_on_cluster(
    config: RenderConfig,
    *,
    out: Path,
    num_images: int,
    place: Place,
    device: Device = "cpu",
    shards: tuple[int, int] | None = None,
    progress: Progress | None = None,
    opened: Callable[[Place, Path], AbstractContextManager[Cluster]] = open_place,
    stages: Mapping[str, Stage] = STAGES,
) -> dict[str, Any]:
    """Render a data set, or what is left of it, with one core or GPU of `place` for each shard at a time.

    Args:
        shards: render only the shards first:last (last excluded).
        progress: default: a table, or plain lines, on stderr.
        opened: opens the cluster; tests put one without Dask here.
        stages: the stage table; tests put a `render_shard` without Blender here.

    Returns:
        As `render_dataset`, where `rendered` counts the images of the shards that were finished now; and `missing`,
        one line for each shard whose process died too often.

    Raises:
        BadPlace: the place does not fit the device.
        ValueError: a bad argument, or `out` holds data of another configuration, renderer or device.
        StageFailed: Blender cannot work there; finished shards are kept.
        DirectoryBusy: another command is at work in `out`.
    """
    if device != "cpu" and place.cluster in BATCH_SYSTEMS and place.batch.gpus == 0:
        raise BadPlace(f"batch.gpus is 0, but device is {device!r}; allowed: 1 and up, or the device cpu")
    gpus = len(visible_gpus(os.environ)) if device in ("cuda", "optix") else 0
    if place.cluster == "local" and place.cores is not None and place.cores > gpus > 0:
        raise BadPlace(
            f"workers is {place.cores}, but on a cluster a shard has one of the {gpus} GPUs to itself; "
            f"allowed: 1 to {gpus}, or no --cluster for several workers on a GPU"
        )
    begun = time.monotonic()
    rendered, missing, versions = 0, list[str](), set[str]()
    with alone(out):
        wanted = begin_dataset(config, out, num_images, shards)
        todo = [shard for shard in wanted if finished_shard(config, out, *shard) is None]
        if todo:
            with opened(place, out / WORK) as cluster:
                flow = Flow(
                    Store(out / WORK / "store"),
                    cluster,
                    run="render",
                    progress=progress or Display(status=out / WORK / STATUS_NAME, title="simpath render"),
                    stages=stages,
                    logs=out / WORK / "logs",
                )
                with flow:
                    handles = {start: _submit(flow, config, out, start, count, device) for start, count in todo}
                    there = {handle.digest for handle in handles.values() if flow.store.has(handle.digest)}
                    for start, handle in handles.items():
                        try:
                            images = _take(flow, handle, out, shard_name(start // config.images_per_shard), versions)
                        except StageFailed as error:
                            if not _died(flow, handle):
                                raise  # the other shards would fail alike
                            missing.append(str(error))
                            continue
                        rendered += 0 if handle.digest in there else images
        plan = shard_plan(config, num_images)
        summary = close_dataset(config, out, plan, rendered=rendered, seconds=time.monotonic() - begun)
        if not (missing or summary["failed"]):
            shutil.rmtree(out / WORK, ignore_errors=True)
    return summary | {"missing": missing}


def _submit(flow: Flow, config: RenderConfig, out: Path, start: int, count: int, device: Device) -> Handle:
    """Ask for a shard; what a call without a cluster has rendered of it is gone on with."""
    handle = flow.submit("render_shard", ShardConfig(config, start, count, device), knobs={"device": device})
    journal = out / f"{shard_name(start // config.images_per_shard)}.journal"
    if journal.exists():
        move_journal(journal, flow.store.partial(handle.digest) / journal.name)
    return handle


def _take(flow: Flow, handle: Handle, out: Path, name: str, versions: set[str]) -> int:
    """Wait for a shard and link it into `out`; the number of its images.

    A shard with scenes that cannot be rendered is no artifact; its other images lie where it was made.

    Args:
        versions: of the renderers whose shards this call has linked; a further one has to fit those in `out`.
    """
    try:
        folder = flow.result(handle).path
    except StageFailed:
        folder = flow.store.partial(handle.digest)
        record = read_record(folder, name)
        if record is None or not record["failed"]:
            raise
    record = read_record(folder, name)
    assert record is not None
    if record["renderer"] not in versions:
        begin_change(out, record["renderer"])
        versions.add(record["renderer"])
    adopt_shard(folder, out, name)
    return int(record["images"])


def _died(flow: Flow, handle: Handle) -> bool:
    """Whether a job failed because its process died again and again, and not because its stage said no."""
    ends = (outcome.status for outcome in reversed(flow.outcomes) if outcome.digest == handle.digest)
    return next(ends) == "crashed"
