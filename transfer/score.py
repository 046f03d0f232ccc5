"""Cached features in, scores out: the reward (training split only) and the final score (test split, touched
once). Where choices were made on a validation part, index.csv beside the score says which images it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from transfer.knn import TEMPERATURE, knn_predict
from transfer.linear import SWEEP_45, LogisticRegression, Scaling, fit_scaler
from transfer.splits import cross_validation_folds, format_index, parse_index, validation_mask

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int, str], None]

SWEEP_SHORT = tuple(float(value) for value in np.logspace(-3, 4, 15))
"""Half-decades around where the optimum of standardised features lies (0.002 to 100 on ten small real
sets)."""


@dataclass(frozen=True)
class ScoreConfig:
    """How a backbone is judged on a task."""

    method: Literal["linear", "knn"] = "linear"
    selection: Literal["cv", "val"] = "cv"
    """`cv`: cross-validation inside the training split. `val`: its validation part (carved out if there is
    none)."""
    folds: int = 5
    validation_fraction: float = 0.3
    seed: int = 0
    """Of folds and of the carved validation part."""
    scaling: Scaling = "standardise"
    sweep: Literal["short", "full"] = "short"
    """Regularisations tried: 15 from 1e-3 to 1e4, or the 45 from 1e-6 to 1e5."""
    k: int = 5
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds {self.folds}: at least 2")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction {self.validation_fraction}: between 0 and 1")
        if self.k < 1 or self.temperature <= 0:
            raise ValueError(f"k {self.k}, temperature {self.temperature}: both above 0")

    def l2_values(self) -> tuple[float, ...]:
        """Regularisations from strong to weak, the order in which solutions are warm-started."""
        return tuple(sorted(SWEEP_SHORT if self.sweep == "short" else SWEEP_45, reverse=True))


def reward(
    config: ScoreConfig,
    features_dir: Path,
    *,
    out: Path,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score of a backbone inside the training split, in percent; the test rows are not even read.

    Protocol: top-1 by weighted k-NN or by the linear probe, averaged over all held-out images of 5
    stratified folds, or over a validation part. Of the regularisation sweep the best value counts. It is
    chosen and reported on the same held-out images, which favours every backbone alike by a little; the
    final score does not.
    Source: Task2Sim's reward (reference task2sim.md, 2.8). Deviations: 1. never on test labels; 2. a linear
    probe at small scale, where 5-NN falls below random weights although the representation improves.
    """
    from safetensors import safe_open

    _set_threads(threads)
    about = _summary(features_dir)
    with safe_open(features_dir / "features.safetensors", framework="pt") as file:
        names = set(file.keys())
        x, y, val = (file.get_tensor(f"train.{part}") for part in ("x", "y", "val"))
        groups = file.get_tensor("train.group").numpy() if "train.group" in names else None
    held_out = _held_out(config, y.numpy(), val.numpy().astype(bool), groups)
    rates = _selection_rates(config, x, y, len(about["classes"]), held_out, progress)  # (L,)
    best = int(rates.argmax())  # of equal ones the strongest regularisation
    _write_carved_index(config, features_dir, held_out, out)
    result = {
        "reward": float(rates[best]),
        "task": about["task"],
        "metric": "accuracy",
        "method": config.method,
        "selection": config.selection,
        "n_train": len(y),
        "n_held_out": int((held_out >= 0).sum()),
        "features": _fingerprint(x),
        "l2": config.l2_values()[best] if config.method == "linear" else None,
    }
    _write_summary(out, config, result)
    return result


