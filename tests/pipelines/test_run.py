"""A run's directory: what is read of the tasks, whose results it holds, and the whole of it at the smallest size."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from controller.reinforce import ReinforceConfig
from pipelines.__main__ import build_app
from pipelines.artifact import Store
from pipelines.cluster import ClusterLost
from pipelines.demo_tasks import MadeConfig
from pipelines.experiment import Experiment, ExperimentConfig, ExperimentTask
from pipelines.flow import Flow, InProcess
from pipelines.identity import claim_directory
from pipelines.job import Outcome
from pipelines.place import LOCAL, Place
from pipelines.presets import DEMO, PRESETS, SMALL, tasks_under, with_budget
from pipelines.rendering import DatasetConfig, render_command
from pipelines.results import transfer_scores
from pipelines.run import (
    _check_task,
    _closing_text,
    _protocol,
    _remove_stale_tables,
    _results,
    _some_images,
    run_experiment,
)
from pipelines.stages import Stage, fixed
from pipelines.summary import Score, Setting, Summary, Trial, load_summary
from pipelines.tables import cached_imagenet, write_run_table
from sim.assets import CatalogConfig
from sim.params import SimParams, SimRanges
from sim.shards import RenderConfig
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig
from transfer.table_files import to_html


def make_task(folder: Path, seed: int = 0) -> ExperimentTask:
    """Two classes of 20 pictures, told apart by their brightness."""
    rng = np.random.default_rng(seed)
    for number in range(2):
        (folder / f"class_{number}").mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(60 * number)
            Image.fromarray(pixels).save(folder / f"class_{number}" / f"{index}.png")
    return ExperimentTask(folder.name, folder)


def truncate(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes()[:200])


def test_a_sheet_shows_the_next_picture_of_a_class_for_one_that_is_broken(tmp_path: Path) -> None:
    task = make_task(tmp_path / "task")
    whole, labels = _some_images(task, tmp_path / "task", seed=0)
    assert labels == ["class_0"] * 6 + ["class_1"] * 6 and len(whole) == 12
    first = next(
        path for path in (tmp_path / "task" / "class_0").iterdir() if np.array_equal(Image.open(path), whole[0])
    )
    truncate(first)
    images, labels = _some_images(task, tmp_path / "task", seed=0)
    assert labels == ["class_0"] * 6 + ["class_1"] * 6 and len(images) == 12
    assert all(np.array_equal(*pair) for pair in zip(images[:5], whole[1:6], strict=True))
    assert not np.array_equal(images[5], whole[5])


def test_a_task_without_a_readable_picture_has_an_empty_sheet_and_no_error(tmp_path: Path) -> None:
    task = make_task(tmp_path / "task")
    for path in (tmp_path / "task").rglob("*.png"):
        truncate(path)
    assert _some_images(task, tmp_path / "task", seed=0) == ([], [])


@pytest.mark.parametrize(("split", "named"), [("train", "training"), ("test", "test")])
def test_a_task_of_which_nothing_can_be_decoded_is_refused_before_anything_is_started(
    tmp_path: Path, split: str, named: str
) -> None:
    tasks = tmp_path / "tasks"
    make_task(tasks / "pair" / "train")
    make_task(tasks / "pair" / "test")
    for path in (tasks / "pair" / split).rglob("*.png"):
        truncate(path)
    with pytest.raises(
        ValueError, match=rf"task pair: none of the 6 {named} images .* {split}/class_0/0.png .*decoded"
    ):
        run_experiment(
            "small", SMALL, tasks_under(tasks), out=tmp_path / "out", store=None, place=LOCAL, device="cpu", command=()
        )
    assert not (tmp_path / "out").exists()


def test_broken_pictures_among_others_are_for_the_features_to_judge(tmp_path: Path) -> None:
    task = make_task(tmp_path / "task")
    for path in (tmp_path / "task").rglob("1*.png"):
        truncate(path)
    _check_task(task, SMALL)


def test_what_was_asked_for_beside_a_failed_stage_is_finished(tmp_path: Path, trivial: ModuleType) -> None:
    fakes = importlib.import_module("fake_stages")
    broken = Stage("fake_stages:pretrain_on_random_backgrounds", fixed("1"), "python")
    tasks = (ExperimentTask("a", "a"), ExperimentTask("b", "b"))
    with (
        InProcess() as cluster,
        Flow(Store(tmp_path / "store"), cluster, run="test", stages={**fakes.STAGES, "pretrain": broken}) as flow,
    ):
        parts, missing = _results(Experiment(SMALL, tasks, flow), tmp_path)
    assert parts == {}
    assert len(missing) == 5 and missing[0].startswith("pretrain ") and "it diverged" in missing[0], missing
    stages = [artifact.stage for artifact in flow.complete()]
    assert {name: stages.count(name) for name in ("dataset", "pretrain", "features", "reward")} == {
        "dataset": 2,
        "pretrain": 1,
        "features": 2,
        "reward": 2,
    }


def test_a_run_that_cannot_make_everything_ends_with_3_and_shows_no_table_of_an_earlier_one(
    tmp_path: Path, trivial: ModuleType
) -> None:
    fakes = importlib.import_module("fake_stages")
    broken = Stage("fake_stages:pretrain_on_random_backgrounds", fixed("1"), "python")
    earlier = ("transfer.csv", "trials.csv", *(f"transfer_table.{kind}" for kind in ("csv", "md", "html")))
    for name in earlier:
        (tmp_path / name).write_text("of an earlier run")
    for name in ("backbones", "pictures"):
        (tmp_path / name).mkdir()
    result = run_experiment(
        "small",
        SMALL,
        (ExperimentTask("a", "a"),),
        out=tmp_path,
        store=None,
        place=LOCAL,
        device="cpu",
        command=("simpath", "run"),
        opened=lambda place, out: InProcess(),
        stages={**fakes.STAGES, "pretrain": broken},
    )
    assert result.status == 3
    lines = result.text.splitlines()
    assert lines[0] == "missing:" and any("it diverged" in line for line in lines[1:])
    assert f"numbers   {tmp_path / 'summary.json'}" in lines
    assert load_summary(tmp_path).status == "partial" and load_summary(tmp_path).missing
    assert not [name for name in earlier if (tmp_path / name).exists()]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    listed = re.findall(r'<th scope="row"><code>([^<]*)</code>', page)
    assert {"report.html", "summary.json", "store"} <= set(listed)
    assert not {*earlier, "backbones", "pictures"} & set(listed)


def test_tables_are_listed_and_kept_as_far_as_the_run_has_come(tmp_path: Path) -> None:
    searched = Summary("small", "partial", "x", trials=(Trial(0, "a", "s0", 50.0, "asked"),))
    whole = dataclasses.replace(searched, status="complete", transfer=(Score("a", "chosen", 50.0),))
    names = ("transfer.csv", "trials.csv", "transfer_table.md")
    for summary, kept in ((whole, names), (searched, ("trials.csv",))):
        for name in names:
            (tmp_path / name).touch()
        _remove_stale_tables(summary, tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
        text = _closing_text(summary, (ExperimentTask("a", "a"),), tmp_path, tmp_path / "report.html")
        assert {name for name in names if name in text} == set(kept)


def test_a_lost_cluster_leaves_a_list_of_what_is_still_to_be_made(tmp_path: Path, trivial: ModuleType) -> None:
    class Losing(InProcess):
        left = 3

        def finished(self, timeout_s: float) -> list[Outcome]:
            self.left -= 1
            if self.left < 0:
                raise ClusterLost("the Dask scheduler is gone")
            return super().finished(timeout_s)

    fakes = importlib.import_module("fake_stages")
    with Losing() as cluster, Flow(Store(tmp_path / "store"), cluster, run="test", stages=fakes.STAGES) as flow:
        parts, missing = _results(Experiment(SMALL, (ExperimentTask("a", "a"),), flow), tmp_path)
    assert parts == {} and missing[0] == "the Dask scheduler is gone" and len(missing) > 3
    assert all("not made before the cluster was lost (log: " in line for line in missing[1:])


ODD = RenderConfig(
    params=SimParams(background="sky", materials="random_per_model"),
    ranges=SimRanges(focus_offset_m=(-0.5, 0.25), in_focus_probability=0.5),
    catalog=CatalogConfig(seed=3, num_classes=5, trust_assets=True),
    models="heldout",
    seed=9,
    format="png",
    layout="room",
    passes=("depth", "normals"),
)
RENDERED = {**{name: dataclasses.replace(preset.render, seed=4) for name, preset in PRESETS.items()}, "odd": ODD}


@pytest.mark.parametrize("render", [RenderConfig(), *RENDERED.values()], ids=["default", *RENDERED])
def test_the_command_of_a_setting_makes_the_same_data_set(
    render: RenderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[tuple[RenderConfig, dict[str, Any]]] = []

    def take(config: RenderConfig, **options: Any) -> dict[str, Any]:
        parsed.append((config, options))
        return {"images": 7, "shards": 1, "rendered": 0, "failed": [], "complete": True}

    monkeypatch.setattr("sim.dataset.render_dataset", take)
    words = render_command(DatasetConfig(render, 7), device="optix")
    assert words[0] == "simpath" and build_app().cli(prog="simpath", args=list(words[1:])) == 0
    [(config, options)] = parsed
    assert config.as_json() == render.as_json()
    assert (options["num_images"], options["out"], options["device"]) == (7, Path("DIR"), "optix")


def claim(out: Path, tasks: list[ExperimentTask], *, name: str = "small", config: ExperimentConfig = SMALL) -> None:
    claim_directory(out, name, config, tasks, cache=out.parent / "digests")


def write_summary(out: Path, settings: int) -> None:
    rows = tuple(Setting(f"s{number}", f"asked {number}", {}) for number in range(settings))
    summary = Summary("small", "complete", "simpath run small", settings=rows)
    (out / "summary.json").write_text(json.dumps(dataclasses.asdict(summary)))


def test_the_same_experiment_goes_on_in_its_directory(tmp_path: Path) -> None:
    out, task = tmp_path / "out", make_task(tmp_path / "tasks" / "task")
    claim(out, [task])
    claim(out, [task])
    truncate(tmp_path / "tasks" / "task" / "class_0" / "3.png")
    claim(out, [task])
    shutil.move(tmp_path / "tasks", tmp_path / "elsewhere")
    claim(out, [ExperimentTask("task", tmp_path / "elsewhere" / "task")])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "paper", "config": PRESETS["paper"]}, "experiment is 'small' there and 'paper' here"),
        ({"config": dataclasses.replace(SMALL, num_images=80)}, "config.num_images is 960 there and 80 here"),
        ({"tasks": [ExperimentTask("digits", "digits")]}, "tasks.task.folder is '[^']*/task' there and 'absent' here"),
        ({"tasks": [ExperimentTask("task", MadeConfig("textures"))]}, "tasks.task.folder is '[^']*/task' there"),
    ],
)
def test_another_experiment_is_refused_and_leaves_the_directory_as_it_was(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    out, task = tmp_path / "out", make_task(tmp_path / "task")
    claim(out, [task])
    before = (out / "identity.json").read_bytes()
    with pytest.raises(ValueError, match=f"out holds another experiment: {message}.*; choose another directory"):
        claim(out, **{"tasks": [task], **changed})
    assert (out / "identity.json").read_bytes() == before


def test_other_files_of_a_named_set_elsewhere_are_another_experiment(tmp_path: Path) -> None:
    tasks = []
    for number, name in enumerate("ab"):
        make_task(tmp_path / name / "EuroSAT" / "2750", seed=number)
        tasks.append(ExperimentTask("EuroSAT", "EuroSAT", root=tmp_path / name))
    claim(tmp_path / "out", [tasks[0]])
    claim(tmp_path / "out", [tasks[0]])
    with pytest.raises(ValueError, match=r"tasks.EuroSAT.folder is '.*/a/EuroSAT' there and '.*/b/EuroSAT' here"):
        claim(tmp_path / "out", [tasks[1]])
    truncate(next((tmp_path / "b" / "EuroSAT").rglob("0.png")))
    _check_task(tasks[1], SMALL)
    for picture in (tmp_path / "b" / "EuroSAT").rglob("*.png"):
        truncate(picture)
    with pytest.raises(ValueError, match="task EuroSAT: none of the 6 training images"):
        _check_task(tasks[1], SMALL)


def test_the_table_of_a_run_has_means_ranks_and_significance(tmp_path: Path, trivial: ModuleType) -> None:
    fakes = importlib.import_module("fake_stages")
    tasks = (ExperimentTask("AID", "a"), ExperimentTask("SVHN", "b"), ExperimentTask("mine", "b"))
    config = with_budget(dataclasses.replace(SMALL, final_seeds=2), 4)
    with InProcess() as cluster, Flow(Store(tmp_path / "store"), cluster, run="test", stages=fakes.STAGES) as flow:
        experiment = Experiment(config, tasks, flow)
        found = experiment.search()
        scores = transfer_scores(experiment.transfer(found)[0], seed=config.seed)
        grid = write_run_table(experiment.final_directories(found), tmp_path, seed=config.seed)
    with (tmp_path / "transfer_table.csv").open() as file:
        rows = {(row["row"], row["method"]): row for row in csv.DictReader(file)}
    assert len(scores) == 12
    for score in scores:  # those of transfer.csv
        row = rows[score.task, score.method]
        assert (float(row["score"]), float(row["low"]), float(row["high"])) == (score.score, *score.ci95)
    for name, tasks_of in {
        "mean seen": ["SVHN"],
        "mean unseen": ["AID"],
        "mean own": ["mine"],
        "mean Satellite": ["AID"],
    }.items():
        expected = np.mean([float(rows[task, "chosen"]["score"]) for task in tasks_of])
        assert float(rows[name, "chosen"]["score"]) == pytest.approx(expected)
    assert float(rows["average rank", "chosen"]["score"]) < float(rows["average rank", "random weights"]["score"])
    assert float(rows["AID", "random weights"]["p_value"]) < 0.05 and rows["AID", "chosen"]["p_value"] == ""
    text = (tmp_path / "transfer_table.md").read_text(encoding="utf-8")
    assert "| *mean unseen (1)* |" in text and "published" not in text
    assert to_html(grid) in (tmp_path / "transfer_table.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("arch", ["resnet18", "resnetv2_50"])
def test_imagenet_weights_are_used_when_they_are_in_the_cache(
    tmp_path: Path, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert cached_imagenet(arch) is None
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    file.touch()
    assert cached_imagenet(arch) == (file if arch == "resnet18" else None)


def test_other_images_under_the_name_of_a_task_are_another_experiment(tmp_path: Path) -> None:
    claim(tmp_path / "out", [make_task(tmp_path / "a" / "task", seed=0)])
    with pytest.raises(ValueError, match=r"tasks.task.folder is '.*/a/task' there and '.*/b/task' here"):
        claim(tmp_path / "out", [make_task(tmp_path / "b" / "task", seed=1)])


def test_a_budget_may_grow_and_never_drops_results(tmp_path: Path) -> None:
    out, task = tmp_path / "out", ExperimentTask("digits", "digits")
    claim(out, [task], config=with_budget(SMALL, 6))
    claim(out, [task], config=with_budget(SMALL, 4))  # nothing had come of the first
    write_summary(out, 4)
    claim(out, [task], config=with_budget(SMALL, 6))
    write_summary(out, 6)
    with pytest.raises(ValueError, match="out holds the results of 6 settings; allowed: a budget of so many and more"):
        claim(out, [task], config=with_budget(SMALL, 4))


@pytest.mark.parametrize("name", ["summary.json", "identity.json"])
def test_a_directory_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "summary.json").write_text('{"table": []}')
    (tmp_path / name).write_text('{"data": "abc", "config": {}}')
    with pytest.raises(ValueError, match=r"choose another"):
        claim(tmp_path, [ExperimentTask("digits", "digits")])
    (tmp_path / name).write_text("no JSON")
    with pytest.raises(ValueError, match=r"choose another"):
        claim(tmp_path, [ExperimentTask("digits", "digits")])


def test_a_run_into_the_directory_of_another_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    task = ExperimentTask("digits", "digits")
    claim(tmp_path, [task])
    with pytest.raises(ValueError, match="experiment is 'small' there and 'demo' here"):
        run_experiment(
            "demo", DEMO, [task], out=tmp_path, store=None, place=LOCAL, device="cpu", command=("simpath", "demo")
        )
    assert [path.name for path in tmp_path.iterdir()] == ["identity.json"]


TINY = ExperimentConfig(
    render=RenderConfig(
        size=32, samples=1, images_per_shard=8, catalog=CatalogConfig(num_classes=2, models_per_class=1)
    ),
    num_images=8,
    pretrain=dataclasses.replace(
        DEMO.pretrain, arch="test_resnet", size=32, epochs=1, warmup_epochs=0, batch_size=8, micro_batch=8
    ),
    features=FeatureConfig(size=32, resize=32, max_unreadable=0.1),
    score=ScoreConfig(method="knn", selection="cv"),
    controller=ReinforceConfig(budget=2),
)


@pytest.mark.blender
@pytest.mark.slow
def test_a_run_leaves_its_results_and_a_second_one_computes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("bpy", reason="rendering needs the bpy wheel")
    out, task = tmp_path / "out", make_task(tmp_path / "task")
    truncate(tmp_path / "task" / "class_0" / "0.png")

    def run() -> Summary:
        place = Place(cores=1)
        result = run_experiment("tiny", TINY, [task], out=out, store=None, place=place, device="cpu", command=("x",))
        assert result.status == 0, result.text
        assert str(out / "report.html") in result.text
        return load_summary(out)

    first = run()
    files = {"summary.json", "report.html", "transfer.csv", "trials.csv", "status.json", "identity.json"}
    files |= {"transfer_table.csv", "transfer_table.md", "transfer_table.html"}
    assert files <= {path.name for path in out.iterdir()}
    assert (out / "backbones" / "task.safetensors").is_file()
    assert first.table is not None and to_html(first.table) in (out / "report.html").read_text(encoding="utf-8")
    assert (first.status, first.missing, len(first.settings), len(first.trials)) == ("complete", (), 2, 2)
    methods = [row.method for row in first.transfer if row.task == "task"]
    assert methods == ["random weights", "random", "all_on", "chosen"]
    with (out / "transfer.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file) if row["task"] == "task"] == methods
    pictures = [first.tasks[0].sheet, *(setting.sheet for setting in first.settings)]
    assert len(pictures) == 3 and all((out / str(picture)).is_file() for picture in pictures)
    stages = {"render_shard", "dataset", "pretrain", "features", "reward", "final"}
    assert {stage.stage for stage in first.stages if stage.computed} == stages
    assert {name for machine in first.machines for name in machine.stages} == stages
    assert all(setting.data is not None and setting.data.per_class == (4, 4) for setting in first.settings)
    splits = first.tasks[0].splits
    assert (sum(sum(split.per_class) for split in splits), sum(split.skipped for split in splits)) == (39, 1)

    second = run()
    assert {stage.stage for stage in second.stages} == stages
    assert [stage.computed for stage in second.stages] == [0] * len(stages)
    assert all(stage.from_store == stage.count > 0 for stage in second.stages)
    assert (second.transfer, second.trials, second.chosen) == (first.transfer, first.trials, first.chosen)


def test_the_protocol_says_of_what_the_features_are() -> None:
    assert "on frozen features (images of 64 px), by" in _protocol(DEMO)[0]
    assert "on frozen features (images of 128 px, stage 3 of the network, generalised mean), by" in _protocol(SMALL)[0]
