"""What a person may ask for as the place of a run, from the command line's words to what the cluster is opened with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tyro

from pipelines.batch import BatchConfig
from pipelines.commands import runs
from pipelines.place import BadPlace, Place, TlsFiles, training_cores


def words(line: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `simpath demo LINE` would run with."""
    seen: list[dict[str, Any]] = []

    def record(*arguments: Any) -> int:
        names = ("name", "config", "tasks", "out", "store", "place", "device")
        seen.append(dict(zip(names, arguments, strict=True)))
        return 0

    monkeypatch.setattr(runs, "_run", record)
    tyro.cli(runs.demo, args=line.split())
    assert len(seen) == 1
    return seen[0]


def test_every_batch_option_reaches_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "--cluster slurm --batch.jobs 8 --batch.cores 16 --batch.memory 64GB --batch.gpus 4 --batch.queue long "
        "--batch.walltime 1-00:00:00 --batch.stagger-s 900 --batch.account vision --batch.interface ib0 "
        "--batch.directives=--qos=high --batch.directives=--constraint=a100 --batch.prologue true --performance-report"
    )
    expected = BatchConfig(
        jobs=8,
        cores=16,
        memory="64GB",
        gpus=4,
        walltime="1-00:00:00",
        stagger_s=900,
        queue="long",
        account="vision",
        directives=("--qos=high", "--constraint=a100"),
        prologue=("true",),
        interface="ib0",
    )
    assert words(line, monkeypatch)["place"] == Place("slurm", batch=expected, performance_report=True)


def test_credentials_and_local_sizes_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    files = TlsFiles(Path("a.pem"), Path("b.pem"), Path("c.pem"))
    line = "--cluster tls://h:1 --tls.ca a.pem --tls.cert b.pem --tls.key c.pem"
    assert words(line, monkeypatch)["place"] == Place("tls://h:1", tls=files)
    assert words("--cores 4 --workers 2", monkeypatch)["place"] == Place(cores=4, workers=2)
    assert words("--train-processes 4", monkeypatch)["place"] == Place(train_processes=4)
    assert words("", monkeypatch)["place"] == Place()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_processes": 0}, "train_processes is 0; allowed: 1 and up"),
        ({"cluster": "slrm"}, "cluster 'slrm'; allowed: local, slurm, pbs"),
        ({"batch": BatchConfig(jobs=2)}, "batch options are for the clusters slurm, .*, not for local"),
        ({"cluster": "slurm", "workers": 2}, "cores and workers are for the cluster local, not for slurm"),
        ({"cluster": "tcp://h:1", "tls": TlsFiles(Path("a"))}, "tls options are for a cluster tls://HOST:PORT"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Place(**settings)


def test_trainings_share_this_machines_cores_and_have_a_clusters_worker_to_themselves() -> None:
    assert training_cores(Place(), (8, 0), at_once=3, device="cpu") == 2
    assert training_cores(Place(), (1, 0), at_once=8, device="cpu") == 1
    assert training_cores(Place(), (8, 1), at_once=3, device="cuda") == 8
    assert training_cores(Place("slurm"), (8, 0), at_once=3, device="cpu") == 8


def test_a_training_has_a_core_or_a_gpu_for_each_of_its_processes() -> None:
    four = Place("slurm", train_processes=4)
    assert training_cores(four, (16, 4), at_once=2, device="cuda") == 16
    assert training_cores(four, (4, 0), at_once=2, device="cpu") == 4
    assert training_cores(Place(train_processes=4), (4, 0), at_once=2, device="cpu") == 4
    with pytest.raises(BadPlace, match=r"train_processes is 4, but the largest worker has 2 GPUs; allowed: 1 to 2"):
        training_cores(four, (16, 2), at_once=1, device="cuda")
    with pytest.raises(BadPlace, match=r"train_processes is 4, but the largest worker has 3 cores; allowed: 1 to 3"):
        training_cores(four, (3, 8), at_once=1, device="cpu")
    with pytest.raises(BadPlace, match=r"has 0 GPUs; allowed: 1 to 1"):
        training_cores(four, (3, 0), at_once=1, device="cuda")
