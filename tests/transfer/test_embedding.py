"""Task2Vec: its size, its invariances, agreement with a slow rewrite, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pretrain.model import build_backbone, remove_classifier
from transfer.data import ArraySource, Task, image_set
from transfer.embedding import EmbeddingConfig, embed_task, load_vector, save_vectors
from transfer.fisher import balanced_draws, by_first_appearance, fisher_per_filter

SMALL = EmbeddingConfig(size=16, resize=16, head_epochs=3, draws=800, batch_size=32)


class Probe(nn.Module):
    """Two convolutions with BatchNorm: 6 + 6 + 8 + 8 filters."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.two = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 8, 3)
            self.norm_one, self.norm_two = nn.BatchNorm2d(6), nn.BatchNorm2d(8)
            for norm in (self.norm_one, self.norm_two):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.running_mean, std=0.3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm_one(self.one(images)).relu()
        features: torch.Tensor = self.norm_two(self.two(hidden)).relu().mean(dim=(2, 3))
        return features


def toy_task(seed: int, kind: str = "bars", count: int = 90, classes: tuple[str, ...] = ("a", "b", "c")) -> Task:
    """Pictures whose class is a direction of bars, or a colour."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = rng.integers(0, 60, (count, 16, 16, 3))
    for picture, label in zip(pixels, labels, strict=True):
        if kind == "colours":
            picture[:, :, label] += 150
        elif label == 0:
            picture[::4] += 180
        elif label == 1:
            picture[:, ::4] += 180
        else:
            picture[::4, ::4] += 180
    images = image_set([f"{i:04d}" for i in range(count)], labels, ArraySource(pixels.astype(np.uint8)))
    return Task(kind, classes, images, images.select(np.arange(min(6, count))))


def vector(config: EmbeddingConfig, task: Task, out: Path) -> np.ndarray:
    embed_task(config, Probe(), task, out=out)
    return load_vector(out)[0]


def test_a_resnet18_has_9600_non_negative_entries_of_unit_norm(tmp_path: Path) -> None:
    model = build_backbone("resnet18", num_classes=2, seed=0)
    remove_classifier(model, "resnet18")
    config = replace(SMALL, draws=32, head_epochs=1, size=32, resize=32)
    summary = embed_task(config, model, toy_task(0), out=tmp_path)
    found, read = load_vector(tmp_path)
    assert found.shape == (9600,) and found.dtype == np.float32
    assert (found >= 0).all() and np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert read == summary and summary["dim"] == 9600 and summary["n_train"] == 90
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.out_channels for m in convolutions) == 4800


def test_seeds_agree_and_unrelated_tasks_do_not(tmp_path: Path) -> None:
    config = replace(SMALL, draws=1600)
    bars = [vector(replace(config, seed=seed), toy_task(0), tmp_path / f"bars{seed}") for seed in range(2)]
    same = vector(config, toy_task(0), tmp_path / "again")
    colours = vector(config, toy_task(0, "colours"), tmp_path / "colours")
    np.testing.assert_array_equal(bars[0], same)
    assert bars[0] @ bars[1] > 0.99
    assert bars[0] @ colours < 0.95


def test_a_permutation_of_the_classes_changes_nothing(tmp_path: Path) -> None:
    task = toy_task(0)
    permuted = replace(task, train=replace(task.train, labels=(task.train.labels + 2) % 3), classes=("c", "a", "b"))
    first = vector(SMALL, task, tmp_path / "first")
    np.testing.assert_array_equal(first, vector(SMALL, permuted, tmp_path / "second"))


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_the_fisher_agrees_with_a_slow_rewrite(bn_mode: str) -> None:
    """Gradient of one image's loss after the other (eval) or of the batch (train), by finite attributes only."""
    model = Probe().double()
    rng = np.random.default_rng(0)
    batches = [torch.from_numpy(rng.normal(size=(4, 3, 16, 16))) for _ in range(5)]
    weight, bias = torch.from_numpy(rng.normal(size=(3, 8))), torch.from_numpy(rng.normal(size=3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = fisher_per_filter(model, weight, bias, iter(batches), seed=7, bn_mode=bn_mode, scale=4.0)
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)

    model.train(bn_mode == "train")
    generator = torch.Generator().manual_seed(7)
    parameters = [model.one.weight, model.two.weight, model.norm_one.weight, model.norm_two.weight]
    expected = [torch.zeros(6), torch.zeros(8), torch.zeros(6), torch.zeros(8)]
    for batch in batches:
        with torch.no_grad():
            likely = (model(batch) @ weight.T + bias).softmax(dim=1)
        labels = torch.multinomial(likely, 1, generator=generator).squeeze(1)
        summed = [torch.zeros_like(parameter) for parameter in parameters]
        for image in range(4):
            logits = (model(batch) if bn_mode == "train" else model(batch[image : image + 1])) @ weight.T + bias
            row = image if bn_mode == "train" else 0
            loss = cross_entropy(logits[row : row + 1], labels[image : image + 1])
            for total, gradient in zip(summed, torch.autograd.grad(loss, parameters), strict=True):
                total += gradient / 4
        for total, gradient in zip(expected, summed, strict=True):
            for index in range(len(total)):
                values = [float(value) ** 2 for value in gradient[index].flatten()]
                total[index] += 4.0 * sum(values) / len(values) / len(batches)
    np.testing.assert_allclose(found, torch.cat(expected).numpy(), rtol=1e-5)


def test_batch_statistics_give_another_vector(tmp_path: Path) -> None:
    ours = vector(SMALL, toy_task(0), tmp_path / "eval")
    theirs = vector(replace(SMALL, bn_mode="train", fisher_batch=32), toy_task(0), tmp_path / "train")
    assert ours @ theirs < 0.99


def test_draws_are_balanced_over_classes_of_unequal_size() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    drawn = labels[balanced_draws(np.random.default_rng(0), labels, 4000)]
    assert abs(drawn.mean() - 0.5) < 0.04


def test_labels_are_numbered_by_first_appearance() -> None:
    assert by_first_appearance(np.array([5, 2, 5, 9, 2])).tolist() == [0, 1, 0, 2, 1]


def test_a_finished_vector_is_returned_and_another_is_refused(tmp_path: Path) -> None:
    first = embed_task(SMALL, Probe(), toy_task(0), out=tmp_path)
    written = (tmp_path / "vector.safetensors").stat().st_mtime_ns
    assert embed_task(SMALL, Probe(), toy_task(0), out=tmp_path) == first
    assert (tmp_path / "vector.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="holds a vector of another config"):
        embed_task(replace(SMALL, seed=1), Probe(), toy_task(0), out=tmp_path)


def test_five_images_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bars has 5 readable training images; a task vector needs 10 or more"):
        embed_task(SMALL, Probe(), toy_task(0, count=5), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_absent_torchvision_weights_say_what_else_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"download it once from .*, or give --probe a backbone"):
        embed_task(SMALL, "torchvision:resnet18", toy_task(0), out=tmp_path / "out")


def test_progress_ends_at_its_total_and_names_the_task(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    embed_task(SMALL, Probe(), toy_task(0), out=tmp_path, progress=lambda *call: calls.append(call))
    assert len(calls) > 10
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert calls[-1][0] == calls[-1][1] == 90 + 800
    assert "bars" in calls[0][2]


def test_vectors_are_saved_without_pickles(tmp_path: Path) -> None:
    save_vectors(tmp_path / "v.npz", {"a": np.ones(3, np.float32), "file": np.zeros(3, np.float32)})
    with np.load(tmp_path / "v.npz", allow_pickle=False) as read:
        assert sorted(read.files) == ["a", "file"]