def final(
    config: ScoreConfig,
    features_dir: Path,
    *,
    out: Path,
    selected: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The score on the test split, in percent, with a bootstrap 95 % interval over test images.

    Protocol: the linear probe (`transfer.linear`) or weighted k-NN (`transfer.knn`); each lists its settings, its
    source and its deviations. The probe's regularisation is chosen as in `reward`, the probe is fitted again on the
    whole training split (validation part included) and the test split is predicted once. k-NN takes the whole
    training split as gallery. Leaves predictions.safetensors: label, prediction, correct (N,), probability (N, C)
    float16.

    Args:
        selected: what `reward` left for the same features and config; its choice is taken over instead of
            being made once more.

    Raises:
        ValueError: `selected` is of other features or another config.
    """
    from safetensors.torch import load_file

    _set_threads(threads)
    about = _summary(features_dir)
    data = load_file(features_dir / "features.safetensors")
    x, y, test_x, test_y = (data[key] for key in ("train.x", "train.y", "test.x", "test.y"))
    classes = len(about["classes"])
    l2 = None if selected is None else _selected_l2(config, selected, x)
    if config.method == "knn":
        votes = knn_predict(x, y, test_x, k=config.k, temperature=config.temperature, num_classes=classes)
        probabilities = votes / votes.sum(1, keepdim=True)
    else:
        if l2 is None:
            groups = data["train.group"].numpy() if "train.group" in data else None
            held_out = _held_out(config, y.numpy(), data["train.val"].numpy().astype(bool), groups)
            rates = _selection_rates(config, x, y, classes, held_out, progress)
            _write_carved_index(config, features_dir, held_out, out)
            l2 = config.l2_values()[int(rates.argmax())]
        scaler = fit_scaler(x, config.scaling)
        fit = LogisticRegression(scaler(x), y, classes).solve(l2)
        probabilities = fit.logits(scaler(test_x)).softmax(1)
    result = {
        "task": about["task"],
        "method": config.method,
        **score_predictions(probabilities, test_y, out=out, also_report=about["also_report"]),
        "n_train": len(y),
        "also_report": about["also_report"],
        "l2": l2,
        "split": about["split"],
        "notes": about["notes"],
        "feature_config": about["config"],
        **{key: about[key] for key in ("backbone", "index", "skipped")},
    }
    _write_summary(out, config, result)
    return result


def score_predictions(
    probabilities: torch.Tensor, labels: torch.Tensor, *, out: Path, also_report: Sequence[str] = ()
) -> dict[str, Any]:
    """Metric, score, ci95, n_test and metrics of test predictions, which are saved for comparisons.

    The interval is the one that a table shows of this result alone.

    Args:
        probabilities: (N, C).
        labels: (N,) int64.
        out: receives predictions.safetensors.
        also_report: metrics beside accuracy.
    """
    import torch
    from safetensors.torch import save_file

    from pretrain.checkpoint import write_atomic
    from transfer.intervals import accuracy
    from transfer.metrics import classification_metrics

    predictions = probabilities.argmax(1)
    correct = predictions == labels
    saved = {
        "label": labels,
        "prediction": predictions,
        "correct": correct.to(torch.uint8),
        "probability": probabilities.half(),
    }
    write_atomic(out / "predictions.safetensors", lambda path: save_file(saved, path))
    return {
        "metric": "accuracy",
        "score": float(correct.double().mean()) * 100,
        "ci95": list(accuracy(correct.numpy()[None], seed=0).ci95),
        "n_test": len(labels),
        "metrics": classification_metrics(probabilities, labels, also_report),
    }


def load_correct(final_dir: Path) -> np.ndarray:
    """Correctness (N,) uint8 of every test image, as `final` left it."""
    from safetensors import safe_open

    with safe_open(final_dir / "predictions.safetensors", framework="np") as file:
        correct: np.ndarray = file.get_tensor("correct")
    return correct


def _held_out(config: ScoreConfig, labels: np.ndarray, val: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """(N,) fold in which an image is held out; -1: always in training."""
    if config.selection == "cv":
        return cross_validation_folds(labels, folds=config.folds, seed=config.seed, groups=groups)
    if not val.any():
        val = validation_mask(labels, fraction=config.validation_fraction, seed=config.seed, groups=groups)
    if not val.any() or val.all():
        raise ValueError(f"{len(labels)} training images leave no validation part of {config.validation_fraction}")
    return np.where(val, 0, -1)


def _write_carved_index(config: ScoreConfig, features_dir: Path, held_out: np.ndarray, out: Path) -> None:
    """index.csv in `out`: that of the features, with the training images that choices were made on as val."""
    from pretrain.checkpoint import write_atomic

    if config.selection != "val":
        return
    rows = parse_index((features_dir / "index.csv").read_text(encoding="utf-8"))
    parts = np.where(held_out == 0, "val", "train").tolist()  # training rows come first, as in features.safetensors
    carved = [replace(row, split=part) for row, part in zip(rows, parts, strict=False)]
    text = format_index([*carved, *rows[len(parts) :]])
    write_atomic(out / "index.csv", lambda path: path.write_text(text, encoding="utf-8", newline="\n"))


def _selection_rates(
    config: ScoreConfig,
    x: torch.Tensor,
    y: torch.Tensor,
    classes: int,
    held_out: np.ndarray,
    progress: Progress | None,
) -> np.ndarray:
    """Percent of held-out images predicted correctly, one value per regularisation (k-NN: one value)."""
    import torch

    values = config.l2_values() if config.method == "linear" else (0.0,)
    correct = np.zeros(len(values))
    folds = int(held_out.max()) + 1
    for fold in range(folds):
        outside = torch.from_numpy(held_out != fold)
        train_x, train_y, test_x, test_y = x[outside], y[outside], x[~outside], y[~outside]
        if not len(test_y):
            continue
        if config.method == "knn":
            votes = knn_predict(
                train_x, train_y, test_x, k=config.k, temperature=config.temperature, num_classes=classes
            )
            correct[0] += int((votes.argmax(1) == test_y).sum())
            continue
        scaler = fit_scaler(train_x, config.scaling)
        solver, scaled = LogisticRegression(scaler(train_x), train_y, classes), scaler(test_x)
        for position, l2 in enumerate(values):
            correct[position] += int((solver.solve(l2).logits(scaled).argmax(1) == test_y).sum())
            if progress is not None:
                progress(fold * len(values) + position + 1, folds * len(values), f"probe, l2 {l2:.3g}")
    return 100 * correct / int((held_out >= 0).sum())


def _fingerprint(x: torch.Tensor) -> str:
    """Tells training features from others."""
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()[:16]


def _selected_l2(config: ScoreConfig, selected: Path, x: torch.Tensor) -> float | None:
    """The regularisation that `reward` chose in `selected`; k-NN has none."""
    chosen = json.loads((selected / "summary.json").read_text(encoding="utf-8"))
    if chosen["config"] != json.loads(json.dumps(asdict(config))) or chosen["features"] != _fingerprint(x):
        raise ValueError(f"{selected} is the reward of other features or another config than those to be scored")
    return None if chosen["l2"] is None else float(chosen["l2"])


def _summary(features_dir: Path) -> dict[str, Any]:
    file = features_dir / "summary.json"
    if not file.exists():
        raise FileNotFoundError(f"{features_dir} holds no finished features (summary.json is missing)")
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return summary


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _write_summary(out: Path, config: ScoreConfig, result: dict[str, Any]) -> None:
    from pretrain.checkpoint import write_atomic

    text = json.dumps({**result, "config": asdict(config)}, indent=1, ensure_ascii=False)
    write_atomic(out / "summary.json", lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
