"""Rewards never see the test split; final scores come with honest intervals."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from transfer.features import FeatureConfig
from transfer.finished import read_finished
from transfer.metrics import classification_metrics
from transfer.score import ScoreConfig, final, load_correct, reward
from transfer.splits import IndexRow, format_index, parse_index
from transfer.table import build_table


def cached(
    root: Path, *, shift: float = 2.0, count: int = 90, classes: int = 3, groups: bool = False, **options: Any
) -> Path:
    """Gaussian classes as a features directory, which says that it is of FeatureConfig(**options)."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, 10)) * shift
    train_y, test_y = np.arange(count) % classes, rng.integers(0, classes, 120)
    tensors = {
        "train.x": (centres[train_y] + rng.normal(size=(count, 10))).astype(np.float32),
        "train.y": train_y,
        "train.val": np.zeros(count, dtype=np.uint8),
        "test.x": (centres[test_y] + rng.normal(size=(120, 10))).astype(np.float32),
        "test.y": test_y,
    }
    if groups:
        tensors["train.group"] = np.arange(count) // 2
    root.mkdir(parents=True, exist_ok=True)
    save_file(tensors, root / "features.safetensors")
    about = {
        "config": asdict(FeatureConfig(**options)),
        "task": "toy",
        "classes": [str(c) for c in range(classes)],
        "split": "made",
        "notes": [],
        "also_report": [],
        "backbone": "toy sha256:0",
        "index": "0",
        "skipped": {"train": [["broken.png", "no picture"]]},
    }
    rows = [IndexRow("train", int(label), str(label), f"train/{i}") for i, label in enumerate(train_y)]
    rows += [IndexRow("test", int(label), str(label), f"test/{i}") for i, label in enumerate(test_y)]
    (root / "index.csv").write_text(format_index(rows), encoding="utf-8")
    (root / "summary.json").write_text(json.dumps(about), encoding="utf-8")
    return root


METHODS = [(m, s) for m in ("linear", "knn") for s in ("cv", "val")]


@pytest.mark.parametrize(("method", "selection"), METHODS)
def test_separable_classes_are_rewarded_and_noise_is_not(tmp_path: Path, method: str, selection: str) -> None:
    config = ScoreConfig(method=method, selection=selection)  # type: ignore[arg-type]
    calls: list[tuple[int, int, str]] = []
    good = reward(config, cached(tmp_path / "good"), out=tmp_path / "a", progress=lambda *call: calls.append(call))
    assert method == "knn" or (calls[-1][0] == calls[-1][1] and len(calls) in (15, 75))
    noise = reward(config, cached(tmp_path / "noise", shift=0.0), out=tmp_path / "b")
    assert good["reward"] > 95 and noise["reward"] < 60
    assert json.loads((tmp_path / "a" / "summary.json").read_text(encoding="utf-8"))["reward"] == good["reward"]


@pytest.mark.parametrize(("method", "selection"), METHODS)
def test_the_reward_is_the_same_without_any_test_rows(tmp_path: Path, method: str, selection: str) -> None:
    config = ScoreConfig(method=method, selection=selection)  # type: ignore[arg-type]
    features = cached(tmp_path / "f", shift=0.5)
    first = reward(config, features, out=tmp_path / "a")
    tensors = {k: v for k, v in load_file(features / "features.safetensors").items() if k.startswith("train")}
    save_file(tensors, features / "features.safetensors")
    assert reward(config, features, out=tmp_path / "b")["reward"] == first["reward"]


def test_a_given_validation_part_is_what_is_held_out(tmp_path: Path) -> None:
    features = cached(tmp_path / "f")
    tensors = load_file(features / "features.safetensors")
    tensors["train.val"][:21] = 1
    save_file(tensors, features / "features.safetensors")
    assert reward(ScoreConfig(selection="val"), features, out=tmp_path / "a")["n_held_out"] == 21
    assert reward(ScoreConfig(selection="cv"), features, out=tmp_path / "b")["n_held_out"] == 90


@pytest.mark.parametrize("given", [0, 21])
def test_the_validation_part_that_choices_were_made_on_stands_in_an_index(tmp_path: Path, given: int) -> None:
    features = cached(tmp_path / "f")
    tensors = load_file(features / "features.safetensors")
    tensors["train.val"][:given] = 1
    save_file(tensors, features / "features.safetensors")
    config = ScoreConfig(selection="val")
    held_out = reward(config, features, out=tmp_path / "r")["n_held_out"]
    final(config, features, out=tmp_path / "t")
    texts = [(tmp_path / name / "index.csv").read_text(encoding="utf-8") for name in ("r", "t")]
    rows = parse_index(texts[0])
    assert texts[0] == texts[1] and [row.name for row in rows] == [f"train/{i}" for i in range(90)] + [
        f"test/{i}" for i in range(120)
    ]
    counts = {part: sum(row.split == part for row in rows) for part in ("train", "val", "test")}
    assert counts == {"train": 90 - held_out, "val": held_out, "test": 120} and held_out == (given or 27)
    if given:
        assert [row.split for row in rows[:22]] == ["val"] * 21 + ["train"]
    reward(ScoreConfig(selection="cv"), features, out=tmp_path / "cv")
    assert not (tmp_path / "cv" / "index.csv").exists()


