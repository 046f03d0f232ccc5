"""The loop behind `transfer.finetune`: epochs over a task's training images, resumable, and one prediction at the
end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.data import ImageSet, Task
from transfer.features import embed_images
from transfer.images import UnreadableImage, resize_and_crop
from transfer.loading import check_readable, stream_pixels
from transfer.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from transfer.finetune import TuneConfig

Progress = Callable[[int, int, str], None]


class ViewDataset:
    """Training images in one epoch's order; what does not depend on the worker: a view is (seed, epoch, image)."""

    def __init__(self, images: ImageSet, order: np.ndarray, config: TuneConfig, epoch: int) -> None:
        self.images, self.order, self.config, self.epoch = images, order, config, epoch

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, item: int) -> tuple[int, torch.Tensor | str]:
        import torch

        from pretrain.augment import Augmentation, augment

        position = int(self.order[item])
        try:
            image = self.images.read(position)
        except (UnreadableImage, FileNotFoundError) as error:
            return position, str(error) or type(error).__name__
        if not self.config.augment:
            return position, torch.from_numpy(resize_and_crop(image, size=self.config.size, resize=self.config.resize))
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        policy = Augmentation(size=self.config.size, interpolation="bilinear")
        return position, augment(pixels, policy, seed=self.config.seed, epoch=self.epoch, sample=position)


