"""Where artifacts were made: recorded beside their times, no part of what they are."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from pipelines import job
from pipelines.artifact import Store
from pipelines.flow import Flow, InProcess
from pipelines.machine import describe_machine, machine_rows
from pipelines.summary import Machine


def made(host: str, stage: str, cpu: str | None = "Xeon", gpu: str | None = None) -> dict[str, object]:
    machine = {} if cpu is None else {"machine": {"cpu": cpu, "cores": 8, "gpu": gpu, "memory_gb": 64.0}}
    return {"host": host, "stage": stage, **machine}


def test_machines_of_one_kind_are_one_row_with_their_stages_and_the_busiest_is_first() -> None:
    artifacts = [
        made("n1", "pretrain", gpu="V100"),
        made("n2", "render_shard"),
        made("n3", "render_shard"),
        made("n2", "reward"),
        made("old", "reward", cpu=None),
    ]
    assert machine_rows(artifacts) == (
        Machine("Xeon", 8, None, ("n2", "n3"), {"render_shard": 2, "reward": 1}),
        Machine("Xeon", 8, "V100", ("n1",), {"pretrain": 1}),
        Machine("not recorded", None, None, ("old",), {"reward": 1}),
    )
    assert machine_rows([]) == ()


def test_an_artifact_says_where_it_was_made_and_is_the_same_wherever_that_was(
    tmp_path: Path, trivial: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, machine in enumerate((describe_machine(), {"cpu": "another"})):
        monkeypatch.setattr(job, "describe_machine", lambda machine=machine: machine)
        store = Store(tmp_path / str(number))
        with InProcess() as cluster, Flow(store, cluster, run="test", stages=trivial.STAGES) as flow:
            found.append(flow.result(flow.submit("inline", trivial.NumberConfig(1.0))))
    assert [artifact.metadata["machine"]["cpu"] for artifact in found] == [describe_machine()["cpu"], "another"]
    assert found[0].digest == found[1].digest
    assert found[0].metadata["files"] == found[1].metadata["files"] != {}
