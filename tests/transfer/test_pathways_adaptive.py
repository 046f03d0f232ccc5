"""BlockDrop as a method: what its penalties share, how long its stages are, and the rule that protects accuracy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from transfer.data import ArraySource, image_set
from transfer.pathways.adaptive import BlockDropping
from transfer.pathways.blockdrop import BlockDrop
from transfer.pathways.config import BlockDropConfig
from transfer.pathways.cost import network_cost
from transfer.pathways.learning import Diverged, Learner, Predictions, Schedule
from transfer.pathways.methods import Setting
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.start import starting_point

SIZE = 16
BASE = BlockDropConfig(
    size=SIZE,
    epochs=1,
    batch_size=8,
    learning_rates=(0.05,),
    seeds=(0,),
    curriculum_updates=5,
    policy_batch_size=12,
    joint_updates=4,
    penalties=(1.0, 5.0),
    policy_shrink=1,
)


def pixels(count: int = 20) -> Pixels:
    arrays = np.random.default_rng(0).integers(0, 255, (count, SIZE, SIZE, 3)).astype(np.uint8)
    images = image_set([f"{i:03d}" for i in range(count)], np.arange(count) % 3, ArraySource(arrays))
    return load_pixels(images, size=SIZE, threads=1)


def dropping(files: Path | None = None, **changes: object) -> tuple[BlockDropping, list[str]]:
    """A method on a tiny network, and the notes of the steps that it makes."""
    config = dataclasses.replace(BASE, **changes)  # type: ignore[arg-type]
    start = starting_point(config, "random:cifar_resnet8", num_classes=3)
    notes: list[str] = []
    return BlockDropping(Setting(config, start.network, 3, tick=notes.append, files=files)), notes


def predictions(right: int, policy: list[list[float]]) -> Predictions:
    """100 images of class 0, so many of them right, under policies that take turns."""
    probabilities = torch.zeros(100, 3)
    probabilities[:right, 0] = 1.0
    probabilities[right:, 1] = 1.0
    kept = torch.tensor(policy).repeat(100 // len(policy), 1)
    return Predictions(probabilities, torch.zeros(100, dtype=torch.long), kept)


def learner_of(method: BlockDropping) -> Learner:
    network = method.setting.start(0)
    policy = method._policy(network, seed=0)
    return BlockDrop(network, policy, method.config, penalty=1.0, joint=True)


def test_worth_prefers_saving_only_among_those_within_the_tolerance() -> None:
    method, _ = dropping(tolerance=1.0)
    method.full_accuracy = 90.0
    learner = learner_of(method)
    cases = {
        "one block": predictions(89, [[1.0, 0, 0]]),
        "one or three blocks": predictions(89, [[1.0, 0, 0], [1.0, 1, 1]]),
        "all blocks": predictions(99, [[1.0, 1, 1]]),
        "too inaccurate": predictions(88, [[1.0, 0, 0]]),
        "still less accurate": predictions(50, [[0.0, 0, 0]]),
    }
    worths = [method.worth(learner, pixels(), case) for case in cases.values()]
    assert worths == sorted(worths, reverse=True) and len(set(worths)) == len(cases)
    cost = network_cost(learner.network, height=SIZE)  # type: ignore[arg-type]
    assert worths[0] == pytest.approx(200 - 100 * (cost.base + cost.residuals[0]) / cost.total)
    assert worths[2:] == [pytest.approx(100.0), pytest.approx(88.0), pytest.approx(50.0)]


def test_a_larger_tolerance_lets_more_pass() -> None:
    method, _ = dropping(tolerance=2.0)
    method.full_accuracy = 90.0
    assert method.worth(learner_of(method), pixels(), predictions(88, [[1.0, 0, 0]])) > 100


def test_flops_of_candidates_are_counted_on_the_pictures_that_are_tested() -> None:
    """Pictures twice as high as wide, where the head's share of the FLOPs is half of that on squares."""
    method, _ = dropping(resize=SIZE, uncut=True, augment="none")
    arrays = np.random.default_rng(0).integers(0, 255, (4, 2 * SIZE, SIZE, 3)).astype(np.uint8)
    images = image_set([str(i) for i in range(4)], np.arange(4) % 3, ArraySource(arrays))
    tall = load_pixels(images, size=SIZE, resize=SIZE, uncut=True, threads=1)
    learner, case = learner_of(method), predictions(99, [[1.0, 0, 1]])
    cost = network_cost(learner.network, height=2 * SIZE, width=SIZE)  # type: ignore[arg-type]
    share = (cost.total - cost.residuals[1]) / cost.total
    assert method.facts(learner, tall, case) == {"blocks_kept": 2.0, "flops_share": pytest.approx(share, rel=1e-12)}
    assert method.worth(learner, tall, case) == pytest.approx(200 - 100 * share, rel=1e-12)
    assert method.facts(learner, pixels(), case)["flops_share"] != pytest.approx(share, rel=1e-6)


