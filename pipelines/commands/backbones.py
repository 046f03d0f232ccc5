"""`simpath pretrain` and `simpath evaluate`: backbones."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from pipelines.bar import progress_bar
from pretrain.recipes import RECIPES
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig


def pretrain(
    data: Path,
    out: Path,
    recipe: Literal["paper", "paper-sgd", "small", "demo"] = "paper",
    arch: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
    threads: int | None = None,
) -> int:
    """Pre-train a backbone from scratch on a rendered data set; resumable.

    OUT gets backbone.safetensors (torchvision's ResNet keys), metrics.jsonl and summary.json.

    Args:
        data: directory of the data set.
        out: directory of the results; run again with the same one to continue.
        recipe: `paper` is Task2Sim's (ResNet-50, 224 px, 100 epochs); `small` is for a few thousand images of 64 px.
        arch: another network than the recipe's, by torchvision's or timm's name.
        size: pixels of a training image; default: the recipe's.
        epochs: passes over the data; default: the recipe's.
        batch_size: images for each optimiser step; default: the recipe's.
        learning_rate: peak of the schedule; default: the recipe's.
        seed: of initialisation, order and augmentation.
        device: where to train.
        workers: processes that read and augment images; 0: in this one.
        threads: CPU threads of PyTorch; default: all cores.
    """
    from pretrain.train import pretrain as run_pretrain

    overrides: dict[str, Any] = {
        "seed": seed,
        "arch": arch,
        "size": size,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    config = dataclasses.replace(
        RECIPES[recipe], **{name: value for name, value in overrides.items() if value is not None}
    )
    with progress_bar("pre-train", "steps") as progress:
        summary = run_pretrain(
            config, data, out=out, device=device, workers=workers, threads=threads, progress=progress
        )
    print(json.dumps(summary, indent=1))
    print(f"backbone  {out / 'backbone.safetensors'}")
    return 0


def evaluate(
    backbone: str,
    task: str,
    root: Path | None = None,
    out: Path | None = None,
    method: Literal["knn", "linear"] = "linear",
    k: int = 5,
    size: int = 224,
    resize: int | None = None,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
) -> int:
    """Score a backbone on a downstream task, once on its test split.

    The last line is one JSON object {task, method, metric, score, ci95, n_train, n_test, seeds}, scores in percent.

    Args:
        backbone: a backbone.safetensors, or random:ARCH[:SEED], or torchvision:ARCH.
        task: a task's name (see `simpath tasks list`) or a folder of class folders, with train/ and test/ or without.
        root: where the files of named tasks lie, each under ROOT/NAME.
        out: keep the features and predictions there; default: nowhere.
        method: knn is cosine-weighted, linear is logistic regression with cross-validated regularisation.
        k: neighbours of knn.
        size: input side in pixels, 64 for backbones that were pre-trained at 64.
        resize: short side before the centre crop; default: 8/7 of `size`, the usual 256 for 224.
        seed: of splits that the task does not bring, folds and bootstrap.
        device: where features are extracted.
        threads: CPU threads; default: all cores.
    """
    from pipelines.doctor import require_device
    from transfer.features import extract_features
    from transfer.score import final

    require_device(device)
    features = FeatureConfig(size=size, resize=resize or size * 8 // 7, split_seed=seed)
    score = ScoreConfig(method=method, k=k, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch)
        with progress_bar("features", "images") as progress:
            extract_features(
                features,
                backbone,
                task,
                out=folder / "features",
                root=root,
                device=device,
                threads=threads,
                progress=progress,
            )
        result = final(score, folder / "features", out=folder / method, threads=threads)
    for note in result["notes"]:
        print(f"note: {note}")
    print(
        json.dumps(
            {
                "task": result["task"],
                "method": result["method"],
                "metric": result["metric"],
                "score": round(result["score"], 2),
                "ci95": [round(bound, 2) for bound in result["ci95"]],
                "n_train": result["n_train"],
                "n_test": result["n_test"],
                "seeds": 1,
            },
            ensure_ascii=False,
        )
    )
    return 0
