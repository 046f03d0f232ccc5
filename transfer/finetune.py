"""Transfer by gradient descent: full fine-tuning, and the linear probe as SGD; `tune` is the protocol.

Files left in `out`: predictions.safetensors and summary.json (as `transfer.score.final` leaves them), index.csv (the
split: part, label, class, name of every image, a carved validation part as val), metrics.jsonl (one line per epoch),
checkpoints/ while it runs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pretrain.memory import freed_memory_is_kept
from transfer.content import content_digest
from transfer.data import ImageSet, Task
from transfer.features import FeatureConfig
from transfer.loading import check_readable
from transfer.recipes import Recipe, Trained, recipe_for
from transfer.splits import validation_mask

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TuneConfig:
    """The defaults are the reference's (task2sim.md, section 3, downstream table)."""

    trained: Trained = "all"
    """all: full fine-tuning. head: linear probe by SGD, the backbone frozen and in eval mode."""
    learning_rate: float | None = None
    """None: the task's published value (transfer.recipes); likewise the next two."""
    batch_size: int | None = None
    weight_decay: float | None = None
    epochs: int = 50
    """The rate falls tenfold after a half and after three quarters of them (25 and 37 of 50)."""
    dropout: float = 0.2
    augment: bool = True
    """RandomResizedCrop (0.08 to 1, bilinear) and mirroring. Off with trained="head": features are computed once."""
    size: int = 224
    resize: int = 256
    """Short side before the centre crop of the test transform."""
    precision: Literal["fp32", "bf16"] = "bf16"
    evaluate: Literal["test", "val"] = "test"
    """val: train without the validation part and score on it, for choosing settings; test images are not read."""
    validation_fraction: float = 0.3
    split: Literal["published", "grouped"] = "published"
    split_seed: int = 0
    seed: int = 0
    """Of the head's weights, the order of images, augmentation and dropout."""
    max_unreadable: float = 0.02

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs {self.epochs}: at least 1")
        if self.batch_size is not None and self.batch_size < 2:
            raise ValueError(f"batch_size {self.batch_size}: at least 2 (batch normalisation)")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout}: from 0 to below 1")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction {self.validation_fraction}: between 0 and 1")
        self.features()

    def features(self) -> FeatureConfig:
        """The test transform and the share of broken files, as feature extraction knows them."""
        return FeatureConfig(
            size=self.size,
            resize=self.resize,
            precision=self.precision,
            split=self.split,
            split_seed=self.split_seed,
            max_unreadable=self.max_unreadable,
        )

    def recipe(self, task: str) -> Recipe:
        """The task's published recipe with this configuration's own values on top."""
        published = recipe_for(task, self.trained)
        return Recipe(
            published.learning_rate if self.learning_rate is None else self.learning_rate,
            published.batch_size if self.batch_size is None else self.batch_size,
            published.weight_decay if self.weight_decay is None else self.weight_decay,
        )