def test_groups_are_respected_in_folds(tmp_path: Path) -> None:
    """Pairs of equal rows with random labels: only a leak between folds could predict them."""
    features = cached(tmp_path / "f", groups=True, count=200, classes=2)
    tensors = load_file(features / "features.safetensors")
    pairs = np.random.default_rng(1).normal(size=(100, 400)).astype(np.float32)
    tensors["train.x"] = np.repeat(pairs, 2, axis=0)
    tensors["train.y"] = np.repeat(np.random.default_rng(2).integers(0, 2, 100), 2)
    save_file(tensors, features / "features.safetensors")
    config = ScoreConfig(method="knn", k=1)
    assert reward(config, features, out=tmp_path / "grouped")["reward"] < 65
    del tensors["train.group"]
    save_file(tensors, features / "features.safetensors")
    assert reward(config, features, out=tmp_path / "leaking")["reward"] > 75


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_the_final_score_is_the_mean_of_the_saved_correctness(tmp_path: Path, method: str) -> None:
    features = cached(tmp_path / "f", shift=0.6)
    result = final(ScoreConfig(method=method), features, out=tmp_path / "final")  # type: ignore[arg-type]
    correct = load_correct(tmp_path / "final")
    assert result["score"] == pytest.approx(100 * correct.mean()) and len(correct) == 120 == result["n_test"]
    low, high = result["ci95"]
    assert low < result["score"] < high and high - low < 25
    assert result["metrics"]["accuracy"] == pytest.approx(result["score"], abs=1e-3)
    assert result["skipped"] == {"train": [["broken.png", "no picture"]]} and result["backbone"] == "toy sha256:0"


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_the_final_score_takes_over_the_choice_of_the_reward(tmp_path: Path, method: str) -> None:
    features, config = cached(tmp_path / "f", shift=0.6), ScoreConfig(method=method)  # type: ignore[arg-type]
    chosen = reward(config, features, out=tmp_path / "reward")
    probes: list[int] = []
    result = final(
        config,
        features,
        out=tmp_path / "final",
        selected=tmp_path / "reward",
        progress=lambda done, total, text: probes.append(done),
    )
    assert not probes and result["l2"] == chosen["l2"]
    assert result["score"] == final(config, features, out=tmp_path / "again")["score"]


def test_the_choice_for_other_features_or_another_config_is_refused(tmp_path: Path) -> None:
    features, others = cached(tmp_path / "f", shift=0.6), cached(tmp_path / "g", shift=0.5)
    reward(ScoreConfig(), features, out=tmp_path / "reward")
    for config, scored in ((ScoreConfig(), others), (ScoreConfig(folds=4), features)):
        with pytest.raises(ValueError, match="other features or another config"):
            final(config, scored, out=tmp_path / "final", selected=tmp_path / "reward")
    assert not (tmp_path / "final").exists()


def test_a_table_shows_the_interval_that_the_score_came_with(tmp_path: Path) -> None:
    result = final(ScoreConfig(method="knn", seed=3), cached(tmp_path / "f", shift=0.6), out=tmp_path / "a")
    cell = build_table({"a": [read_finished(tmp_path / "a")]}).cells["toy", "a"]
    assert cell.ci95 == tuple(result["ci95"]) and cell.ci95[0] < result["score"] < cell.ci95[1]


@pytest.mark.parametrize(
    "other", [{"size": 64}, {"resize": 300}, {"precision": "bf16"}, {"split_seed": 1}, {"split": "grouped"}]
)
def test_scores_of_features_that_were_made_otherwise_are_no_seeds_of_one_experiment(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    for name, options, seed in (("a", {}, 0), ("b", {}, 1), ("c", other, 0)):
        final(ScoreConfig(method="knn", seed=seed), cached(tmp_path / f"{name}x", **options), out=tmp_path / name)
    a, b, c = (read_finished(tmp_path / name) for name in "abc")
    assert build_table({"ours": [a, b]}).cells["toy", "ours"].seeds == 2
    with pytest.raises(ValueError, match=r"task toy: .*their configurations differ; give them columns of their own"):
        build_table({"ours": [a, c]})
    assert build_table({"ours": [a], "theirs": [c]}).methods == ("ours", "theirs")


def test_features_that_are_not_finished_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        reward(ScoreConfig(), tmp_path, out=tmp_path / "a")


def test_metrics_equal_those_of_scikit_learn_on_unbalanced_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=[0.7, 0.2, 0.07, 0.03])
    scores = rng.random((300, 4)) + 0.6 * np.eye(4)[labels]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    metrics = classification_metrics(torch.from_numpy(probabilities), torch.from_numpy(labels))
    predictions = probabilities.argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx(100 * (predictions == labels).mean(), abs=1e-3)
    assert metrics["mean_per_class"] == pytest.approx(100 * balanced_accuracy_score(labels, predictions), abs=1e-3)
    assert metrics["macro_auc"] == pytest.approx(
        100 * roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"), abs=1e-3
    )


@pytest.mark.parametrize("tied", [False, True])
def test_top_1_equals_that_of_torchmetrics(tied: bool) -> None:
    from torchmetrics.functional.classification import multiclass_accuracy

    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 5, 1000))
    probabilities = torch.from_numpy(rng.integers(0, 3, (1000, 5)) if tied else rng.random((1000, 5))).float()
    theirs = float(multiclass_accuracy(probabilities, labels, num_classes=5, average="micro"))
    assert 0.1 < theirs < 0.3
    assert classification_metrics(probabilities, labels, ())["accuracy"] == pytest.approx(100 * theirs, abs=1e-3)


def test_metrics_are_those_that_are_asked_for() -> None:
    probabilities, labels = torch.eye(3), torch.tensor([0, 1, 1])
    assert classification_metrics(probabilities, labels, ()) == {"accuracy": 66.6667}
    assert set(classification_metrics(probabilities, labels, ("mean_per_class",))) == {"accuracy", "mean_per_class"}
    with pytest.raises(ValueError, match="no metric f1"):
        classification_metrics(probabilities, labels, ("f1",))


@pytest.mark.parametrize("options", [{"folds": 1}, {"validation_fraction": 0.0}, {"k": 0}, {"temperature": 0.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ScoreConfig(**options)  # type: ignore[arg-type]
