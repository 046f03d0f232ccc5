"""Training views: what scaling, flipping, padding and cropping do to labels, and batches by number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from transfer.dense.config import ADMITTED, AdaShareConfig, MultitaskConfig, NetworkConfig
from transfer.dense.data import (
    Sampler,
    Scene,
    SceneSet,
    ViewConfig,
    flipped,
    pad,
    random_split,
    scaled,
    scaled_depth,
    scene_set,
    seeded_generator,
    stack,
    training_view,
)
from transfer.dense.losses import DenseTask
from transfer.dense.metrics import IGNORED, NO_VALUE

TASKS = ("segmentation", "normals", "depth", "keypoints", "edges")
VIEW = ViewConfig(crop=16, scale=(0.5, 1.5), flip=True, depth="metres")


def _scene(seed: int = 0, height: int = 20, width: int = 24) -> Scene:
    generator = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(3, height, width, generator=generator), dim=0)
    return Scene(
        torch.rand(3, height, width, generator=generator),
        {
            "segmentation": torch.randint(0, 5, (height, width), generator=generator),
            "normals": normals,
            "depth": torch.rand(1, height, width, generator=generator) + 1,
            "keypoints": 2 * torch.rand(1, height, width, generator=generator) - 1,
            "edges": 2 * torch.rand(1, height, width, generator=generator) - 1,
        },
    )


class Generated:
    """A source that counts what is read."""

    def __init__(self) -> None:
        self.read_rows: list[int] = []

    def read(self, row: int) -> Scene:
        self.read_rows.append(row)
        return _scene(row)


def _set(count: int = 10) -> SceneSet:
    return scene_set(Generated(), [str(i) for i in range(count)])


def test_flipping_negates_x_and_twice_is_nothing() -> None:
    scene, once = _scene(), flipped(_scene())
    assert torch.equal(once.labels["normals"][0], -scene.labels["normals"][0].flip(-1))
    assert torch.equal(once.labels["normals"][1:], scene.labels["normals"][1:].flip(-1))
    twice = flipped(once)
    assert torch.equal(twice.image, scene.image)
    assert len(twice.labels) == 5 and all(torch.equal(twice.labels[t], scene.labels[t]) for t in TASKS)


@pytest.mark.parametrize(("kind", "expected"), [("metres", 1.0), ("disparity", 4.0)])
def test_depth_follows_the_size_of_the_view(kind: str, expected: float) -> None:
    depth = torch.tensor([[[2.0, 0.0]]])
    assert scaled_depth(depth, 2.0, kind).tolist() == [[[expected, 0.0]]]  # type: ignore[arg-type]


def test_logarithmic_depth_is_scaled_in_metres() -> None:
    def encode(levels: float) -> float:
        return math.log1p(levels) / math.log(65536)

    label = torch.tensor([[[encode(1000.0)]]], dtype=torch.float64)
    assert float(scaled_depth(label, 2.0, "log")) == pytest.approx(encode(500.0))


def test_labels_are_scaled_to_the_nearest_and_images_smoothly() -> None:
    scene = _scene()
    double = scaled(scene, 2.0, "metres")
    assert double.image.shape == (3, 40, 48)
    assert torch.equal(double.labels["segmentation"][::2, ::2], scene.labels["segmentation"])
    assert torch.equal(double.labels["depth"][:, ::2, ::2], scene.labels["depth"] / 2)
    assert float((double.labels["normals"].norm(dim=0) - 1).abs().max()) < 1e-5


def test_padding_carries_no_label() -> None:
    padded = pad(_scene(), 30)
    assert padded.image.shape == (3, 30, 30) and not bool(padded.image[:, 20:].any())
    for task in TASKS:
        valid = DenseTask(task, 5).valid(padded.labels[task][None])[0]
        assert int(valid.sum()) == 20 * 24 and not bool(valid[20:].any() | valid[:, 24:].any())


def test_views_have_the_asked_size_and_depend_on_the_generator_alone() -> None:
    for seed in range(20):
        first, second = (training_view(_scene(), VIEW, seeded_generator(seed)) for _ in range(2))
        assert first.image.shape == (3, 16, 16)
        assert {label.shape[-2:] for label in first.labels.values()} == {(16, 16)}
        assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, training_view(_scene(), VIEW, seeded_generator(99)).image)


def test_image_and_labels_move_together() -> None:
    scene = _scene()
    marked = Scene(scene.labels["depth"].expand(3, -1, -1), scene.labels)
    config = ViewConfig(crop=16, scale=(1.0, 1.0), flip=True, depth="metres")
    for seed in range(10):
        view = training_view(marked, config, seeded_generator(seed))
        assert torch.equal(view.image[:1], view.labels["depth"])


def test_a_scene_without_a_task_gets_a_map_without_labels() -> None:
    scene = _scene()
    partial = Scene(scene.image, {"depth": scene.labels["depth"]})
    batch = stack([scene, partial], TASKS)
    assert batch.images.shape == (2, 3, 20, 24) and batch.labels["segmentation"].shape == (2, 20, 24)
    assert bool((batch.labels["segmentation"][1] == IGNORED).all())
    assert not bool(batch.labels["normals"][1].any()) and bool((batch.labels["edges"][1] == NO_VALUE).all())
    for task in TASKS:
        one = DenseTask(task, 5)
        valid = one.valid(batch.labels[task])
        assert bool(valid[0].all()) and bool(valid[1].any()) == (task == "depth")


def test_scenes_of_two_sizes_do_not_make_a_batch() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        stack([_scene(), _scene(height=30)], TASKS)


def _sampler(scenes: SceneSet, seed: int = 0) -> Sampler:
    return Sampler(scenes, TASKS, VIEW, 3, (seed,))


def test_an_epoch_shows_every_scene_at_most_once() -> None:
    scenes = _set(10)
    sampler = _sampler(scenes)
    assert sampler.batches_per_epoch == 3
    for number in range(3):
        assert sampler.batch(number).images.shape == (3, 3, 16, 16)
    assert isinstance(scenes.source, Generated)
    assert len(set(scenes.source.read_rows)) == 9
    for number in range(3, 6):
        sampler.batch(number)
    assert scenes.source.read_rows[:9] != scenes.source.read_rows[9:]


def test_any_batch_can_be_made_alone() -> None:
    def same(a: Tensor, b: Tensor) -> bool:
        return torch.equal(a, b)

    first = [_sampler(_set()).batch(number).images for number in range(7)]
    assert same(_sampler(_set()).batch(5).images, first[5])
    assert not same(_sampler(_set(), seed=1).batch(5).images, first[5])


def test_random_splits_are_disjoint_complete_and_seeded() -> None:
    scenes = _set(20)
    large, small = random_split(scenes, 0.2, seed=0)
    assert (len(large), len(small)) == (16, 4) and sorted(large.names + small.names) == sorted(scenes.names)
    assert random_split(scenes, 0.2, seed=0)[1].names == small.names
    assert random_split(scenes, 0.2, seed=1)[1].names != small.names
    assert [len(part) for part in random_split(_set(2), 0.01, seed=0)] == [1, 1]


@pytest.mark.parametrize("name", TASKS)
def test_losses_ignore_pixels_without_label(name: str) -> None:
    task = DenseTask(name, 5 if name == "segmentation" else 3 if name == "normals" else 1)
    label = stack([_scene(), _scene(1)], TASKS).labels[name]
    prediction = torch.randn(2, task.outputs, 20, 24, requires_grad=True)
    alone = task.loss(prediction[:1], label[:1])
    padded = torch.cat([label[:1], stack([Scene(torch.zeros(3, 20, 24), {})], TASKS).labels[name]])
    loss = task.loss(prediction, padded)
    assert loss is not None and alone is not None
    torch.testing.assert_close(loss, alone)
    loss.backward()
    assert prediction.grad is not None and not bool(prediction.grad[1].any()) and bool(prediction.grad[0].any())
    assert task.loss(prediction[1:], padded[1:]) is None and task.performance(prediction[1:], padded[1:]) is None


def test_losses_of_perfect_predictions_are_nothing() -> None:
    labels = stack([_scene()], TASKS).labels
    for name in ("normals", "depth", "keypoints", "edges"):
        task = DenseTask(name, 1)
        assert float(task.loss(labels[name], labels[name])) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
        assert task.performance(labels[name], labels[name]) == 1
    logits = 100 * torch.nn.functional.one_hot(labels["segmentation"], 5).permute(0, 3, 1, 2).float()
    assert float(DenseTask("segmentation", 5).loss(logits, labels["segmentation"])) < 1e-6  # type: ignore[arg-type]


def test_class_weights_and_focus_enter_the_cross_entropy() -> None:
    label, logits = torch.tensor([[[0, 1, IGNORED]]]), torch.randn(1, 2, 1, 3)
    losses = torch.nn.functional.cross_entropy(logits, label, ignore_index=IGNORED, reduction="none")[0, 0, :2]
    weighted = DenseTask("segmentation", 2, class_weights=(1.0, 3.0)).loss(logits, label)
    torch.testing.assert_close(weighted, (losses * torch.tensor([0.25, 0.75])).sum())
    focal = DenseTask("segmentation", 2, focal_gamma=2.0).loss(logits, label)
    torch.testing.assert_close(focal, ((1 - torch.exp(-losses)) ** 2 * losses).mean())
    both = DenseTask("segmentation", 2, class_weights=(1.0, 3.0), focal_gamma=2.0).loss(logits, label)
    expected = ((1 - torch.exp(-losses)) ** 2 * losses * torch.tensor([0.25, 0.75])).sum()
    torch.testing.assert_close(both, expected)


def test_undecoded_normals_are_learned_as_bytes() -> None:
    label = stack([_scene()], TASKS).labels["normals"]
    task = DenseTask("normals", 3, normals_space="uint8")
    assert float(task.loss(label + 1, label)) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weights": (1.0,)}, "loss_weights"),
        ({"tasks": ("depth", "depth"), "loss_weights": (1.0, 1.0)}, "tasks"),
        ({"seeds": ()}, "seeds"),
        ({"scale": (1.5, 0.5)}, "scale"),
        ({"architectures": ("soft",), "balancers": ("graddrop",)}, "graddrop works with none of soft"),
        ({"adashare": AdaShareConfig(policy_phases=45)}, "policy_phases is 45; allowed: more than 45"),
        ({"network": NetworkConfig(arch="resnet18"), "adashare": AdaShareConfig(policy_phases=21)}, "all 8 blocks"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultitaskConfig(**changes)  # type: ignore[arg-type]


def test_a_table_has_every_admitted_pair_once_and_the_reference_first() -> None:
    config = MultitaskConfig(architectures=("single_task", "hard", "soft"), balancers=("fixed", "graddrop"))
    assert config.runs == (("single_task", "fixed"), ("hard", "fixed"), ("hard", "graddrop"), ("soft", "fixed"))
    assert set(ADMITTED) == {"gradnorm", "graddrop", "pcgrad"}


def test_configurations_do_not_wait_for_torch() -> None:
    import subprocess
    import sys

    code = "import sys, transfer.dense.presets, transfer.dense.stage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_seeds_are_told_apart() -> None:
    draws = [float(torch.rand((), generator=seeded_generator(*words))) for words in ((0,), (1,), (0, 1), (1, 0))]
    assert len(set(np.round(draws, 6))) == 4