def test_the_bar_is_the_accuracy_of_the_network_that_the_candidates_start_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another seed chooses the rate: its accuracy, the best of several, is no bar."""
    method, _ = dropping(learning_rates=(0.1, 0.05, 0.01))
    asked: list[tuple[float, int]] = []
    accuracy = {0.1: 50.0, 0.05: 90.0, 0.01: 70.0}

    def try_full(rate: float, train: Pixels, val: Pixels, *, seed: int) -> float:
        asked.append((rate, seed))
        return accuracy[rate] if seed else 80.0

    monkeypatch.setattr(method, "_try_full", try_full)
    method.prepare(pixels(), pixels())
    assert (method.learning_rate, method.full_accuracy) == (0.05, 80.0)
    assert [rate for rate, _ in asked] == [0.1, 0.05, 0.01, 0.05]
    assert all(seed != 0 for _, seed in asked[:3]) and asked[3][1] == 0
    assert {candidate["learning_rate"] for candidate in method.candidates()} == {0.05}


def test_a_rate_that_diverges_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    method, _ = dropping(learning_rates=(0.1, 0.05))
    train_full = method._train_full

    def fails(rate: float, images: Pixels, *, seed: int) -> Learner:
        if rate == 0.1:
            raise Diverged("weights are not finite")
        return train_full(rate, images, seed=seed)

    monkeypatch.setattr(method, "_train_full", fails)
    method.prepare(pixels(), pixels())
    assert method.learning_rate == 0.05 and method.full_accuracy >= 0.0


def test_all_penalties_start_from_one_curriculum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, notes = dropping()
    starts: list[dict[str, Tensor]] = []
    penalties: list[tuple[bool, float]] = []
    inner = Setting.fit

    def fit(self: Setting, learner: Learner, images: Pixels, schedule: Schedule, *, seed: int, phase: str) -> None:
        if isinstance(learner, BlockDrop):
            penalties.append((learner.joint, learner.penalty))
            if learner.joint:
                starts.append({name: value.clone() for name, value in learner.state_dict().items()})
        inner(self, learner, images, schedule, seed=seed, phase=phase)

    monkeypatch.setattr(Setting, "fit", fit)
    counts, ends = [], []
    for penalty in (1.0, 5.0):
        notes.clear()
        method.setting.files = tmp_path / f"penalty={penalty:g}"
        ends.append(method.train({"learning_rate": 0.05, "penalty": penalty}, pixels(), seed=0).state_dict())
        counts.append(len(notes))
    full, alone, joint = 3, 6, 6  # 20 images in batches of 8, 12 and 8: whole passes of 3, 2 and 3 steps
    assert counts == [full + alone + joint, joint]
    assert penalties == [(False, 1.0), (True, 1.0), (False, 1.0), (True, 5.0)]
    assert len(starts) == 2 and all(torch.equal(starts[0][name], value) for name, value in starts[1].items())
    assert any(not torch.equal(starts[0][name], value) for name, value in ends[0].items())
    assert any(not torch.equal(ends[0][name], value) for name, value in ends[1].items())


def test_without_a_joint_stage_there_is_nothing_to_choose_a_penalty_for() -> None:
    method, notes = dropping(joint_updates=0)
    assert method.candidates() == [{"learning_rate": 0.05}]
    learner = method.train(method.candidates()[0], pixels(), seed=0)
    assert isinstance(learner, BlockDrop) and not learner.joint and learner.penalty == BASE.curriculum_penalty
    assert len(notes) == 3 + 6


@pytest.mark.parametrize(
    ("images", "batch", "updates", "used", "epochs"),
    [(20, 12, 5, 12, 3), (20, 12, 1, 12, 2), (20, 128, 7, 20, 7), (25, 12, 5, 12, 3), (30, 12, 6, 12, 2)],
)
def test_the_curriculum_is_counted_in_updates(images: int, batch: int, updates: int, used: int, epochs: int) -> None:
    method, notes = dropping(policy_batch_size=batch, curriculum_updates=updates, joint_updates=0)
    schedule = method.curriculum(images)
    assert (schedule.batch_size, schedule.epochs) == (used, epochs)
    method.train(method.candidates()[0], pixels(images), seed=0)
    fine_tuning = method.setting.schedule(1).steps(images)
    assert len(notes) == fine_tuning + epochs * schedule.steps(images)


def test_every_curriculum_opens_all_blocks() -> None:
    for updates in (1, 3, 8, 50):
        method, _ = dropping(curriculum_updates=updates, joint_updates=0)
        learner = method.train(method.candidates()[0], pixels(), seed=0)
        assert isinstance(learner, BlockDrop) and learner.open_blocks.all()
        last = method.curriculum(20).epochs - 1
        assert 1 <= learner.opening_epochs <= max(1, round(last / 2 + 1)) and learner.opening_epochs <= last


def test_the_published_opening_is_one_block_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """K - 1 = 2 passes for three blocks; the curriculum is one pass longer, however few updates are asked for."""
    opened: list[int] = []
    start_epoch = BlockDrop.start_epoch

    def start(self: BlockDrop, epoch: int) -> None:
        start_epoch(self, epoch)
        opened.append(int(self.open_blocks.sum()))

    monkeypatch.setattr(BlockDrop, "start_epoch", start)
    for updates, passes in ((1, 3), (10, 5)):
        opened.clear()
        method, _ = dropping(curriculum_updates=updates, opening_epochs=2, joint_updates=0)
        method.train(method.candidates()[0], pixels(), seed=0)
        assert opened == [1, 2, 3, 3, 3][:passes]


def test_planned_steps_are_those_made(tmp_path: Path) -> None:
    method, notes = dropping(learning_rates=(0.05, 0.02))
    train = pixels()
    method.setting.files = tmp_path / "selection" / "prepare"
    method.prepare(train, train)
    for penalty in BASE.penalties:
        method.setting.files = tmp_path / "selection" / f"{penalty}"
        method.train({"learning_rate": method.learning_rate, "penalty": penalty}, train, seed=0)
    method.setting.files = tmp_path / "final" / "0"
    method.train({"learning_rate": method.learning_rate, "penalty": 1.0}, train, seed=0)
    assert len(notes) == method.steps(len(train), len(train))


def test_the_policy_can_come_from_a_backbone_of_its_own() -> None:
    method, _ = dropping(policy_backbone="random:cifar_resnet20:7")
    network = method.setting.start(0)
    found = method._policy(network, seed=0)
    other = starting_point(BASE, "random:cifar_resnet20:7", num_classes=3).network(0)
    assert found.num_blocks == network.num_blocks == 3
    weight = found.trunk.blocks[1].residual[0].weight  # type: ignore[union-attr,index]
    assert torch.equal(weight, other.blocks[3].residual[0].weight)  # type: ignore[union-attr,index]
    assert not torch.equal(weight, network.blocks[1].residual[0].weight)  # type: ignore[union-attr,index]
    with pytest.raises(ValueError, match="cifar_resnet9"):
        dropping(policy_backbone="random:cifar_resnet9")


def test_a_policy_backbone_of_other_pixels_is_refused() -> None:
    method, _ = dropping(policy_backbone="random:cifar_resnet8")
    other = dataclasses.replace(pixels(), mean=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"policy_backbone random:cifar_resnet8 was trained on pixels of mean \(0.485"):
        method.train(method.candidates()[0], other, seed=0)
