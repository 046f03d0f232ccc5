"""Pre-training by several processes of one job: the same backbone, one reason for an end, no process left behind."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import psutil
import pytest

from pipelines.configs import to_json
from pipelines.training import check_processes, pretrain_stage, train_as_rank
from pretrain.train import PretrainConfig
from pretrain.watch import read_metrics
from sim.dataset import render_dataset
from sim.scene import SceneSpec

CONFIG = PretrainConfig(
    arch="test_resnet",
    size=16,
    epochs=3,
    batch_size=4,
    micro_batch=2,
    warmup_epochs=1,
    optimizer="sgd",
    learning_rate=0.05,
    precision="fp32",
)
"""Everything random is on. With micro-batches of 2 one process makes two passes and two make one each, over the same
images: batch norm sees the same groups."""


@pytest.fixture
def data(trivial: ModuleType, tmp_path: Path) -> Path:
    """12 images of 3 classes, one colour each, with noise."""
    flat: Any = importlib.import_module("flat_stages")

    class Noisy(flat.FlatRenderer):  # type: ignore[misc]
        def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
            for spec, pixels in super().render(specs):
                noise = np.random.default_rng(spec.index).integers(-40, 41, pixels.shape)
                yield spec, np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)

    def noisy(config: Any, **_: Any) -> AbstractContextManager[Any]:
        return nullcontext(Noisy({}))

    render_dataset(flat.CONFIG, out=tmp_path / "data", num_images=12, factory=noisy, workers=1)
    return tmp_path / "data"


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(out) if line["kind"] == "step"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from torch.testing import assert_close

    one, two = tmp_path / "one", tmp_path / "two"
    expected = pretrain_stage(CONFIG, data=data, out=one)
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int, note: str) -> None:
        seen.append((done, total))

    summary = pretrain_stage(CONFIG, data=data, out=two, processes=2, threads=2, progress=progress)
    assert seen[-1] == (9, 9)
    assert len(losses(one)) == 9
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert (summary["steps"], summary["num_images"]) == (expected["steps"], expected["num_images"]) == (9, 12)
    weights = [load_file(out / "backbone.safetensors") for out in (one, two)]
    kernels = [name for name in weights[0] if weights[0][name].ndim > 1]
    assert len(kernels) > 10
    for name in kernels:
        assert_close(weights[0][name], weights[1][name], rtol=1e-2, atol=1e-3)
    assert list(two.glob("checkpoints/*")) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["rank", "parent"])
def test_no_process_is_left_when_one_is_killed(
    data: Path, tmp_path: Path, forking: ForkServerContext, victim: str
) -> None:
    forked: Any = importlib.import_module("forked")
    config, printed = json.dumps(to_json(dataclasses.replace(CONFIG, epochs=100_000))), tmp_path / "printed.txt"
    arguments = (config, str(data), str(tmp_path / "out"), str(printed))
    parent = forking.Process(target=forked.train_by_two, args=arguments)
    parent.start()
    deadline = time.monotonic() + 200
    while not (printed.exists() and "begun\n" in printed.read_text()):
        assert parent.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(parent.pid).children(recursive=True)
    ranks = next(process for process in family if "--standalone" in process.cmdline()).children()
    assert len(ranks) == 2
    os.kill(ranks[1].pid if victim == "rank" else parent.pid, signal.SIGKILL)
    parent.join(120)
    assert psutil.wait_procs(family, timeout=120)[1] == []
    assert parent.exitcode == (0 if victim == "rank" else -signal.SIGKILL)
    if victim == "rank":
        assert printed.read_text().splitlines()[-1] == "one of the 2 training processes died"


@pytest.mark.parametrize(
    ("device", "threads", "processes", "workers"),
    [("cuda", 16, 1, 15), ("cuda", 16, 2, 7), ("cuda", 1, 1, 0), ("cuda", 1, 2, 0), ("cpu", 16, 1, 0)],
)
def test_a_gpu_gets_the_cores_beside_it_as_loaders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: Literal["cpu", "cuda"],
    threads: int,
    processes: int,
    workers: int,
) -> None:
    given: dict[str, Any] = {}

    def pretrain(config: PretrainConfig, data: Path, **knobs: Any) -> dict[str, Any]:
        given.update(knobs)
        return {}

    monkeypatch.setattr("pipelines.training.pretrain", pretrain)
    (tmp_path / "summary.json").touch()  # several processes are started only where there is none
    pretrain_stage(CONFIG, data=tmp_path, out=tmp_path, device=device, threads=threads, processes=processes)
    assert (given["device"], given["workers"]) == (device, workers)
    assert given["threads"] == max(1, threads // processes)


def test_a_process_needs_a_gpu_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(ValueError, match="2 processes train with a GPU each, but this job has 1"):
        pretrain_stage(CONFIG, data=tmp_path, out=tmp_path, device="cuda", processes=2)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "allowed"),
    [(1024, 256, {1, 2, 4}), (64, 256, {1}), (96, 16, {1, 2, 3, 6}), (96, 64, {1})],
)
def test_processes_share_a_batch_by_whole_passes(batch_size: int, micro_batch: int, allowed: set[int]) -> None:
    config = dataclasses.replace(CONFIG, batch_size=batch_size, micro_batch=micro_batch)
    for processes in range(9):
        if processes in allowed:
            check_processes(config, processes)
        else:
            numbers = ", ".join(map(str, sorted(allowed)))
            with pytest.raises(ValueError, match=f"training by {processes} processes; allowed: {numbers}, because"):
                check_processes(config, processes)


def test_a_rank_gives_the_reasons_that_are_the_trainings_own(tmp_path: Path) -> None:
    """An error of PyTorch may be the death of another rank: no reason is sent, and the job is tried again."""
    sent: list[dict[str, Any]] = []
    work = {"config": to_json(CONFIG), "data": str(tmp_path / "none"), "out": str(tmp_path), "knobs": {"device": "cpu"}}
    assert train_as_rank(work, sent.append, lambda: False) == 1
    assert len(sent) == 1 and "none" in sent[0]["error"]
    with pytest.raises(TypeError):
        train_as_rank({**work, "knobs": {"device": "cpu", "speed": 3}}, sent.append, lambda: False)
    assert len(sent) == 1


KNOBS = {"device": "cpu", "threads": 1, "tensorboard": False}


def test_only_the_first_rank_sends_what_all_find_out(data: Path, tmp_path: Path) -> None:
    diverging = dataclasses.replace(CONFIG, learning_rate=1e30, warmup_epochs=0)
    work = {"config": to_json(diverging), "data": str(data), "knobs": KNOBS}
    for first, reasons in ((True, 1), (False, 0)):
        sent: list[dict[str, Any]] = []
        work["out"] = str(tmp_path / str(first))
        assert train_as_rank(work, sent.append, lambda: False, first=first) == 1
        assert sum("not finite; samples of the batch: " in message.get("error", "") for message in sent) == reasons
        assert sum("error" in message for message in sent) == reasons


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_rank_trains_on_data_at_an_address(data: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, warmup_epochs=0)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(data))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        work = {"config": to_json(config), "data": address, "out": str(tmp_path / "out"), "knobs": KNOBS}
        sent: list[dict[str, Any]] = []
        status = train_as_rank(work, sent.append, lambda: False)
        server.shutdown()
    assert (status, [message for message in sent if "error" in message]) == (0, [])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["num_images"] == 12
