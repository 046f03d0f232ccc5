"""Weight steps and AdaShare's phases: what moves in which, schedules, and runs taken up at any step."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Literal

import pytest
import torch
from torch import Tensor

from pretrain.checkpoint import load_checkpoint
from transfer.dense.adashare import AdaShare, select_probability
from transfer.dense.config import AdaShareConfig, MultitaskConfig, NetworkConfig, SharingConfig
from transfer.dense.data import Sampler, Scene, ViewConfig, scene_set
from transfer.dense.gradients import build_balancer
from transfer.dense.losses import DenseTask, dense_tasks
from transfer.dense.search import Parts, PolicySearch, draw_policies
from transfer.dense.sharing import build_network
from transfer.dense.training import WeightSteps, evaluate, fit

CONFIG = MultitaskConfig(
    tasks=("segmentation", "depth"),
    loss_weights=(1.0, 2.0),
    architectures=("adashare",),
    network=NetworkConfig(arch="resnet18", width=4, head_width=4, head_rates=(1,), dropout=0.3, init_std=None),
    adashare=AdaShareConfig(
        warmup_iterations=2, policy_phases=8, weight_iterations=1, policy_iterations=1, curriculum_speed=1, samples=2
    ),
    crop=16,
    batch_size=2,
    iterations=4,
    learning_rate_step=3,
)
TASKS: tuple[DenseTask, ...] = dense_tasks(CONFIG, classes=3)


class Source:
    """Scenes whose depth and classes are functions of the colour."""

    def __init__(self, *, labelled: bool = True) -> None:
        self.labelled = labelled

    def read(self, row: int) -> Scene:
        image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(row))
        classes = (image.mean(0) * 3).long().clamp(0, 2)
        return Scene(image, {"segmentation": classes, "depth": image[:1] + 0.5} if self.labelled else {})


def _sampler(count: int = 6, *, labelled: bool = True) -> Sampler:
    scenes = scene_set(Source(labelled=labelled), [str(i) for i in range(count)])
    view = ViewConfig(CONFIG.crop, (1.0, 1.0), True, "metres")
    return Sampler(scenes, tuple(task.name for task in TASKS), view, CONFIG.batch_size, (0,))


def _steps(architecture: str = "adashare", balancer: str = "fixed", config: MultitaskConfig = CONFIG) -> WeightSteps:
    network = build_network(architecture, TASKS, config.network, SharingConfig(), seed=0)
    return WeightSteps(
        network, build_balancer(balancer, TASKS, config.balance, architecture=architecture), TASKS, config
    )


def _search(config: MultitaskConfig = CONFIG) -> PolicySearch:
    sampler = _sampler()
    scores = iter(range(1000))

    def validate(draw: Callable[[int], None]) -> float:
        draw(0)
        return float(next(scores) % 3)

    return PolicySearch(_steps(config=config), Parts(sampler, sampler, sampler), seed=0, validate=validate)


def _weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters() if name != "logits"}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    assert len(a) == len(b) > 0
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_weight_steps_leave_the_policy_and_policy_steps_leave_the_weights() -> None:
    search = _search()
    moved: list[str] = []
    statistics = [name for name, _ in search.network.named_buffers() if name.endswith("running_mean")]
    assert len(statistics) > 5

    def watch(note: str) -> None:
        nonlocal weights, logits, norms
        now, policy = _weights(search.network), search.network.logits.detach().clone()
        state = search.network.state_dict()
        means = {name: state[name].clone() for name in statistics}
        moved.append(("w" if not _same(now, weights) else "") + ("p" if not torch.equal(policy, logits) else ""))
        assert not _same(means, norms)  # batch norm keeps collecting in both
        weights, logits, norms = now, policy, means

    state = search.network.state_dict()
    weights, logits = _weights(search.network), search.network.logits.detach().clone()
    norms = {name: state[name].clone() for name in statistics}
    search.run(tick=watch)
    assert moved == ["w", "w"] + ["w", "p"] * 8
    assert all(p.requires_grad for p in search.network.parameters())


def test_rounds_open_block_after_block_and_cool_down() -> None:
    result = _search().run()
    assert [record.opened for record in result.rounds] == [1, 2, 3, 4, 5, 6, 7, 8]
    for number, record in enumerate(result.rounds):
        assert record.temperature == pytest.approx(5 * 0.965**number)
    assert pytest.approx(1.006, abs=1e-3) == 5 * 0.965**45
    assert [record.score for record in result.rounds] == [None] * 7 + [0.0]


def test_a_search_that_is_told_to_end_finishes_its_step_and_saves(tmp_path: Path) -> None:
    class Ended(BaseException):
        pass

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    search = _search()
    step = search._step

    def signalled() -> str:
        if search.position == 2:
            signal.raise_signal(signal.SIGTERM)
        return step()

    search._step = signalled  # type: ignore[method-assign]
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Ended):
            search.run(checkpoint=tmp_path / "search.pt")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert load_checkpoint(tmp_path / "search.pt")["position"] == 3


@pytest.mark.parametrize("init", ["all_chosen", "random"])
def test_a_closed_block_stays_as_it_started(init: Literal["all_chosen", "random"]) -> None:
    search = _search(replace(CONFIG, adashare=replace(CONFIG.adashare, init=init, policy_weight_decay=5e-4)))
    start = select_probability(search.network.logits.detach()).tolist()
    for record in search.run().rounds:
        closed = 8 - record.opened
        for task in range(2):
            assert record.probabilities[task][:closed] == start[task][:closed]
            assert all(p != q for p, q in zip(record.probabilities[task][closed:], start[task][closed:], strict=True))


def test_the_best_round_with_all_blocks_open_is_kept() -> None:
    config = replace(CONFIG, adashare=replace(CONFIG.adashare, policy_phases=12))
    search = _search(config)
    result = search.run()
    assert [record.score for record in result.rounds[7:]] == [0, 1, 2, 0, 1]
    assert result.best_round == 9
    assert select_probability(result.logits).tolist() == result.rounds[9].probabilities
    assert not torch.equal(result.logits, search.network.logits.detach())


class Stop(Exception):
    """The run is interrupted."""


@pytest.mark.parametrize("after", [1, 2, 3, 4, 9, 17])
def test_a_search_continues_from_any_step_to_the_same_bits(after: int, tmp_path: Path) -> None:
    whole = _search()
    expected = whole.run()
    assert whole.position == whole.total_steps == 18
    done = 0

    def interrupt(note: str) -> None:
        nonlocal done
        done += 1
        if done == after:
            raise Stop

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stop):
        _search().run(checkpoint=path, checkpoint_every_s=0, tick=interrupt)
    resumed = _search()
    result = resumed.run(checkpoint=path)
    assert _same(dict(resumed.network.state_dict()), dict(whole.network.state_dict()))
    assert torch.equal(result.logits, expected.logits) and result.rounds == expected.rounds


@pytest.mark.parametrize(
    ("architecture", "balancer"),
    [("hard", "dwa"), ("hard", "gradnorm"), ("cross_stitch", "uncertainty"), ("hard", "dtp")],
)
@pytest.mark.parametrize("after", [1, 3])
def test_training_continues_from_any_step_to_the_same_bits(
    architecture: str, balancer: str, after: int, tmp_path: Path
) -> None:
    whole = _steps(architecture, balancer)
    fit(whole, _sampler(), iterations=4, seed=(0,))
    done = 0

    def interrupt(note: str) -> None:
        nonlocal done
        done += 1
        if done == after:
            raise Stop

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stop):
        interrupted = _steps(architecture, balancer)
        fit(interrupted, _sampler(), iterations=4, seed=(0,), checkpoint=path, checkpoint_every_s=0, tick=interrupt)
    resumed = _steps(architecture, balancer)
    fit(resumed, _sampler(), iterations=4, seed=(0,), checkpoint=path)
    assert _same(dict(resumed.network.state_dict()), dict(whole.network.state_dict()))


@pytest.mark.parametrize("balancer", ["fixed", "uncertainty", "dwa", "gradnorm", "dtp", "graddrop", "pcgrad"])
def test_a_network_learns_under_every_balancer(balancer: str) -> None:
    steps = _steps("hard", balancer)
    scenes = _sampler().scenes
    before = evaluate(steps.network, TASKS, scenes, batch_size=4).metrics
    fit(steps, _sampler(), iterations=12, seed=(0,))
    after = evaluate(steps.network, TASKS, scenes, batch_size=4).metrics
    assert after["depth"]["abs"] < before["depth"]["abs"]


def test_a_batch_without_labels_moves_nothing() -> None:
    steps = _steps("hard")
    before = _weights(steps.network)
    fit(steps, _sampler(labelled=False), iterations=2, seed=(0,))
    assert _same(before, _weights(steps.network))


def test_parameters_of_a_task_without_labels_do_not_move() -> None:
    class DepthOnly(Source):
        def read(self, row: int) -> Scene:
            scene = super().read(row)
            return Scene(scene.image, {"depth": scene.labels["depth"]})

    steps, sampler = _steps("hard"), _sampler()
    before = _weights(steps.network)
    fit(steps, replace(sampler, scenes=scene_set(DepthOnly(), list(sampler.scenes.names))), iterations=2, seed=(0,))
    after = _weights(steps.network)
    moved = {
        name.split(".")[1] for name in after if name.startswith("heads") and not torch.equal(after[name], before[name])
    }
    assert moved == {"depth"}


def test_batches_of_any_size_evaluate_alike() -> None:
    network, scenes = _steps("hard").network, _sampler().scenes
    one, many = (evaluate(network, TASKS, scenes, batch_size=size) for size in (1, 6))
    assert one.metrics["depth"] == pytest.approx(many.metrics["depth"], rel=1e-4)
    assert len(one.statistics["depth"]) == 6


def test_policies_are_drawn_from_the_probabilities_of_all_blocks() -> None:
    network = _steps().network
    assert isinstance(network, AdaShare)
    logits = network.logits.detach().clone()
    logits[0, :, 0] = 50
    logits[1, :, 0] = -50
    policies = draw_policies(logits, 3, seed=0)
    assert policies == [[[1] * 8, [0] * 8]] * 3
    undecided = draw_policies(torch.zeros(2, 8, 2), 8, seed=0)
    assert len({str(policy) for policy in undecided}) == 8
    assert undecided == draw_policies(torch.zeros(2, 8, 2), 8, seed=0) != draw_policies(torch.zeros(2, 8, 2), 8, seed=1)