class TuningRun:
    """The training loop of one (backbone, task)."""

    def __init__(
        self,
        config: TuneConfig,
        recipe: Recipe,
        network: nn.Module,
        info: Any,
        task: Task,
        train: ImageSet,
        device: str,
        workers: int,
        out: Path,
    ) -> None:
        import torch
        from torch import nn

        from pretrain.smallmaps import use_products_on_small_maps

        self.config, self.recipe, self.task, self.images = config, recipe, task, train
        self.device, self.workers, self.out = device, workers, out
        self.normalisation = (info.mean, info.std)
        torch.manual_seed(config.seed)
        head = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.BatchNorm1d(info.num_features, affine=False),
            nn.Linear(info.num_features, len(task.classes)),
        )
        self.network, self.head = network, head.to(device)
        network.requires_grad_(config.trained == "all")
        use_products_on_small_maps(network)
        self.model = nn.ModuleDict({"network": network, "head": head})
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            momentum=0.9,
            nesterov=True,
        )
        self.bad: dict[int, str] = {}
        self.cached: torch.Tensor | None = None

    def skipped(self) -> list[tuple[str, str]]:
        """Unreadable training images: name, reason."""
        return [(self.images.names[position], reason) for position, reason in sorted(self.bad.items())]

    def learning_rate(self, epoch: int) -> float:
        """Of an epoch, counted from 0: a tenth after a half of them, a hundredth after three quarters."""
        epochs = self.config.epochs
        return self.recipe.learning_rate * 0.1 ** ((epoch >= epochs // 2) + (epoch >= epochs * 3 // 4))

    def train(self, progress: Progress | None, stop: Callable[[], bool]) -> None:
        """All epochs that are left."""
        import torch

        from pretrain.checkpoint import save_checkpoint
        from pretrain.train import SavedAndStoppedError

        first = self._resume()
        steps, count = 0, len(self.images)
        for epoch in range(first, self.config.epochs):
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(epoch)
            torch.manual_seed(self.config.seed * 1_000_003 + epoch + 1)  # dropout; a resumed run draws the same
            self.head.train()
            self.network.train(self.config.trained == "all")
            loss_sum, seen, correct = 0.0, 0, 0
            for inputs, labels in self._batches(epoch):
                loss, hits = self._step(inputs, labels)
                loss_sum, seen, correct = loss_sum + loss * len(labels), seen + len(labels), correct + hits
                steps += 1
                if progress is not None:
                    done = epoch * count + min(seen, count)
                    progress(done, self.config.epochs * count, f"{self.task.name}: epoch {epoch + 1}, loss {loss:.3f}")
            check_readable(self.task.name, "train", count, seen, self.skipped(), self.config.max_unreadable)
            if not np.isfinite(loss_sum):
                raise RuntimeError(f"task {self.task.name}: the loss is no longer finite in epoch {epoch + 1}")
            record = {"epoch": epoch + 1, "loss": loss_sum / seen, "train_accuracy": 100 * correct / seen}
            with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            state = {
                "model": self.model.state_dict() if self.config.trained == "all" else self.head.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "epoch": epoch + 1,
                "bad": list(self.bad.items()),
            }
            save_checkpoint(self.out / "checkpoints", epoch + 1, state, keep=1)
            if stop() and epoch + 1 < self.config.epochs:
                raise SavedAndStoppedError(f"saved after epoch {epoch + 1} of {self.config.epochs}")

    def _resume(self) -> int:
        from pretrain.checkpoint import checkpoints, load_checkpoint

        found = checkpoints(self.out / "checkpoints")
        if not found:
            (self.out / "metrics.jsonl").unlink(missing_ok=True)
            return 0
        state = load_checkpoint(found[-1])
        (self.model if self.config.trained == "all" else self.head).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.bad = dict(state["bad"])
        epoch: int = state["epoch"]
        lines = (self.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[:epoch]
        (self.out / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return epoch

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs (pixels, or cached features) and labels on the device; a last batch of one image is left out."""
        import torch

        rng = np.random.default_rng([self.config.seed, epoch, len(self.images)])
        labels = torch.from_numpy(self.images.labels)
        size = self.recipe.batch_size
        if self.config.trained == "head" and not self.config.augment:
            if self.cached is None:
                self._cache()
            assert self.cached is not None
            order = rng.permutation(np.setdiff1d(np.arange(len(self.images)), list(self.bad)))
            for start in range(0, len(order), size):
                chosen = torch.from_numpy(order[start : start + size])
                if len(chosen) > 1:
                    yield self.cached[chosen].to(self.device), labels[chosen].to(self.device)
            return
        views = ViewDataset(self.images, rng.permutation(len(self.images)), self.config, epoch)
        loader: Any = torch.utils.data.DataLoader(
            views,  # type: ignore[arg-type]
            batch_size=size,
            num_workers=self.workers,
            collate_fn=list,
            multiprocessing_context="forkserver" if self.workers else None,
        )
        for items in loader:
            good = [(position, view) for position, view in items if not isinstance(view, str)]
            self.bad.update({position: view for position, view in items if isinstance(view, str)})
            if len(good) > 1:
                chosen = torch.tensor([position for position, _ in good])
                yield self._normalised(torch.stack([view for _, view in good])), labels[chosen].to(self.device)

    def _cache(self) -> None:
        import torch

        embedded = embed_images(
            self.network,
            self.images,
            self.config.features(),
            normalisation=self.normalisation,
            device=self.device,
            workers=self.workers,
        )
        readable = set(embedded.kept.tolist())
        reasons = dict(embedded.skipped)
        self.bad = {i: reasons[self.images.names[i]] for i in range(len(self.images)) if i not in readable}
        self.cached = torch.zeros(len(self.images), embedded.features.shape[1])
        self.cached[torch.from_numpy(embedded.kept)] = embedded.features

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) * 255 for v in self.normalisation)
        inputs: torch.Tensor = (pixels.to(self.device, non_blocking=True).float() - mean) / std
        return inputs.contiguous(memory_format=torch.channels_last)

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 from pixels (B, 3, S, S) or cached features (B, D)."""
        import torch

        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.config.precision == "bf16"):
            if inputs.ndim == 4:
                with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.trained == "all"):
                    inputs = self.network(inputs)
            # batch statistics and the loss want float32
        logits: torch.Tensor = self.head(inputs.float())
        return logits

    def _step(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
        from torch.nn.functional import cross_entropy

        logits = self._logits(inputs)
        loss = cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach()), int((logits.argmax(1) == labels).sum())

    def predict(self, images: ImageSet) -> tuple[torch.Tensor, torch.Tensor, list[tuple[str, str]]]:
        """Probabilities (M, C) and labels (M,) of the readable images, and the skipped ones; eval mode, test
        transform."""
        import torch

        self.model.eval()
        probabilities, kept, skipped = [], [], []
        with torch.no_grad():
            size, resize = self.config.size, self.config.resize
            batches = stream_pixels(
                images, np.arange(len(images)), size=size, resize=resize, batch_size=64, workers=self.workers
            )
            for batch in batches:
                skipped += batch.skipped
                kept += batch.kept
                if batch.kept:
                    probabilities.append(self._logits(self._normalised(batch.pixels)).softmax(1).cpu())
        if not probabilities:
            return torch.zeros(0, len(self.task.classes)), torch.zeros(0, dtype=torch.int64), skipped
        return torch.cat(probabilities), torch.from_numpy(images.labels[np.array(kept)]), skipped
