"""A backbone and a task in, cached features out: every image goes through the network once, in eval mode.

Files left in `out`: features.safetensors (train.x, train.y, train.val, train.group if the task has groups,
test.x, test.y), index.csv (split, label, class, name of every row, training rows first) and summary.json,
written last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pretrain.memory import freed_memory_is_kept
from sim.text import visible
from transfer.content import content_digest
from transfer.data import ImageSet, Task
from transfer.images import IMAGENET_MEAN, IMAGENET_STD
from transfer.loading import check_readable, stream_pixels
from transfer.splits import IndexRow, format_index, index_digest

if TYPE_CHECKING:
    import torch
    from torch import nn

Progress = Callable[[int, int, str], None]
PART_IMAGES = 2048
"""Images between two saves; what a killed run loses at most."""


@dataclass(frozen=True)
class FeatureConfig:
    """The test transform and the precision; the defaults are the reference's (task2sim.md, section 3)."""

    size: int = 224
    """Input side in pixels."""
    resize: int = 256
    """Short side before the centre crop, bicubic. Small runs use 64 and 64."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 is twice as fast on CPUs that have it and moves cross-validated accuracy by up to 0.7 points."""
    stage: int | None = None
    """1 to 4: the pooled output of that stage of a ResNet instead of the backbone's last features. Inner stages may
    transfer better to tasks unlike what was trained on (Evci et al. 2022, Head2Toe)."""
    pool: Literal["avg", "gem"] = "avg"
    """How a stage's output is pooled over the image; gem: generalised mean, where few strong responses, as those to
    lines on a blank page, weigh more (`pretrain.model.GeneralizedMean`)."""
    split: Literal["published", "grouped"] = "published"
    """`grouped` keeps patients, lesions and leaves on one side, where the task knows them."""
    split_seed: int = 0
    max_unreadable: float = 0.02
    """Share of a split's images that may be broken and skipped; more is an error."""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= self.resize:
            raise ValueError(f"size {self.size} and resize {self.resize}: need 8 <= size <= resize")
        if self.stage not in (None, 1, 2, 3, 4):
            raise ValueError(f"stage {self.stage}: allowed are 1 to 4, the stages of a ResNet")
        if self.pool not in ("avg", "gem"):
            raise ValueError(f"pool {self.pool!r}: allowed are avg and gem")
        if self.pool != "avg" and self.stage is None:
            raise ValueError(f"pool {self.pool} without a stage: the backbone pools its last features itself")
        if not 0 <= self.max_unreadable < 1:
            raise ValueError(f"max_unreadable {self.max_unreadable}: a share from 0 to below 1")


@dataclass(frozen=True)
class Embedded:
    """Features of the readable images of one set."""

    features: torch.Tensor  # (M, D) float32
    kept: np.ndarray  # (M,) positions in the set
    skipped: list[tuple[str, str]]  # name, reason