@freed_memory_is_kept()
def tune(
    config: TuneConfig,
    backbone: str | Path,
    task: str | Path | Task,
    *,
    out: Path,
    root: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Fine-tune a backbone (or train a linear head on it) and score the test split once, after the last epoch.

    Protocol: pooled features -> Dropout 0.2 -> BatchNorm1d without affine -> Linear; SGD, momentum 0.9, Nesterov, no
    decay for biases and norms; 50 epochs, rate x0.1 at 25 and 37, no warm-up; RandomResizedCrop bilinear and mirroring,
    no other augmentation; top-1 at the last epoch, plain accuracy. Source: Task2Sim's downstream configuration
    (reference task2sim.md, section 3). Deviations: 1. the last, smaller batch of an epoch is used if it has two images
    (the original drops it, which empties small tasks); 2. other metrics are reported beside accuracy; 3. with
    `trained="head", augment=False` features are cached, about 50 times faster, and the probe sees no augmentation;
    4. bf16 by default.

    Every draw comes from (seed, epoch, image), so a run that was interrupted ends as if it had not been.

    Raises:
        SavedAndStoppedError: `stop` returned True; the state is saved.
        ValueError: images too small for bf16 on a CPU, unreadable ones, or `out` holds another run, or one on
            pictures that have changed since.
    """
    import torch

    from pretrain.checkpoint import load_backbone, write_atomic
    from pretrain.model import check_bf16_size
    from transfer.score import score_predictions
    from transfer.tasks import load_task
    from transfer.tuning import TuningRun

    if config.precision == "bf16" and config.trained == "all":
        check_bf16_size(config.size, device)
    if threads is not None:
        torch.set_num_threads(threads)
    network, info = load_backbone(backbone, device=device)
    if not isinstance(task, Task):
        task = load_task(task, root=root, seed=config.split_seed, split=config.split)
    train, held_out = _parts(config, task)
    recipe = config.recipe(task.name)
    identity = {
        "config": asdict(config),
        "recipe": asdict(recipe),
        "task": task.name,
        "backbone": f"{info.arch} sha256:{info.digest}",
        "index": task.digest(),
        "content": content_digest(task),
    }
    done = _check_out(out, identity)
    if done is not None:
        return done
    index = _parts_index(config, task, train, held_out)
    write_atomic(out / "index.csv", lambda path: path.write_text(index, encoding="utf-8", newline="\n"))
    with torch.random.fork_rng():
        run = TuningRun(config, recipe, network, info, task, train, device, workers, out)
        run.train(progress, stop)
        probabilities, labels, skipped = run.predict(held_out)
    check_readable(task.name, config.evaluate, len(held_out), len(labels), skipped, config.max_unreadable)
    result = {
        "task": task.name,
        "method": "finetune" if config.trained == "all" else "linear_sgd",
        **score_predictions(probabilities, labels, out=out, also_report=task.also_report),
        "evaluated_on": config.evaluate,
        "n_train": len(train),
        "also_report": list(task.also_report),
        "split": task.split,
        "notes": list(task.notes),
        **identity,
        "skipped": {"train": run.skipped(), config.evaluate: skipped},
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    write_atomic(out / "summary.json", lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return result


def _parts(config: TuneConfig, task: Task) -> tuple[ImageSet, ImageSet]:
    """What is trained on and what is scored."""
    if config.evaluate == "test":
        return (task.train if task.val is None else _joined(task.train, task.val)), task.test
    if task.val is not None:
        return task.train, task.val
    mask = validation_mask(
        task.train.labels, fraction=config.validation_fraction, seed=config.split_seed, groups=task.train.groups
    )
    return task.train.select(~mask), task.train.select(mask)


def _parts_index(config: TuneConfig, task: Task, train: ImageSet, held_out: ImageSet) -> str:
    """The index file's text; a validation part that was carved out for this run stands in it as val."""
    if config.evaluate == "val" and task.val is None:
        task = replace(task, train=train, val=held_out)
    return task.index_text()


@dataclass(frozen=True)
class _JoinedSource:
    """Two image sets read as one."""

    first: ImageSet
    second: ImageSet

    def read(self, row: int) -> Any:
        return self.first.read(row) if row < len(self.first) else self.second.read(row - len(self.first))


def _joined(first: ImageSet, second: ImageSet) -> ImageSet:
    labels = np.concatenate([first.labels, second.labels])
    return ImageSet((*first.names, *second.names), labels, _JoinedSource(first, second), np.arange(len(labels)))


def _check_out(out: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """A finished run's summary; refuses another run's directory."""
    out.mkdir(parents=True, exist_ok=True)
    marker, summary = out / "run.json", out / "summary.json"
    wanted = json.dumps(identity, sort_keys=True)
    if marker.exists() and marker.read_text(encoding="utf-8") != wanted:
        found = json.loads(marker.read_text(encoding="utf-8"))
        different = [key for key in identity if found.get(key) != json.loads(wanted)[key]]
        raise ValueError(f"{out} holds another run (different {', '.join(different)}); choose another directory")
    marker.write_text(wanted, encoding="utf-8")
    return json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else None
