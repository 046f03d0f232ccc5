"""The multi-task stage on a small generated data set, its table and its pictures."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pretrain.checkpoint import load_checkpoint
from pretrain.train import TrainingDivergedError
from transfer.dense.config import AdaShareConfig, MultitaskConfig, NetworkConfig
from transfer.dense.data import Scene, SceneSource, stack
from transfer.dense.losses import dense_tasks
from transfer.dense.readers import read_dense
from transfer.dense.rows import Rows
from transfer.dense.sharing import build_network
from transfer.dense.stage import train_multitask
from transfer.dense.training import Tick, predict

CONFIG = MultitaskConfig(
    layout="nyuv2",
    architectures=("hard", "adashare"),
    network=NetworkConfig(arch="resnet18", width=4, head_width=4, head_rates=(1,), dropout=0.1, init_std=None),
    adashare=AdaShareConfig(
        warmup_iterations=1, policy_phases=8, weight_iterations=1, policy_iterations=1, curriculum_speed=1, samples=2
    ),
    crop=16,
    batch_size=2,
    iterations=2,
    validation=0.25,
    seeds=(0, 1),
)


TASKONOMY = replace(
    CONFIG,
    layout="taskonomy",
    tasks=("segmentation", "normals", "depth", "keypoints", "edges"),
    loss_weights=(1.0, 3.0, 2.0, 7.0, 7.0),
    architectures=("hard",),
    balancers=("fixed", "dwa"),
    batch_size=4,
    iterations=3,
    metrics="taskonomy",
    seeds=(0,),
)
"""All training scenes are one batch, so that DWA weighs the losses of the third iteration."""


together = pytest.mark.xdist_group("multitask")
"""One test process for those that share an experiment."""


class Stop(Exception):
    """The run is interrupted."""


@pytest.fixture(scope="module")
def data(scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nyuv2")
    scenes.write_nyuv2(folder)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[int]]:
    out, done = tmp_path_factory.mktemp("multitask"), []
    summary = train_multitask(CONFIG, data, out=out, progress=lambda step, total, note: done.append(step))
    return out, summary, done


@together
def test_the_summary_has_every_row_with_its_numbers(finished: tuple[Path, dict[str, Any], list[int]]) -> None:
    out, summary, done = finished
    assert [row["name"] for row in summary["rows"]] == ["single_task", "hard", "adashare"]
    single, hard, shared = summary["rows"]
    assert single["improvement"]["total"] == 0 and single["improvement"]["ci95"] == [0, 0]
    assert (single["parameters"]["ratio"], hard["parameters"]["ratio"], shared["parameters"]["ratio"]) == (3, 1, 1)
    assert hard["flops"]["trunk"] <= shared["flops"]["trunk"] <= single["flops"]["trunk"] == 3 * hard["flops"]["trunk"]
    assert set(hard["metrics"]) == {"segmentation", "normals", "depth"} and "over_hard" in shared
    assert all(len(row["runs"]) == 2 for row in summary["rows"])
    assert done and done == sorted(done)
    record = json.loads((out / "summary.json").read_text())
    assert record == summary and record["n_validation"] == 2


@together
def test_the_drawn_split_is_written_out(finished: tuple[Path, dict[str, Any], list[int]]) -> None:
    out, _, _ = finished
    record = json.loads((out / "split.json").read_text())
    parts = record["parts"]
    assert {name: len(names) for name, names in parts.items()} == {
        "train": 6, "validation": 2, "test": 4, "train_weights": 5, "train_policy": 1
    }  # fmt: skip
    assert sorted(parts["train"] + parts["validation"]) == sorted(f"rgb/{number}.png" for number in range(8))
    assert sorted(parts["train_weights"] + parts["train_policy"]) == sorted(parts["train"])
    assert parts["test"] == [f"rgb/{number}.png" for number in range(8, 12)]
    assert record["sha256"] == hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


@together
def test_size_and_cost_of_a_row_are_means_over_seeds(finished: tuple[Path, dict[str, Any], list[int]]) -> None:
    out, summary, _ = finished
    shared = summary["rows"][2]
    first, second = (run["flops"]["total"] for run in shared["runs"])
    assert first != second  # the seeds' policies run other blocks
    assert shared["flops"]["total"] == (first + second) / 2
    assert shared["parameters"] == shared["runs"][0]["parameters"] == shared["runs"][1]["parameters"]
    names, *lines = list(csv.reader((out / "table.csv").read_text().splitlines()))
    assert float(lines[2][names.index("GFLOP")]) == pytest.approx((first + second) / 2e9, abs=0.0006)


@together
def test_the_table_has_the_published_columns(finished: tuple[Path, dict[str, Any], list[int]]) -> None:
    out, summary, _ = finished
    names, *lines = list(csv.reader((out / "table.csv").read_text().splitlines()))
    wanted = ["segmentation mIoU", "segmentation PixAcc", "normals Mean", "normals Median", "normals 11.25"]
    wanted += ["normals 22.5", "normals 30", "depth Abs", "depth Rel", "depth d1.25", "depth d1.25^2", "depth d1.25^3"]
    assert names[:4] == ["model", "params (trunks)", "params (M)", "GFLOP"] and names[4:-3] == wanted
    assert names[-3:] == ["Delta_T (%)", "95 % low", "95 % high"] and len(lines) == 3
    miou = summary["rows"][1]["metrics"]["segmentation"]["miou"]["mean"]
    assert summary["table"] == {"columns": names, "lines": lines}
    assert lines[1][0] == "hard" and float(lines[1][4]) == pytest.approx(miou, abs=0.051)
    assert (out / "table.md").read_text().count("\n") == 5


@together
def test_adashare_chooses_among_trained_policies_by_validation(
    finished: tuple[Path, dict[str, Any], list[int]],
) -> None:
    out, summary, _ = finished
    for run in summary["rows"][2]["runs"]:
        scores = [sample["score"] for sample in run["samples"]]
        assert len(scores) == 2 and run["chosen_sample"] == scores.index(max(scores))
        assert run["test"] == run["samples"][run["chosen_sample"]]["test"]
        assert len(run["sample_deltas"]) == 2
        assert run["pruned"]["blocks_per_task"] == [sum(row) for row in run["policy"]]
        assert run["pruned"]["ratio"] <= 1 and np.array(run["probabilities"]).shape == (3, 8)
        assert [record["opened"] for record in run["rounds"]] == list(range(1, 9))
        folder = out / "runs" / "adashare" / f"seed-{run['seed']}"
        with Image.open(folder / "policy.png") as grid:
            assert grid.width > 8 * 20
        assert not list(folder.rglob("*.pt"))


@together
def test_every_run_leaves_weights_statistics_and_a_picture(
    finished: tuple[Path, dict[str, Any], list[int]],
) -> None:
    out, _, _ = finished
    for row in ("single_task", "hard", "adashare"):
        for seed in CONFIG.seeds:
            folder = out / "runs" / row / f"seed-{seed}"
            statistics = load_file(folder / "statistics.safetensors")
            assert {name: len(table) for name, table in statistics.items()} == dict.fromkeys(CONFIG.tasks, 4)
            assert len(load_file(folder / "weights.safetensors")) > 20
            with Image.open(folder / "predictions.png") as sheet:
                assert sheet.width > 7 * 100 and sheet.height > 4 * 100


@together
def test_a_finished_experiment_is_read_and_another_one_refused(
    finished: tuple[Path, dict[str, Any], list[int]], data: Path
) -> None:
    out, summary, _ = finished
    again = train_multitask(CONFIG, data, out=out)
    assert again == summary
    with pytest.raises(ValueError, match="another config; choose another directory"):
        train_multitask(replace(CONFIG, iterations=3), data, out=out)


@together
def test_several_jobs_leave_what_one_does(
    finished: tuple[Path, dict[str, Any], list[int]], data: Path, tmp_path: Path
) -> None:
    out, summary, _ = finished
    threads, done = torch.get_num_threads(), []
    again = train_multitask(
        CONFIG, data, out=tmp_path, jobs=2, threads=threads, progress=lambda step, total, note: done.append(step)
    )
    assert again["table"] == summary["table"]
    assert done and done == sorted(done)
    for path in out.glob("runs/**/weights.safetensors"):
        assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes(), path


@pytest.fixture
def forked_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are forked from a process that has imported PyTorch; a test of what ends them needs no other ones."""
    forking = multiprocessing.get_context("forkserver")
    monkeypatch.setattr("transfer.dense.jobs.multiprocessing.get_context", lambda method: forking)


