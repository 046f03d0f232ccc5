"""The experiment's loop on stages whose outcome is known: what it asks, chooses, compares, and what it does twice."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from controller.reinforce import ReinforceConfig
from pipelines.artifact import Store
from pipelines.experiment import Experiment, ExperimentConfig, ExperimentTask, Found, Setting
from pipelines.flow import Flow, InProcess, StageFailed
from pipelines.presets import DEMO, SMALL, tasks_under
from pipelines.results import ALL_ON, CHOSEN, IMAGENET, RANDOM, RANDOM_WEIGHTS
from pipelines.stages import Stage, fixed
from pretrain.train import PretrainConfig
from sim.params import TASK2SIM_SPACE, all_on
from transfer.tasks import load_task

pytestmark = pytest.mark.xdist_group("experiment")

TASKS = (ExperimentTask("a", "a"), ExperimentTask("b", "b"))
CONFIG = dataclasses.replace(
    SMALL, num_images=480, controller=ReinforceConfig(budget=8), uniform_settings=2, final_seeds=2
)


@pytest.fixture(scope="module")
def fakes(trivial: ModuleType) -> ModuleType:
    return importlib.import_module("fake_stages")


@pytest.fixture
def flow(tmp_path: Path, fakes: ModuleType) -> Iterator[Flow]:
    with InProcess() as cluster, Flow(Store(tmp_path), cluster, run="test", stages=fakes.STAGES) as flow:
        yield flow


@dataclass(frozen=True)
class Searched:
    experiment: Experiment
    found: Found
    made: tuple[str, ...]
    """The stage of everything that the search has made."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, fakes: ModuleType) -> Iterator[Searched]:
    """One search for all tests that look at what came of it."""
    store = Store(tmp_path_factory.mktemp("searched"))
    with InProcess() as cluster, Flow(store, cluster, run="test", stages=fakes.STAGES) as flow:
        experiment = Experiment(CONFIG, TASKS, flow)
        found = experiment.search()
        yield Searched(experiment, found, tuple(store.load(outcome.digest).stage for outcome in flow.outcomes))


def test_the_search_spends_its_budget_on_distinct_settings_and_scores_each_on_every_task(searched: Searched) -> None:
    found = searched.found
    assert len(found.settings) == 8
    assert len({setting.action for setting in found.settings}) == 8
    assert [setting.origin for setting in found.settings] == ["all_off", "all_on", *["uniform"] * 2, *["asked"] * 4]
    assert set(found.rewards) == {(task.name, setting.id) for task in TASKS for setting in found.settings}


def test_each_task_gets_the_background_that_it_likes(searched: Searched) -> None:
    experiment, found = searched.experiment, searched.found
    by_id = {setting.id: setting for setting in found.settings}
    assert experiment.params(by_id[found.chosen["a"]]).background == "random"
    assert experiment.params(by_id[found.chosen["b"]]).background == "fixed"
    assert found.probabilities["a"]["background"]["random"] > 0.5 > found.probabilities["b"]["background"]["random"]


def test_equal_choices_render_and_train_once(searched: Searched) -> None:
    assert searched.made.count("pretrain") == searched.made.count("dataset") == len(searched.found.settings)


def test_a_run_that_goes_on_with_another_device_mixes_no_shards(flow: Flow) -> None:
    setting = Setting("s0", "all on", all_on(TASK2SIM_SPACE), "all_on")
    handles, rendered = [], []
    for device in ("cpu", "cuda", "cpu"):
        handles.append(Experiment(CONFIG, TASKS, flow, device=device).dataset(setting))
        flow.wait(handles)
        shards = flow.store.load(handles[-1].digest).metadata["inputs"]["shards"]
        rendered.append({flow.store.load(digest).metadata["config"].get("device", "cpu") for digest in shards})
    assert rendered == [{"cpu"}, {"optix"}, {"cpu"}]
    assert handles[0] == handles[2] != handles[1]


def test_a_training_has_the_processes_that_were_asked_for(flow: Flow) -> None:
    config = dataclasses.replace(CONFIG, pretrain=PretrainConfig(batch_size=1024, micro_batch=256))
    experiment = Experiment(config, TASKS, flow, train_processes=4)
    setting = Setting("s0", "all on", all_on(experiment.space), "all_on")
    backbone = experiment.backbone(setting, 0)
    assert flow.result(backbone).summary == {"seed": 0, "processes": 4}
    assert Experiment(config, TASKS, flow).backbone(setting, 0) == backbone, "the artifact is the same"
    with pytest.raises(ValueError, match="training by 3 processes; allowed: 1, 2, 4, because"):
        Experiment(config, TASKS, flow, train_processes=3)


def test_a_second_search_on_the_same_store_computes_nothing_and_finds_the_same(
    searched: Searched, fakes: ModuleType
) -> None:
    store = Store(searched.experiment.flow.store.root)
    with InProcess() as cluster, Flow(store, cluster, run="again", stages=fakes.STAGES) as again:
        assert Experiment(CONFIG, TASKS, again).search() == searched.found
        assert again.outcomes == []


