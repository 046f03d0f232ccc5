"""For real and as small as can be: the controller trained live on two tasks, and a rendering on a cluster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from controller.reinforce import ReinforceConfig
from pipelines.experiment import ExperimentConfig, ExperimentTask
from pipelines.farm import render_on_cluster
from pipelines.live import recommend_task, train_live
from pipelines.place import Place
from pipelines.presets import DEMO
from pipelines.replay import read_table
from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.shards import RenderConfig
from transfer.embedding import EmbeddingConfig
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig

pytestmark = [pytest.mark.blender, pytest.mark.slow]

TINY = ExperimentConfig(
    render=RenderConfig(
        size=32, samples=1, images_per_shard=8, catalog=CatalogConfig(num_classes=2, models_per_class=1)
    ),
    num_images=8,
    pretrain=dataclasses.replace(
        DEMO.pretrain, arch="test_resnet", size=32, epochs=1, warmup_epochs=0, batch_size=8, micro_batch=8
    ),
    features=FeatureConfig(size=32, resize=32),
    score=ScoreConfig(method="knn", selection="cv"),
    controller=ReinforceConfig(budget=3),
)
EMBEDDING = EmbeddingConfig(size=32, resize=32, draws=64)
PROBE = "random:test_resnet"


def make_task(folder: Path, seed: int) -> ExperimentTask:
    rng = np.random.default_rng(seed)
    for number in range(2):
        (folder / f"class_{number}").mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(60 * number)
            Image.fromarray(pixels).save(folder / f"class_{number}" / f"{index}.png")
    return ExperimentTask(folder.name, folder)


def test_three_settings_make_a_controller_that_answers_for_a_third_task(tmp_path: Path) -> None:
    pytest.importorskip("bpy", reason="rendering needs the bpy wheel")
    tasks = [make_task(tmp_path / "tasks" / name, seed) for seed, name in enumerate("ab")]
    out, place = tmp_path / "out", Place(cores=1)
    result = train_live(TINY, tasks, EMBEDDING, PROBE, out=out, store=None, place=place, device="cpu", threads=1)
    assert result.status == 0 and result.text.startswith("3 settings x 2 tasks evaluated")
    read = read_table(out / "table.csv", out / "vectors.npz")
    assert read.tasks == ("a", "b") and read.rewards.shape == (2, 3)
    assert ((read.rewards >= 0) & (read.rewards <= 100)).all()
    third = make_task(tmp_path / "tasks" / "c", 2)
    answer = recommend_task(
        TINY, str(third.source), EMBEDDING, PROBE, out, budget=0, num_images=8, out=tmp_path / "answer", store=None,
        place=place, device="cpu", threads=1,
    )  # fmt: skip
    assert answer.task == "c" and {near.task for near in answer.neighbours} == {"a", "b"}
    assert answer.command is not None and answer.command.startswith("simpath render")
    status = json.loads((out / "status.json").read_text())
    assert status["title"] == "simpath controller"


def test_a_rendering_on_a_cluster_has_the_bytes_of_one_without(tmp_path: Path) -> None:
    pytest.importorskip("bpy", reason="rendering needs the bpy wheel")
    config = dataclasses.replace(TINY.render, images_per_shard=3)
    render_dataset(config, out=tmp_path / "alone", num_images=8, workers=1)
    render_on_cluster(config, out=tmp_path / "farm", num_images=8, place=Place(cores=2))
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {path.name for path in (tmp_path / "farm").iterdir()} == names and "index.json" in names
    for name in names:
        assert (tmp_path / "farm" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
