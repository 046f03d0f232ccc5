"""Rendering on a cluster: the same files as without one, whatever is killed, with flat colours instead of Blender."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from pipelines.batch import BatchConfig
from pipelines.commands.data import _place
from pipelines.farm import render_on_cluster
from pipelines.flow import Cluster, InProcess, StageFailed
from pipelines.job import Job, Session
from pipelines.locks import DirectoryBusy
from pipelines.place import NO_TLS, ONE_JOB, BadPlace, Place
from pipelines.progress import Quiet
from pipelines.rendering import ShardConfig
from pipelines.status import WORK, format_status, read_status
from sim.dataset import render_dataset
from sim.inspection import verify_dataset

CLIENT = Path(__file__).parent / "trivial" / "flat_client.py"


@pytest.fixture
def flat(trivial: ModuleType) -> ModuleType:
    return importlib.import_module("flat_stages")


@contextmanager
def inside(place: Place, work: Path) -> Iterator[Cluster]:
    with InProcess() as cluster:
        yield cluster


def plan(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setenv("SIMPATH_TEST_FLAT", json.dumps(changes))


def farm(flat: ModuleType, out: Path, num_images: int = 12, **knobs: Any) -> dict[str, Any]:
    settings = {"place": Place(), "opened": inside, "stages": flat.STAGES, "progress": Quiet(), **knobs}
    return render_on_cluster(flat.CONFIG, out=out, num_images=num_images, **settings)


def alone(flat: ModuleType, out: Path, num_images: int = 12, **knobs: Any) -> dict[str, Any]:
    return render_dataset(flat.CONFIG, out=out, num_images=num_images, factory=flat.flat, workers=1, **knobs)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_files_are_those_of_a_rendering_without_a_cluster(tmp_path: Path, flat: ModuleType) -> None:
    expected = alone(flat, tmp_path / "alone")
    summary = farm(flat, tmp_path / "farm")
    assert digests(tmp_path / "farm") == digests(tmp_path / "alone")
    assert len(digests(tmp_path / "farm")) == 3 * 2 + 3
    timeless = {"seconds", "images_per_second"}
    assert {k: v for k, v in summary.items() if k not in timeless | {"missing"}} == {
        k: v for k, v in expected.items() if k not in timeless
    }
    assert summary["missing"] == []


def test_two_dask_workers_make_the_same_files(tmp_path: Path, flat: ModuleType) -> None:
    from pipelines.cluster import open_place

    alone(flat, tmp_path / "alone")
    farm(flat, tmp_path / "farm", place=Place(cores=2, workers=2), opened=open_place)
    assert digests(tmp_path / "farm") == digests(tmp_path / "alone")


def test_a_second_call_opens_no_cluster(tmp_path: Path, flat: ModuleType) -> None:
    def refuse(place: Place, work: Path) -> AbstractContextManager[Cluster]:
        raise AssertionError("a cluster was opened")

    farm(flat, tmp_path)
    before = digests(tmp_path)
    assert farm(flat, tmp_path, opened=refuse)["rendered"] == 0
    assert digests(tmp_path) == before


def test_a_set_grows_and_parts_complete_it(tmp_path: Path, flat: ModuleType) -> None:
    farm(flat, tmp_path / "a", num_images=7)
    assert farm(flat, tmp_path / "a")["rendered"] == 7  # the shard of two images anew with five, and another two
    first = farm(flat, tmp_path / "b", shards=(1, 3))
    assert not first["complete"] and not (tmp_path / "b" / "index.json").exists()
    assert alone(flat, tmp_path / "b", shards=(0, 1))["complete"]
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_what_was_rendered_without_a_cluster_is_gone_on_with(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int, note: str) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(flat, tmp_path / "set", progress=stop)
    assert (tmp_path / "set" / "shard-000001.journal").exists()
    plan(monkeypatch, trace=str(tmp_path / "trace"))
    farm(flat, tmp_path / "set")
    assert len((tmp_path / "trace").read_text().split()) == 12 - 8
    alone(flat, tmp_path / "alone")
    assert digests(tmp_path / "set") == digests(tmp_path / "alone")


def test_scenes_that_cannot_be_rendered_are_listed_and_tried_again_later(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, bad=[1, 8])
    summary = farm(flat, tmp_path / "set")
    assert [failure["index"] for failure in summary["failed"]] == [1, 8]
    assert summary["complete"] and summary["images"] == summary["rendered"] == 10 and summary["missing"] == []
    assert verify_dataset(tmp_path / "set").num_images == 10
    plan(monkeypatch)
    assert farm(flat, tmp_path / "set")["failed"] == []
    alone(flat, tmp_path / "alone")
    assert digests(tmp_path / "set") == digests(tmp_path / "alone")


def test_a_shard_whose_process_always_dies_is_named_and_the_rest_is_there(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, deadly=[7], trace=str(tmp_path / "trace"))
    summary = farm(flat, tmp_path / "set")
    assert len(summary["missing"]) == 1
    assert "killed by SIGKILL (4 attempts)" in summary["missing"][0]
    assert not summary["complete"] and summary["images"] == 7
    plan(monkeypatch, trace=str(tmp_path / "trace"))
    assert farm(flat, tmp_path / "set")["complete"]
    rendered = sorted(int(line) for line in (tmp_path / "trace").read_text().split())
    assert rendered == list(range(12))  # what the dying processes had made was rendered once
    alone(flat, tmp_path / "alone")
    assert digests(tmp_path / "set") == digests(tmp_path / "alone")


def test_another_shell_sees_how_the_rendering_is_doing(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, bad=[1])
    farm(flat, tmp_path, num_images=3, progress=None)
    status = read_status(tmp_path)
    assert (status.state, status.title) == ("ended", "simpath render")
    assert "render_shard  0/1, 1 failed" in format_status(status)


def test_a_blender_that_cannot_work_stops_the_rendering(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, fatal="device 'cuda' was asked for, this machine has none")
    with pytest.raises(StageFailed, match="device 'cuda' was asked for"):
        farm(flat, tmp_path)
    assert not list(tmp_path.glob("shard-*"))


def test_data_of_another_configuration_is_refused_before_anything_is_opened(tmp_path: Path, flat: ModuleType) -> None:
    import dataclasses

    farm(flat, tmp_path)
    other = dataclasses.replace(flat.CONFIG, seed=3)
    with pytest.raises(ValueError, match="seed is 0 there and 3 here"):
        render_on_cluster(other, out=tmp_path, num_images=12, place=Place(), opened=inside, stages=flat.STAGES)


def test_a_second_client_on_the_same_set_is_refused(tmp_path: Path, flat: ModuleType) -> None:
    @contextmanager
    def second(place: Place, work: Path) -> Iterator[Cluster]:
        with pytest.raises(DirectoryBusy, match=f"{tmp_path} is in use by "):
            farm(flat, tmp_path)
        with inside(place, work) as cluster:
            yield cluster

    assert farm(flat, tmp_path, opened=second)["complete"]
    assert not (tmp_path / WORK).exists()


@pytest.mark.slow
def test_after_the_client_was_killed_a_second_call_completes(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, seconds=0.1, trace=str(tmp_path / "trace"))
    command = [sys.executable, str(CLIENT), str(tmp_path / "set"), "30"]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 250
    while not (tmp_path / "trace").exists() or len((tmp_path / "trace").read_text().split()) < 12:
        assert client.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    family = psutil.Process(client.pid).children(recursive=True)
    client.kill()
    client.wait()
    assert psutil.wait_procs(family, timeout=60)[1] == [], "processes outlive the client"
    assert not (tmp_path / "set" / "index.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30
    rendered = sorted(int(line) for line in (tmp_path / "trace").read_text().split())
    assert sorted(set(rendered)) == list(range(30)) and len(rendered) <= 30 + 2  # the image of each process
    alone(flat, tmp_path / "alone", num_images=30)
    assert digests(tmp_path / "set") == digests(tmp_path / "alone")


def test_the_options_of_the_command_line_become_a_place() -> None:
    assert _place(None, 3, ONE_JOB, NO_TLS) is None
    assert _place("local", 3, ONE_JOB, NO_TLS) == Place("local", cores=3)
    batch = BatchConfig(jobs=8, gpus=4)
    assert _place("slurm", None, batch, NO_TLS) == Place("slurm", batch=batch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("slrm", None, ONE_JOB), "cluster 'slrm'; allowed: local, slurm"),
        (("local", 0, ONE_JOB), "workers is 0; allowed: 1 and up"),
        (("slurm", 2, ONE_JOB), "workers is for this machine, not for the cluster slurm"),
        (("local", None, BatchConfig(jobs=2)), "batch options are for the clusters slurm"),
        ((None, None, BatchConfig(jobs=2)), "--batch and --tls options are for --cluster"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _place(*arguments, NO_TLS)


def test_more_workers_than_gpus_are_refused_on_a_cluster(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with pytest.raises(
        BadPlace, match=r"workers is 8, .* one of the 2 GPUs to itself; allowed: 1 to 2, or no --cluster"
    ):
        farm(flat, tmp_path, place=Place(cores=8), device="optix")
    assert list(tmp_path.iterdir()) == []
    assert farm(flat, tmp_path / "gpus", place=Place(cores=2), device="optix")["rendered"] == 12
    assert farm(flat, tmp_path / "cores", place=Place(cores=8), device="cpu")["rendered"] == 12


@pytest.mark.parametrize(("device", "gpus"), [("optix", 1), ("cpu", 0)])
def test_a_shard_asks_for_a_core_and_a_gpu_if_it_is_rendered_on_one(
    tmp_path: Path, flat: ModuleType, device: str, gpus: int
) -> None:
    asked: list[tuple[int, int, str]] = []

    class Noting(InProcess):
        def start(self, job: Job) -> None:
            asked.append((job.cores, job.gpus, job.config.get("device", "cpu")))
            super().start(job)

    @contextmanager
    def noting(place: Place, work: Path) -> Iterator[Cluster]:
        with Noting() as cluster:
            yield cluster

    farm(flat, tmp_path, device=device, opened=noting)
    assert asked == [(1, gpus, device)] * 3


def test_a_set_that_another_device_or_version_would_go_on_with_stays_complete(
    tmp_path: Path, flat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm(flat, tmp_path, num_images=7)
    before = digests(tmp_path)
    plan(monkeypatch, version="flat 1, optix")
    with pytest.raises(ValueError, match=f"{tmp_path} holds shards made with flat 1, here it is flat 1, optix"):
        farm(flat, tmp_path, device="optix")
    assert before.items() <= digests_of_files(tmp_path).items()
    plan(monkeypatch)
    assert farm(flat, tmp_path)["rendered"] == 7  # made here, not taken from what the other device has made
    alone(flat, tmp_path / "alone")
    assert digests(tmp_path / "alone").items() <= digests_of_files(tmp_path).items()


def digests_of_files(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_printed_goes_to_the_log_of_its_shard(tmp_path: Path, flat: ModuleType) -> None:
    session = Session()
    for number in range(2):
        flat.shard(
            ShardConfig(flat.CONFIG, 5 * number, 5),
            out=tmp_path / str(number),
            session=session,
            threads=1,
            log=tmp_path / f"{number}.log",
            device="cpu",
            progress=None,
        )
    session.close()
    for number in range(2):
        lines = (tmp_path / f"{number}.log").read_text().splitlines()
        assert sorted(lines) == [f"image {index}" for index in range(5 * number, 5 * number + 5)]


def test_gpus_must_be_asked_for_from_a_batch_system(tmp_path: Path, flat: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"batch\.gpus is 0, but device is 'optix'"):
        farm(flat, tmp_path / "set", place=Place("slurm"), device="optix")
    assert not (tmp_path / "set").exists()
