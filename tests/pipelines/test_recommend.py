"""Training a controller on a table, resuming it, and recommendations with and without live evaluations."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest

import pipelines.controllers
from controller.reinforce import ReinforceConfig
from controller.synthetic import make_table
from pipelines.controllers import check_vectors, train_controller
from pipelines.flow import StageFailed
from pipelines.recommend import format_recommendation, recommend
from sim.params import TASK2SIM_SPACE

TABLE = make_table(2, num_tasks=9, latent=2, vector_dim=12)
CONFIG = ReinforceConfig(rounds=12, table_updates=5)


def written(folder: Path, tasks: int = 8) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", *TABLE.space.names, "reward"])
        for task, row in zip(TABLE.tasks[:tasks], TABLE.rewards, strict=False):
            for action, reward in zip(TABLE.actions.tolist(), row, strict=True):
                writer.writerow([task, *TABLE.space.to_levels(tuple(action)).values(), f"{reward:.6f}"])
    np.savez(folder / "v.npz", **dict(zip(TABLE.tasks[:tasks], TABLE.vectors, strict=False)))
    return folder / "t.csv", folder / "v.npz"


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("controller")
    train_controller(CONFIG, *written(folder / "in"), out=folder / "out")
    return folder / "out"


def truth(levels: dict[str, str]) -> float:
    column = TABLE.actions.tolist().index(list(TASK2SIM_SPACE.from_levels(levels)))
    return float(TABLE.rewards[8, column])


def test_training_that_was_killed_ends_with_the_same_bits(
    controller: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def die(*call: object) -> None:
        if len(calls) == 3:
            raise Killed
        calls.append(call)

    calls: list[object] = []
    monkeypatch.setattr(pipelines.controllers, "SAVE_EVERY", 2)
    files = written(tmp_path / "in")
    with pytest.raises(Killed):
        train_controller(CONFIG, *files, out=tmp_path / "out", progress=die)
    assert not (tmp_path / "out" / "summary.json").exists()
    train_controller(CONFIG, *files, out=tmp_path / "out")
    for name in ("summary.json", "state.safetensors", "table.csv", "vectors.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (controller / name).read_bytes()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_finished_controller_is_returned_and_another_is_refused(controller: Path, tmp_path: Path) -> None:
    files = controller / "table.csv", controller / "vectors.npz"
    before = (controller / "summary.json").stat().st_mtime_ns
    summary = train_controller(CONFIG, *files, out=controller)
    assert (controller / "summary.json").stat().st_mtime_ns == before
    assert summary["tasks"] == list(TABLE.tasks[:8]) and set(summary["chosen"]) == set(TABLE.tasks[:8])
    with pytest.raises(ValueError, match="another table or configuration"):
        train_controller(ReinforceConfig(rounds=3), *files, out=controller)
    with pytest.raises(ValueError, match="no budget"):
        train_controller(ReinforceConfig(budget=3), *files, out=tmp_path)


def test_a_recommendation_has_all_that_a_reader_needs(controller: Path) -> None:
    result = recommend(controller, "new", TABLE.vectors[8], num_images=500, out="my renders")
    assert set(result.params) == set(TASK2SIM_SPACE.names)
    for name, levels in result.probabilities.items():
        assert sum(levels.values()) == pytest.approx(1)
        assert set(levels) == set(dict(TASK2SIM_SPACE.levels)[name])
    low, high = result.gain_ci95
    assert low < result.expected_gain < high
    cosines = TABLE.vectors[:8] @ TABLE.vectors[8]
    assert [n.task for n in result.neighbours] == [TABLE.tasks[row] for row in np.argsort(-cosines)[:3]]
    assert result.command is not None
    words = shlex.split(result.command)
    assert words[:6] == ["simpath", "render", "--out", "my renders", "--num-images", "500"]
    assert words[words.index("--params.background") + 1] == result.params["background"]
    text = format_recommendation(result)
    assert result.command in text and "nearest seen tasks" in text


def test_live_evaluations_refine_it(controller: Path) -> None:
    asked: list[dict[str, str]] = []

    def evaluate(levels: dict[str, str]) -> float:
        asked.append(levels)
        return truth(levels)

    blind = recommend(controller, "new", TABLE.vectors[8])
    refined = recommend(controller, "new", TABLE.vectors[8], budget=12, evaluate=evaluate)
    assert len(asked) == 12 and [levels for levels, _ in refined.evaluated] == asked
    assert asked[0] == blind.params
    assert truth(refined.params) >= truth(blind.params)
    best, mean = TABLE.rewards[8].max(), TABLE.rewards[8].mean()
    assert (truth(refined.params) - mean) / (best - mean) > 0.85
    assert refined.gain_ci95[1] - refined.gain_ci95[0] < blind.gain_ci95[1] - blind.gain_ci95[0]


def test_bad_input_is_refused(controller: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no trained controller"):
        recommend(tmp_path, "new", TABLE.vectors[8])
    with pytest.raises(ValueError, match="has 3 numbers, the controller's have 12; use the same probe"):
        recommend(controller, "new", np.ones(3))
    with pytest.raises(ValueError, match="zero or not finite"):
        recommend(controller, "new", np.zeros(12))
    with pytest.raises(ValueError, match="needs a way to evaluate"):
        recommend(controller, "new", TABLE.vectors[8], budget=2)
    with pytest.raises(ValueError, match="budget is -1"):
        recommend(controller, "new", TABLE.vectors[8], budget=-1)


def test_a_stage_that_fails_ends_the_evaluations_and_is_named(controller: Path) -> None:
    asked: list[dict[str, str]] = []

    def evaluate(levels: dict[str, str]) -> float:
        asked.append(levels)
        if len(asked) == 3:
            raise StageFailed("render_shard 0123: no Blender (log: x.log)")
        return truth(levels)

    result = recommend(controller, "new", TABLE.vectors[8], budget=5, evaluate=evaluate)
    assert len(asked) == 3 and [levels for levels, _ in result.evaluated] == asked[:2]
    assert result.missing == ("render_shard 0123: no Blender (log: x.log)",)
    assert "missing:\n  render_shard 0123: no Blender (log: x.log)" in format_recommendation(result)


def test_vectors_of_another_probe_or_protocol_are_refused(controller: Path, tmp_path: Path) -> None:
    here = {"probe": "resnet18 sha256:a", "config": {"size": 64, "draws": 100}}
    check_vectors(controller, here)  # a recorded table does not say how its vectors were made
    (tmp_path / "summary.json").write_text(
        '{"probe": "resnet18 sha256:a", "embedding": {"size": 64, "draws": 100}, "settings": 3}'
    )
    check_vectors(tmp_path, here)
    with pytest.raises(ValueError, match="made with probe resnet18 sha256:a, not resnet50 sha256:b; use the same"):
        check_vectors(tmp_path, here | {"probe": "resnet50 sha256:b"})
    with pytest.raises(ValueError, match="made with embedding size 64, not 224; use the same"):
        check_vectors(tmp_path, here | {"config": {"size": 224, "draws": 100}})
