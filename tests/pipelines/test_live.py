"""Live rewards on stages whose outcome is known: the controller's directory, refined answers, and what runs twice."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file

from controller.reinforce import ReinforceConfig
from pipelines.artifact import Store
from pipelines.care import runs
from pipelines.experiment import Experiment, ExperimentTask
from pipelines.flow import Flow, InProcess
from pipelines.live import Evaluator, open_experiment, recommend_task, search_and_keep
from pipelines.place import Place
from pipelines.presets import DEMO, SMALL
from pipelines.recommend import recommend
from pipelines.replay import read_table
from pipelines.stages import Stage, fixed
from transfer.embedding import EmbeddingConfig

TASKS = (ExperimentTask("a", "a"), ExperimentTask("b", "b"), ExperimentTask("c", "c"))
VECTORS = {"a": np.array([1.0, 0.0, 0.2]), "b": np.array([0.0, 1.0, 0.2]), "c": np.array([0.1, 1.0, 0.2])}
CONFIG = dataclasses.replace(SMALL, controller=ReinforceConfig(budget=8, in_flight=3), uniform_settings=0)
BY = {"probe": "resnet18 sha256:0", "embedding": {"size": 64}}


@pytest.fixture
def fakes(trivial: ModuleType) -> ModuleType:
    return importlib.import_module("fake_stages")


@pytest.fixture
def flow(tmp_path: Path, fakes: ModuleType) -> Iterator[Flow]:
    with InProcess() as cluster, Flow(Store(tmp_path / "store"), cluster, run="test", stages=fakes.STAGES) as flow:
        yield flow


def test_a_live_search_leaves_a_controller_that_answers_for_new_tasks(tmp_path: Path, flow: Flow) -> None:
    out = tmp_path / "controller"
    out.mkdir()
    result = search_and_keep(Experiment(CONFIG, TASKS, flow, vectors=VECTORS), VECTORS, BY, out)
    assert result.status == 0 and result.text.startswith("8 settings x 3 tasks evaluated")
    said = {line.split()[0]: line for line in result.text.splitlines()[1:4]}
    assert set(said) == {"a", "b", "c"}
    assert "75.00 with" in said["a"] and "background=random" in said["a"] and "background" not in said["b"]
    table = read_table(out / "table.csv", out / "vectors.npz")
    assert table.tasks == ("a", "b", "c") and table.rewards.shape == (3, 8)
    background = table.space.names.index("background")
    for task, liked in (("a", 1), ("b", 0), ("c", 0)):
        rewards = table.rewards[table.tasks.index(task)]
        assert set(rewards[table.actions[:, background] == liked]) == {75.0}
        assert set(rewards[table.actions[:, background] != liked]) == {50.0}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["probe"] == BY["probe"] and summary["settings"] == 8
    assert summary["chosen"]["a"]["background"] == "random" and summary["chosen"]["b"]["background"] == "fixed"
    assert load_file(out / "state.safetensors")["rewards"].shape == (3, 8)
    assert recommend(out, "new", np.array([0.0, 1.0, 0.19])).params["background"] == "fixed"


def test_runs_into_directories_of_one_name_are_two_runs_of_a_common_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for parent in ("one", "two"):
        out = tmp_path / parent / "out"
        place = Place(cores=1)
        with open_experiment("controller", CONFIG, TASKS, out=out, store=store, place=place, device="cpu") as opened:
            opened.flow.record.add(parent)
    assert sorted(map(sorted, runs(Store(store)).values())) == [["one"], ["two"]]


def test_the_search_again_computes_nothing_and_leaves_the_same(tmp_path: Path, flow: Flow, fakes: ModuleType) -> None:
    names = ("table.csv", "state.safetensors", "summary.json")
    for number in range(2):
        (tmp_path / str(number)).mkdir()
    search_and_keep(Experiment(CONFIG, TASKS, flow, vectors=VECTORS), VECTORS, BY, tmp_path / "0")
    with InProcess() as cluster, Flow(Store(tmp_path / "store"), cluster, run="b", stages=fakes.STAGES) as again:
        search_and_keep(Experiment(CONFIG, TASKS, again, vectors=VECTORS), VECTORS, BY, tmp_path / "1")
        assert again.outcomes == []
    for name in names:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_live_evaluations_go_through_the_store(tmp_path: Path, flow: Flow, fakes: ModuleType) -> None:
    out = tmp_path / "controller"
    out.mkdir()
    search_and_keep(Experiment(CONFIG, TASKS[:2], flow, vectors=VECTORS), VECTORS, BY, out)
    between = np.array([0.5, 0.5, 0.2])  # the vector does not tell whether the task is like a or like b
    task = ExperimentTask("a", "a")
    answers = []
    for run in ("first", "second"):
        with InProcess() as cluster, Flow(Store(tmp_path / "s"), cluster, run=run, stages=fakes.STAGES) as fresh:
            evaluate = Evaluator(Experiment(DEMO, [task], fresh), task)
            answers.append(recommend(out, "new", between, budget=5, evaluate=evaluate))
            trained = [o for o in fresh.outcomes if fresh.store.load(o.digest).stage == "pretrain"]
            assert len(trained) == (5 if run == "first" else 0)
    assert answers[0] == answers[1]
    assert len(answers[0].evaluated) == 5
    assert answers[0].params["background"] == "random"
    blind = recommend(out, "new", between)
    assert answers[0].probabilities["background"]["random"] > blind.probabilities["background"]["random"]


def test_a_failing_stage_makes_the_search_partial_and_leaves_no_controller(tmp_path: Path, fakes: ModuleType) -> None:
    stages = {**fakes.STAGES, "pretrain": Stage("fake_stages:absent", fixed("1"), "python")}
    with InProcess() as cluster, Flow(Store(tmp_path / "s"), cluster, run="t", stages=stages) as flow:
        result = search_and_keep(Experiment(CONFIG, TASKS, flow, vectors=VECTORS), VECTORS, BY, tmp_path)
    assert result.status == 3 and "fake_stages:absent" in result.text
    assert not (tmp_path / "summary.json").exists()


def test_parameters_that_simpath_cannot_render_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    rows = [f"{task},{fog},{reward}" for task in "abc" for fog, reward in (("no", 1), ("thick", 2))]
    (tmp_path / "table.csv").write_text("\n".join(["task,fog,reward", *rows]) + "\n")
    np.savez(tmp_path / "vectors.npz", **VECTORS)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="varies fog=no, which simpath cannot render; ask without a budget"):
        recommend_task(
            DEMO, "x", EmbeddingConfig(), "random:resnet18", tmp_path, budget=2, num_images=9, out=tmp_path / "out",
            store=None, place=Place(), device="cpu",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