def extract_features(
    config: FeatureConfig,
    backbone: str | Path | nn.Module,
    task: str | Path | Task,
    *,
    out: Path,
    root: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 0,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Extract and cache the features of a task; returns the summary that it leaves in `out/summary.json`.

    Args:
        backbone: what `pretrain.checkpoint.load_backbone` takes (FILE, random:ARCH[:SEED],
            torchvision:ARCH), or a module that maps (B, 3, S, S) to (B, D).
        task: a task name, a folder, or a Task.
        out: receives the files; unfinished work is found there and continued.
        root: where the files of named tasks lie.
        threads: torch's threads (default: leave as they are).
        workers: processes that decode images; 0 decodes in this one.

    Raises:
        ValueError: too many unreadable images, or none readable; features that are not finite; the backbone has no such
            stage; `out` holds features of another configuration or of other images.
    """
    if not isinstance(task, Task):
        from transfer.tasks import load_task

        # before PyTorch, which takes seconds to load: a misspelt task is named at once
        task = load_task(task, root=root, seed=config.split_seed, split=config.split)
    import torch
    from safetensors.torch import save_file

    from pretrain.checkpoint import load_backbone, write_atomic
    from pretrain.model import up_to_stage

    if threads is not None:
        torch.set_num_threads(threads)
    if isinstance(backbone, torch.nn.Module):
        model, source, normalisation = (
            backbone.to(device),
            type(backbone).__name__,
            (IMAGENET_MEAN, IMAGENET_STD),
        )
    else:
        model, info = load_backbone(backbone, device=device)
        source, normalisation = f"{info.arch} sha256:{info.digest}", (info.mean, info.std)
    name = source if isinstance(backbone, torch.nn.Module) else str(backbone)
    if config.stage is not None:
        try:
            model = up_to_stage(model, config.stage, config.pool)
        except ValueError as error:
            raise ValueError(f"backbone {visible(name)}: {error}") from None
    identity = {
        "config": asdict(config),
        "task": task.name,
        "backbone": source,
        "index": task.digest(),
        "content": content_digest(task),
    }
    done = _finished(out, identity)
    if done is not None:
        return done

    parts = {"train": task.train, "val": task.val, "test": task.test}
    total, before = sum(len(images) for images in parts.values() if images is not None), 0
    found: dict[str, Embedded] = {}
    for split, images in parts.items():
        if images is None:
            continue

        def report(count: int, before: int = before, split: str = split) -> None:
            if progress is not None:
                progress(before + count, total, f"features of {task.name} ({split})")

        with freed_memory_is_kept():
            found[split] = embed_images(
                model,
                images,
                config,
                normalisation=normalisation,
                device=device,
                workers=workers,
                batch_size=batch_size,
                parts_dir=out / "parts" / split,
                progress=report,
            )
        readable = len(found[split].kept)
        check_readable(task.name, split, len(images), readable, found[split].skipped, config.max_unreadable)
        _check_finite(found[split], images, name)
        before += len(images)

    tensors, rows = _collect(task, parts, found)
    index = format_index(rows)
    write_atomic(out / "index.csv", lambda path: path.write_text(index, encoding="utf-8", newline="\n"))
    write_atomic(out / "features.safetensors", lambda path: save_file(tensors, path))
    summary = {
        **identity,
        "classes": list(task.classes),
        "also_report": list(task.also_report),
        "split": task.split,
        "notes": list(task.notes),
        "n_train": len(tensors["train.y"]) - int(tensors["train.val"].sum()),
        "n_val": int(tensors["train.val"].sum()),
        "n_test": len(tensors["test.y"]),
        "feature_dim": tensors["train.x"].shape[1],
        "index_of_rows": index_digest(index),
        "skipped": {split: result.skipped for split, result in found.items() if result.skipped},
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    # a byte of a name that is no UTF-8, a lone surrogate here, becomes the escape that JSON has for it
    write_atomic(out / "summary.json", lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
    shutil.rmtree(out / "parts", ignore_errors=True)
    return summary


def _check_finite(embedded: Embedded, images: ImageSet, backbone: str) -> None:
    """Raises ValueError naming the first image with a NaN or infinity, which would win every neighbour's vote."""
    finite = embedded.features.isfinite().all(1)
    if not bool(finite.all()):
        count, first = int((~finite).sum()), images.names[embedded.kept[int(finite.int().argmin())]]
        raise ValueError(
            f"backbone {visible(backbone)}: the features of {count} of {len(finite)} images hold values that are not "
            f"finite (first: {visible(first)})"
        )


def embed_images(
    model: nn.Module,
    images: ImageSet,
    config: FeatureConfig,
    *,
    normalisation: tuple[Sequence[float], Sequence[float]] = (IMAGENET_MEAN, IMAGENET_STD),
    device: str = "cpu",
    workers: int = 0,
    batch_size: int = 64,
    parts_dir: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Embedded:
    """Features of one image set, in its order; eval mode, so that no image depends on its batch.

    With `parts_dir` finished blocks of PART_IMAGES images are kept there and read instead of being made
    again.
    """
    import torch
    from safetensors.torch import load_file

    model.eval()
    # 1.1 to 1.4 times faster on CPU
    model.to(memory_format=torch.channels_last)
    blocks, kept, skipped = [], [], []
    for start in range(0, len(images), PART_IMAGES):
        positions = np.arange(start, min(start + PART_IMAGES, len(images)))
        part = None if parts_dir is None else parts_dir / f"{start:08d}.safetensors"
        if part is not None and part.exists():
            saved = load_file(part)
            reasons = part.with_suffix(".json").read_text(encoding="utf-8")
            block, good, bad = saved["x"], saved["kept"].numpy(), json.loads(reasons)
        else:
            done = 0 if progress is None else start
            features, good_list, bad = [], [], []
            for batch in stream_pixels(
                images, positions, size=config.size, resize=config.resize, batch_size=batch_size, workers=workers
            ):
                good_list += batch.kept
                bad += batch.skipped
                if batch.kept:
                    features.append(_forward(model, batch.pixels, normalisation, config, device))
                if progress is not None:
                    done += len(batch.kept) + len(batch.skipped)
                    progress(done)
            block = torch.cat(features) if features else torch.zeros(0, 0)
            good = np.array(good_list, dtype=np.int64)
            if part is not None and len(images) > PART_IMAGES:
                _save_part(part, block, good, bad)
        blocks.append(block)
        kept.append(good)
        skipped += [(str(name), str(reason)) for name, reason in bad]
    if not blocks:
        return Embedded(torch.zeros(0, 0), np.zeros(0, dtype=np.int64), [])
    filled = [block for block in blocks if len(block)] or blocks[:1]
    return Embedded(torch.cat(filled), np.concatenate(kept), skipped)


def _save_part(part: Path, block: torch.Tensor, kept: np.ndarray, skipped: list[tuple[str, str]]) -> None:
    import torch
    from safetensors.torch import save_file

    from pretrain.checkpoint import write_atomic

    tensors = {"x": block, "kept": torch.from_numpy(kept)}
    write_atomic(part.with_suffix(".json"), lambda path: path.write_text(json.dumps(skipped), "utf-8"))
    write_atomic(part, lambda path: save_file(tensors, path))


def _forward(
    model: nn.Module,
    pixels: torch.Tensor,
    normalisation: tuple[Sequence[float], Sequence[float]],
    config: FeatureConfig,
    device: str,
) -> torch.Tensor:
    """(B, 3, S, S) uint8 to (B, D) float32 on the CPU."""
    import torch

    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in normalisation)
    autocast = torch.autocast(device.split(":")[0], torch.bfloat16, enabled=config.precision == "bf16")
    with torch.no_grad(), autocast:
        inputs = (pixels.to(device, non_blocking=True).float() - mean) / std
        features: torch.Tensor = model(inputs.contiguous(memory_format=torch.channels_last))
    return features.float().cpu()


def _collect(
    task: Task, parts: dict[str, ImageSet | None], found: dict[str, Embedded]
) -> tuple[dict[str, torch.Tensor], list[IndexRow]]:
    import torch

    labels, groups, rows = {}, {}, []
    for split, images in parts.items():
        if images is None:
            continue
        kept = images.select(found[split].kept)
        labels[split], groups[split] = torch.from_numpy(kept.labels), kept.groups
        rows += [
            IndexRow(split, int(label), task.classes[label], name)
            for name, label in zip(kept.names, kept.labels, strict=True)
        ]
    training = [split for split in ("train", "val") if split in found]
    tensors = {
        "train.x": torch.cat([found[split].features for split in training]),
        "train.y": torch.cat([labels[split] for split in training]),
        "train.val": torch.cat([torch.full((len(labels[s]),), int(s == "val")) for s in training]).to(torch.uint8),
        "test.x": found["test"].features,
        "test.y": labels["test"],
    }
    known = [group for split in training if (group := groups[split]) is not None]
    if len(known) == len(training):
        numbers = np.unique(np.concatenate(known), return_inverse=True)[1]
        tensors["train.group"] = torch.from_numpy(numbers.astype(np.int64))
    if len(np.unique(tensors["train.y"].numpy())) < 2:
        raise ValueError(f"task {task.name}: only one class has readable training images")
    return tensors, rows


def _finished(out: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a finished run; an unfinished one's parts are kept only if they are of the same
    identity."""
    from pretrain.checkpoint import write_atomic

    summary_file, marker = out / "summary.json", out / "parts" / "identity.json"
    if summary_file.exists():
        summary: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
        different = [key for key, value in identity.items() if summary.get(key) != value]
        if different:
            raise ValueError(f"{out} holds features of another {' and '.join(different)}; choose another directory")
        return summary
    wanted = json.dumps(identity, sort_keys=True)
    if marker.exists() and marker.read_text(encoding="utf-8") != wanted:
        raise ValueError(f"{out} holds unfinished features of another run; choose another directory")
    write_atomic(marker, lambda path: path.write_text(wanted, encoding="utf-8"))
    return None
