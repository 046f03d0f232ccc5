"""Task2Vec: a downstream task in, one vector out that says which filters of a probe network the task is sensitive to.

Two tasks with similar images and similar distinctions have similar vectors; the controller and `simpath recommend` read
them. Left in `out`: vector.safetensors (`vector`, unit norm; `fisher`, before normalisation) and summary.json, written
last, which names the probe by architecture and sha256: vectors of different probes cannot be compared.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from transfer.data import ImageSet, Task
from transfer.features import FeatureConfig, embed_images
from transfer.fisher import balanced_draws, by_first_appearance, fisher_per_filter
from transfer.images import IMAGENET_MEAN, IMAGENET_STD
from transfer.loading import check_readable, stream_pixels

if TYPE_CHECKING:
    import torch
    from torch import nn

Progress = Callable[[int, int, str], None]
MIN_IMAGES = 10
"""Training images below which a Fisher estimate describes the images rather than the task."""


@dataclass(frozen=True)
class EmbeddingConfig:
    """The defaults are the reference's (task2sim.md, 2.5); small runs use 64 pixels and fewer draws."""

    size: int = 224
    """Input side in pixels."""
    resize: int = 256
    """Short side before the centre crop."""
    head_epochs: int = 10
    head_learning_rate: float = 4e-4
    head_weight_decay: float = 1e-4
    batch_size: int = 64
    """Of the features and of the classifier's training."""
    draws: int = 10_000
    """Class-balanced draws with replacement: per epoch of the classifier's training, and for the Fisher estimate."""
    fisher_batch: int = 8
    """Images whose gradients are averaged before squaring (the original: 64)."""
    bn_mode: Literal["eval", "train"] = "eval"
    """train: batch statistics, as the released code has it by mistake."""
    split_seed: int = 0
    max_unreadable: float = 0.02
    """Share of the training images that may be broken and skipped; more is an error."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.size <= self.resize:
            raise ValueError(f"size {self.size} and resize {self.resize}: need 8 <= size <= resize")
        for name in ("head_epochs", "batch_size", "fisher_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.draws < max(self.batch_size, self.fisher_batch):
            raise ValueError(f"draws is {self.draws}; allowed: at least batch_size and fisher_batch")


def embed_task(
    config: EmbeddingConfig,
    probe: str | Path | nn.Module,
    task: str | Path | Task,
    *,
    out: Path,
    root: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The Task2Vec vector of a task's training split; returns what it leaves in `out/summary.json`.

    Protocol: 1. features of every training image (test transform, eval mode). 2. A linear classifier on them: Adam, 10
    epochs of 10,000 class-balanced draws, batch 64. 3. Monte-Carlo Fisher: 10,000 class-balanced draws; labels drawn
    from the classifier's own softmax; the squared gradient of the loss with respect to every weight of the probe,
    averaged over draws and then over each filter. Every module with a `weight` but the classifier counts, in
    `named_modules` order: 4,800 convolution filters and 4,800 BatchNorm scales of a ResNet-18. 4. L2 norm 1.
    Source: Task2Vec (Achille et al., ICCV 2019), Monte-Carlo variant, as released with Task2Sim. Deviations:
    1. BatchNorm in eval mode (the release says so and does not do it; `bn_mode` brings it back). 2. Gradients are
    averaged over 8 images before squaring, not 64, and multiplied by that number: same expectation up to the factor,
    an eighth of the variance for the same draws (with 64, the 156 squares per BatchNorm scale leave an error of
    11 %, and the cosine between two seeds below 0.99). 3. The classifier starts at zero and classes are numbered by
    first appearance among the images, so that a permutation of the classes changes nothing, to the bit.
    4. Everything random comes from `seed`.

    Args:
        probe: what `pretrain.checkpoint.load_backbone` takes (FILE, random:ARCH[:SEED], torchvision:ARCH), or a
            module that maps (B, 3, S, S) to (B, F). The paper's is torchvision:resnet18.
        out: receives the files; if it holds this very vector already, that is returned.

    Raises:
        FileNotFoundError: no such task or probe (torchvision's weights are not downloaded here).
        ValueError: one class, fewer than 10 readable training images, too many broken ones, or `out` holds another
            vector.
    """
    import torch
    from safetensors.numpy import save_file

    from pretrain.checkpoint import write_atomic
    from transfer.tasks import load_task

    if threads is not None:
        torch.set_num_threads(threads)
    model, source, normalisation = _probe(probe, device)
    if not isinstance(task, Task):
        task = load_task(task, root=root, seed=config.split_seed)
    identity = {"config": asdict(config), "task": task.name, "probe": source, "index": task.digest()}
    if (out / "summary.json").exists():
        done: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        if different := [key for key, value in identity.items() if done.get(key) != value]:
            raise ValueError(f"{out} holds a vector of another {' and '.join(different)}; choose another directory")
        return done
    fisher, counts = task_fisher(
        config,
        model,
        task.train,
        task_name=task.name,
        normalisation=normalisation,
        device=device,
        workers=workers,
        progress=progress,
    )
    norm = float(np.linalg.norm(fisher))
    if not np.isfinite(norm) or norm == 0:
        raise ValueError(f"task {task.name}: the probe {source} has no finite, non-zero gradient")
    vector = (fisher / norm).astype(np.float32)
    write_atomic(out / "vector.safetensors", lambda path: save_file({"vector": vector, "fisher": fisher}, path))
    summary = {**identity, "dim": len(vector), "norm": norm, "num_classes": len(task.classes), **counts}
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    # a byte of a name that is no UTF-8, a lone surrogate here, becomes the escape that JSON has for it
    write_atomic(out / "summary.json", lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
    return summary


def _probe(probe: str | Path | nn.Module, device: str) -> tuple[nn.Module, str, tuple[Any, Any]]:
    import torch

    from pretrain.checkpoint import load_backbone

    if isinstance(probe, torch.nn.Module):
        return probe.to(device), type(probe).__name__, (IMAGENET_MEAN, IMAGENET_STD)
    try:
        model, info = load_backbone(probe, device=device)
    except FileNotFoundError as error:
        if str(probe).startswith("torchvision:"):
            raise FileNotFoundError(f"{error}, or give --probe a backbone.safetensors of your own") from None
        raise
    return model, f"{info.arch} sha256:{info.digest}", (info.mean, info.std)


def task_fisher(
    config: EmbeddingConfig,
    model: nn.Module,
    images: ImageSet,
    *,
    task_name: str,
    normalisation: tuple[Any, Any] = (IMAGENET_MEAN, IMAGENET_STD),
    device: str = "cpu",
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Fisher information per filter (D,), not normalised, and counts for the summary; see `embed_task`."""
    total = len(images) + config.draws

    def report(done: int, note: str) -> None:
        if progress is not None:
            progress(done, total, f"{note} of {task_name}")

    features = embed_images(
        model,
        images,
        FeatureConfig(size=config.size, resize=config.resize),
        normalisation=normalisation,
        device=device,
        workers=workers,
        batch_size=config.batch_size,
        progress=lambda done: report(done, "features"),
    )
    check_readable(task_name, "train", len(images), len(features.kept), features.skipped, config.max_unreadable)
    if len(features.kept) < MIN_IMAGES:
        raise ValueError(
            f"task {task_name} has {len(features.kept)} readable training images; a task vector needs "
            f"{MIN_IMAGES} or more"
        )
    usable = images.select(features.kept)
    labels = by_first_appearance(usable.labels)
    if labels.max() < 1:
        raise ValueError(f"task {task_name}: only one class has readable training images")
    weight, bias = fit_head(config, features.features.to(device), labels)
    draws = balanced_draws(np.random.default_rng([config.seed, 1]), labels, config.draws)
    draws = draws[: len(draws) // config.fisher_batch * config.fisher_batch]
    batches = _pixel_batches(config, usable, draws, normalisation, device, workers)

    def counted() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(batches):
            report(len(images) + number * config.fisher_batch, "Fisher information")
            yield batch

    fisher = fisher_per_filter(
        model, weight, bias, counted(), seed=config.seed, bn_mode=config.bn_mode, scale=config.fisher_batch
    )
    report(total, "Fisher information")
    return fisher, {"n_train": len(usable), "skipped": features.skipped}


def fit_head(
    config: EmbeddingConfig, features: torch.Tensor, labels: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear classifier (C, F), (C,) on cached features (N, F); starts at zero."""
    import torch
    from torch.nn.functional import cross_entropy

    weight = torch.zeros(int(labels.max()) + 1, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(len(weight), device=features.device, requires_grad=True)
    optimizer = torch.optim.Adam(
        [weight, bias], lr=config.head_learning_rate, weight_decay=config.head_weight_decay, foreach=True
    )
    targets = torch.from_numpy(labels).to(features.device)
    rng = np.random.default_rng([config.seed, 0])
    for _ in range(config.head_epochs):
        draws = torch.from_numpy(balanced_draws(rng, labels, config.draws)).to(features.device)
        for chosen in torch.split(draws, config.batch_size):
            loss = cross_entropy(features[chosen] @ weight.T + bias, targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return weight.detach(), bias.detach()


def _pixel_batches(
    config: EmbeddingConfig,
    images: ImageSet,
    draws: npt.NDArray[np.int64],
    normalisation: tuple[Any, Any],
    device: str,
    workers: int,
) -> Iterator[torch.Tensor]:
    import torch

    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in normalisation)
    for batch in stream_pixels(
        images, draws, size=config.size, resize=config.resize, batch_size=config.fisher_batch, workers=workers
    ):
        if batch.skipped:
            name, reason = batch.skipped[0]
            raise ValueError(f"{name} was readable a moment ago and is not any more: {reason}")
        yield ((batch.pixels.to(device).float() - mean) / std).contiguous(memory_format=torch.channels_last)


def load_vector(directory: Path) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """The vector of an `embed_task` directory and its summary.

    Raises:
        FileNotFoundError: there is no finished vector.
    """
    from safetensors.numpy import load_file

    if not (directory / "summary.json").is_file():
        raise FileNotFoundError(f"{directory} holds no finished task vector")
    summary: dict[str, Any] = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return load_file(directory / "vector.safetensors")["vector"], summary


def save_vectors(path: Path, vectors: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """An .npz with one vector per task name, as `simpath controller replay --embeddings` reads it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # By hand, since np.savez takes names as keyword arguments and a task may be called "file".
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, vector in vectors.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(vector), allow_pickle=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