def test_the_table_has_all_methods_and_their_rows_the_seeds_that_were_asked_for(searched: Searched) -> None:
    found = searched.found
    table, picks = searched.experiment.transfer(found)
    assert set(table) == {(t, m) for t in ("a", "b") for m in (RANDOM_WEIGHTS, RANDOM, ALL_ON, CHOSEN)}
    assert table["a", CHOSEN].correct.shape == (2, 40) and table["a", RANDOM].correct.shape == (2, 40)
    assert [float(np.mean(table["a", m].correct)) for m in (RANDOM_WEIGHTS, ALL_ON, CHOSEN)] == [0.25, 0.75, 0.75]
    assert [float(np.mean(table["b", m].correct)) for m in (RANDOM_WEIGHTS, ALL_ON, CHOSEN)] == [0.25, 0.5, 0.75]
    assert set(picks) == {(setting, task) for setting in set(found.chosen.values()) for task in ("a", "b")}


def test_imagenet_weights_have_a_column_where_there_is_a_file(tmp_path: Path, searched: Searched) -> None:
    found, flow = searched.found, searched.experiment.flow
    weights = tmp_path / "resnet18.pth"
    weights.write_bytes(b"weights")
    experiment = Experiment(CONFIG, TASKS, flow, imagenet=weights)
    table, _ = experiment.transfer(found)
    columns = (RANDOM_WEIGHTS, IMAGENET, RANDOM, ALL_ON, CHOSEN)
    assert (
        list(dict.fromkeys(method for _, method in table)) == list(columns) == list(experiment.final_directories(found))
    )
    assert table["a", IMAGENET].correct.shape == (1, 40) and table["a", IMAGENET].settings == ()
    features = [
        flow.store.load(o.digest).summary for o in flow.outcomes if flow.store.load(o.digest).stage == "features"
    ]
    assert sum(summary["backbone"] == f"torchvision:resnet18:{weights}" for summary in features) == len(TASKS)
    weights.write_bytes(b"others")
    again = Experiment(CONFIG, TASKS, flow, imagenet=weights)
    assert again.imagenet_backbone.digest != experiment.imagenet_backbone.digest


def test_a_named_set_is_read_by_its_name_and_known_by_its_files(tmp_path: Path, flow: Flow) -> None:
    (tmp_path / "EuroSAT").mkdir()
    file = tmp_path / "EuroSAT" / "picture.jpg"
    file.write_bytes(b"one")
    task = ExperimentTask("EuroSAT", "EuroSAT", root=tmp_path)
    experiment = Experiment(CONFIG, (task,), flow)
    first = experiment.features(task, "random:resnet18")
    summary = flow.result(first).summary
    assert (summary["task"], summary["root"]) == ("EuroSAT", str(tmp_path))
    assert experiment.task_folder(task) is None and task.folder == tmp_path / "EuroSAT"
    file.write_bytes(b"another")
    assert experiment.features(task, "random:resnet18") != first


def test_no_test_split_is_read_before_the_choice_is_made(searched: Searched) -> None:
    assert "reward" in searched.made and "final" not in searched.made


def test_a_failing_stage_is_named(tmp_path: Path, fakes: ModuleType) -> None:
    stages = {**fakes.STAGES, "pretrain": Stage("fake_stages:absent", fixed("1"), "python")}
    with InProcess() as cluster, Flow(Store(tmp_path), cluster, run="test", stages=stages) as flow:
        with pytest.raises(StageFailed, match=r"pretrain .*fake_stages:absent"):
            Experiment(CONFIG, TASKS, flow).search()
        assert flow.missing()


def test_a_budget_without_room_for_what_is_always_evaluated_is_refused() -> None:
    with pytest.raises(ValueError, match=r"budget is 3; allowed: at least uniform_settings \(2\) and two"):
        dataclasses.replace(CONFIG, controller=ReinforceConfig(budget=3))


def test_two_tasks_of_one_name_are_refused(flow: Flow) -> None:
    with pytest.raises(ValueError, match="same name"):
        Experiment(CONFIG, (*TASKS, TASKS[0]), flow)


def test_the_demo_renders_five_settings_of_480_images() -> None:
    assert isinstance(DEMO, ExperimentConfig)
    assert (DEMO.controller.budget, DEMO.num_images, DEMO.uniform_settings) == (5, 480, 0)


def test_tasks_are_the_folders_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").write_text("not a task")
    assert [task.name for task in tasks_under(tmp_path)] == ["a", "b"]
    with pytest.raises(FileNotFoundError, match="no folder inside"):
        tasks_under(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no folder"):
        tasks_under(tmp_path / "absent")


def write_classes(folder: Path) -> None:
    for name in ("AnnualCrop", "Forest"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(folder / name / f"{number}.jpg")


def test_a_folder_named_as_one_of_the_20_sets_is_read_as_that_set(tmp_path: Path) -> None:
    write_classes(tmp_path / "EuroSAT" / "2750")
    write_classes(tmp_path / "eurosat")
    named, own = tasks_under(tmp_path)
    assert named == ExperimentTask("EuroSAT", "EuroSAT", root=tmp_path) and own.source == tmp_path / "eurosat"
    with pytest.raises(ValueError, match="only one class"):
        load_task(tmp_path / "EuroSAT")  # what it would be as a folder


def test_a_folder_named_as_one_of_the_20_sets_without_its_files_is_refused_in_one_line(tmp_path: Path) -> None:
    write_classes(tmp_path / "DTD")
    with pytest.raises(
        ValueError, match=r"DTD has the name of one of the 20 sets, but not its files: .*images/.*verify"
    ):
        tasks_under(tmp_path)
