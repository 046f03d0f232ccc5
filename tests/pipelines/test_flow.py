"""The flow: what is asked for is made once, in order, and what fails is named and blocks nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.artifact import Store
from pipelines.care import collect, runs
from pipelines.flow import Flow, Given, Handle, InProcess, StageFailed
from pipelines.job import Outcome
from pipelines.stages import Stage, fixed


@pytest.fixture
def inside() -> Iterator[InProcess]:
    with InProcess() as cluster:
        yield cluster


def flow_on(tmp_path: Path, cluster: InProcess, trivial: ModuleType, **settings: Any) -> Flow:
    return Flow(
        Store(tmp_path / "store"), cluster, run="test", stages=settings.pop("stages", trivial.STAGES), **settings
    )


def sum_of(flow: Flow, trivial: ModuleType, values: list[float]) -> Handle:
    numbers = [flow.submit("inline", trivial.NumberConfig(value)) for value in values]
    return flow.submit("total", trivial.SumConfig(), {"numbers": numbers})


def test_a_graph_of_stages_gives_its_result(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        inner = sum_of(flow, trivial, [1, 2])
        outer = flow.submit("total", trivial.SumConfig(0.5), {"numbers": (inner, inner)})
        assert flow.result(outer).summary == {"total": 6.5}
        assert len(flow.outcomes) == 4


def test_equal_requests_are_one_job_and_a_second_run_none(
    tmp_path: Path, inside: InProcess, trivial: ModuleType
) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        first, second = sum_of(flow, trivial, [1, 2, 1.0]), sum_of(flow, trivial, [1, 2, 1])
        assert first == second
        assert flow.result(first).summary == {"total": 4}
        assert len(flow.outcomes) == 3
    with flow_on(tmp_path, inside, trivial) as flow:
        assert flow.result(sum_of(flow, trivial, [1, 2, 1])).summary == {"total": 4}
        assert flow.outcomes == []
        assert len(flow.complete()) == 3
        assert {artifact.digest for artifact in flow.complete()} == {a.digest for a in flow.store.artifacts()}


def test_inputs_are_texts_files_folders_and_parts_of_artifacts(
    tmp_path: Path, inside: InProcess, trivial: ModuleType
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").write_text("abc")
    with flow_on(tmp_path, inside, trivial) as flow:
        number = flow.submit("inline", trivial.NumberConfig(12))

        def ask(text: str | Given) -> Handle:
            inputs = {"text": text, "file": number / "value.json", "folder": folder}
            return flow.submit("lengths", trivial.TextConfig(), inputs)

        before = ask("four")
        assert flow.result(before).summary == [4, 4, 1]
        assert flow.result(before).metadata["inputs"]["file"] == f"{number.digest}/value.json"
        (folder / "b.txt").write_text("new")
        after = ask("four")
        assert after != before
        assert flow.result(after).summary == [4, 4, 2]
        given = [ask(Given("CUB", digest)) for digest in ("a", "b", "a")]
        assert given[0] == given[2] != given[1]


def test_a_stages_version_is_part_of_the_address(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    handles = []
    for version in ("1", "2"):
        stages = {"inline": Stage("trivial_stages:number", fixed(version), "python")}
        with flow_on(tmp_path, inside, trivial, stages=stages) as flow:
            handles.append(flow.submit("inline", trivial.NumberConfig(1)))
            flow.result(handles[-1])
    assert handles[0] != handles[1]


def test_what_a_config_depends_on_is_part_of_the_address(
    tmp_path: Path, inside: InProcess, trivial: ModuleType
) -> None:
    handles = []
    for catalog in ("old", "new"):
        depends = {"catalog": catalog}
        row = Stage("trivial_stages:number", fixed("1"), "python", depends=lambda config, found=depends: found)
        with flow_on(tmp_path, inside, trivial, stages={"inline": row}) as flow:
            handles.append(flow.submit("inline", trivial.NumberConfig(1)))
            assert flow.result(handles[-1]).metadata["inputs"] == depends
    assert handles[0] != handles[1]


def test_a_failure_names_stage_artifact_reason_and_log(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial, logs=tmp_path / "logs") as flow:
        bad = flow.submit("faulty", trivial.FaultConfig("raise"))
        needs_it = flow.submit("total", trivial.SumConfig(), {"numbers": [bad]})
        with pytest.raises(StageFailed) as caught:
            flow.result(needs_it)
        log = tmp_path / "logs" / "faulty" / f"{bad.digest[:16]}.log"
        assert str(caught.value) == f"faulty {bad.digest[:12]}: the value is 3; allowed: 4 (log: {log})"
        assert "about to be raise" in log.read_text()


def test_draining_does_all_that_can_be_done_and_lists_the_rest(
    tmp_path: Path, inside: InProcess, trivial: ModuleType
) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        bad = flow.submit("faulty", trivial.FaultConfig("raise"))
        blocked = flow.submit("total", trivial.SumConfig(), {"numbers": [bad]})
        good = sum_of(flow, trivial, [1, 2])
        missing = flow.drain()
        assert len(missing) == 2
        assert missing[0].startswith(f"faulty {bad.digest[:12]}: the value is 3")
        assert missing[1].startswith(f"total {blocked.digest[:12]}: needs faulty {bad.digest[:12]}")
        assert flow.result(good).summary == {"total": 3}


def test_a_process_that_always_dies_is_given_up(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial, retries=1) as flow:
        bad = flow.submit("faulty", trivial.FaultConfig("die"))
        with pytest.raises(StageFailed, match=r"killed by SIGKILL \(2 attempts\)"):
            flow.result(bad)
        assert [outcome.status for outcome in flow.outcomes] == ["crashed", "crashed"]


def test_a_job_that_is_stopped_again_and_again_goes_on_each_time(tmp_path: Path, trivial: ModuleType) -> None:
    class Walltimes(InProcess):
        stops = 6

        def finished(self, timeout_s: float) -> list[Outcome]:
            if not self.stops:
                return super().finished(timeout_s)
            self.stops -= 1
            return [Outcome(self._queue.pop(0).key.digest, "stopped", "stopped by SIGTERM")]

    with Walltimes() as cluster, flow_on(tmp_path, cluster, trivial) as flow:
        assert flow.result(sum_of(flow, trivial, [3])).summary == {"total": 3}
        assert [outcome.status for outcome in flow.outcomes] == ["stopped"] * 6 + ["done", "done"]


def test_bad_requests_are_refused_at_once(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        with pytest.raises(ValueError, match="unknown stage 'sum'; allowed: number, inline, total"):
            flow.submit("sum", trivial.SumConfig())
        with pytest.raises(FileNotFoundError, match="absent does not exist"):
            flow.submit("total", trivial.SumConfig(), {"numbers": [tmp_path / "absent"]})


def test_a_config_that_does_not_fit_the_stage_is_named(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with (
        flow_on(tmp_path, inside, trivial) as flow,
        pytest.raises(StageFailed, match="inline has the unknown field 'offset'"),
    ):
        flow.result(flow.submit("inline", trivial.SumConfig()))


def test_a_runs_artifacts_survive_collecting(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        flow.result(sum_of(flow, trivial, [1, 2]))
    with flow_on(tmp_path, inside, trivial) as flow:
        flow.result(sum_of(flow, trivial, [1, 3]))
    store = Store(tmp_path / "store")
    assert len(runs(store)["test"]) == 3
    assert collect(store).artifacts == 2
    assert len(list(store.artifacts())) == 3


def test_an_interrupted_run_keeps_what_it_needed_before(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        flow.result(sum_of(flow, trivial, [1, 2]))
    with pytest.raises(KeyboardInterrupt), flow_on(tmp_path, inside, trivial) as flow:
        flow.submit("inline", trivial.NumberConfig(1))
        raise KeyboardInterrupt
    assert collect(Store(tmp_path / "store")).artifacts == 0


def test_a_partial_run_keeps_what_it_needed_before(tmp_path: Path, inside: InProcess, trivial: ModuleType) -> None:
    with flow_on(tmp_path, inside, trivial) as flow:
        flow.result(sum_of(flow, trivial, [1, 2]))
    with flow_on(tmp_path, inside, trivial) as flow:
        flow.submit("faulty", trivial.FaultConfig("raise"))
        assert len(flow.drain()) == 1
    assert collect(Store(tmp_path / "store")).artifacts == 0