@pytest.mark.xdist_group("forkserver")
@pytest.mark.usefixtures("forked_jobs")
def test_what_a_job_raises_ends_the_others_and_is_raised(data: Path, tmp_path: Path) -> None:
    diverging = replace(CONFIG, head_learning_rate=1e30, trunk_learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match="weights are not finite; use a smaller learning rate"):
        train_multitask(diverging, data, out=tmp_path, jobs=2, threads=1)
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.xdist_group("forkserver")
@pytest.mark.usefixtures("forked_jobs")
def test_jobs_that_are_told_to_end_save_their_networks(data: Path, tmp_path: Path) -> None:
    def terminate(step: int, total: int, note: str) -> None:
        raise SystemExit(75)  # what SIGTERM does to the command line

    with pytest.raises(SystemExit):
        train_multitask(replace(CONFIG, iterations=10**6), data, out=tmp_path, jobs=2, threads=1, progress=terminate)
    assert multiprocessing.active_children() == []
    saved = sorted(tmp_path.glob("runs/single_task/seed-*/checkpoint.pt"))
    assert len(saved) >= 1  # the other job may not have begun
    assert all(0 < load_checkpoint(path)["iteration"] < 10**6 for path in saved)


def _files(folder: Path) -> dict[str, bytes]:
    """What a row leaves, without the seconds that it took."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = json.loads(files["result.json"])
    return files | {"result.json": json.dumps({key: result[key] for key in result if key != "seconds"}).encode()}


@together
def test_adashare_goes_on_after_the_very_step_that_was_its_last(
    finished: tuple[Path, dict[str, Any], list[int]], data: Path, tmp_path: Path
) -> None:
    whole, summary, _ = finished
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    (out / "summary.json").unlink()
    shutil.rmtree(out / "runs" / "adashare" / "seed-0")
    scenes = read_dense(CONFIG, data)

    def steps_until(last: str) -> list[str]:
        """Train until the first step with this note is done; the notes of all steps."""
        notes: list[str] = []

        def tick_of(run: str) -> Tick:
            def tick(note: str) -> None:
                notes.append(f"{run}: {note}")
                if notes[-1] == last:
                    raise Stop

            return tick

        rows = Rows(CONFIG, scenes, out=out / "runs", device="cpu", tick_of=tick_of, checkpoint_every_s=0)
        rows.train("single_task", "fixed", 0)
        with pytest.raises(Stop):
            rows.train("adashare", "fixed", 0)
        return notes

    searched = steps_until("adashare, seed 0: round 3/8, 3 blocks open")
    assert len(searched) == 1 + 2 + 2 + 1
    retrained = steps_until("adashare, seed 0, policy 2: iteration 1/2")
    assert retrained[0] == searched[-1] and len(retrained) == 17 - len(searched) + 2 + 1
    rest: list[str] = []
    resumed = train_multitask(CONFIG, data, out=out, progress=lambda step, total, note: rest.append(note))
    assert rest == ["adashare, seed 0, policy 2: iteration 2/2"]
    assert resumed["table"] == summary["table"]
    row = Path("runs") / "adashare" / "seed-0"
    assert len(_files(whole / row)) == 5 + 2 * 4
    assert _files(out / row) == _files(whole / row)


@together
def test_a_policy_that_cannot_be_scored_is_refused(
    finished: tuple[Path, dict[str, Any], list[int]], data: Path, tmp_path: Path
) -> None:
    class Fading:
        """Scenes whose pictures can be read twice."""

        def __init__(self, source: SceneSource) -> None:
            self.source, self.read_so_far = source, 0

        def read(self, row: int) -> Scene:
            scene = self.source.read(row)
            self.read_so_far += 1
            return scene if self.read_so_far <= 2 else replace(scene, image=scene.image * math.nan)

    scenes = read_dense(CONFIG, data)
    assert len(scenes.val) == 2  # the search reads them once, in its last round
    scenes = replace(scenes, val=replace(scenes.val, source=Fading(scenes.val.source)))
    rows = Rows(CONFIG, scenes, out=tmp_path, device="cpu", tick_of=lambda run: lambda note: None)
    rows.reference[0] = finished[1]["rows"][0]["runs"][0]
    with pytest.raises(ValueError, match="adashare, seed 0, policy 1 scores nan on the validation scenes"):
        rows.train("adashare", "fixed", 0)
    assert not list(tmp_path.rglob("result.json"))


@pytest.fixture(scope="module")
def taskonomy(scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    data, out = tmp_path_factory.mktemp("taskonomy"), tmp_path_factory.mktemp("multitask")
    scenes.write_taskonomy(data, val=1, test=1)
    return data, out, train_multitask(TASKONOMY, data, out=out)


@together
def test_taskonomys_table_has_its_losses_as_columns(taskonomy: tuple[Path, Path, dict[str, Any]]) -> None:
    data, out, summary = taskonomy
    names, *lines = list(csv.reader((out / "table.csv").read_text().splitlines()))
    wanted = ["segmentation CE", "normals Cosine", "depth L1", "keypoints L1", "edges L1"]
    assert names[4:-3] == wanted and len(lines) == 3
    scenes = read_dense(TASKONOMY, data)
    tasks = dense_tasks(TASKONOMY, classes=scenes.classes, class_weights=scenes.class_weights)
    network = build_network("hard", tasks, TASKONOMY.network, TASKONOMY.sharing, seed=0).eval()
    network.load_state_dict(load_file(out / "runs" / "hard" / "seed-0" / "weights.safetensors"))
    assert len(scenes.test) == 1
    scene = scenes.test.read(0)
    prediction = predict(network, stack([scene], TASKONOMY.tasks).images)["depth"][0]
    depth = scene.labels["depth"]
    errors = (prediction.repeat_interleave(8, 1).repeat_interleave(8, 2) - depth).abs()
    expected = float(errors[depth > 0].mean())
    assert lines[1][0] == "hard" and float(lines[1][names.index("depth L1")]) == pytest.approx(expected, abs=0.00051)
    assert summary["rows"][1]["metrics"]["depth"]["l1"]["mean"] == pytest.approx(expected, rel=1e-5)


@together
def test_a_row_per_balancer_trains_other_weights(taskonomy: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, summary = taskonomy
    assert [row["name"] for row in summary["rows"]] == ["single_task", "hard", "hard+dwa"]
    fixed, dwa = (load_file(out / "runs" / row / "seed-0" / "weights.safetensors") for row in ("hard", "hard+dwa"))
    assert fixed.keys() == dwa.keys() and len(fixed) > 20
    assert any(not torch.equal(value, dwa[name]) for name, value in fixed.items())
