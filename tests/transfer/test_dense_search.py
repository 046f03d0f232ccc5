"""Weight steps and AdaShare's phases: what moves in which, schedules, and runs taken up at any step."""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Literal

import pytest
import torch
from torch import Tensor

from pretrain.checkpoint import load_checkpoint
from pretrain.train import TrainingDivergedError
from transfer.dense.adashare import AdaShare, Decision, select_probability
from transfer.dense.config import AdaShareConfig, MultitaskConfig, NetworkConfig, SharingConfig
from transfer.dense.data import Sampler, Scene, ViewConfig, scene_set, seeded_generator
from transfer.dense.gradients import build_balancer
from transfer.dense.losses import DenseTask, dense_tasks
from transfer.dense.search import WEIGHTS, Parts, PolicySearch, draw_policies
from transfer.dense.sharing import build_network
from transfer.dense.training import WeightSteps, evaluate, fit
from transfer.pathways.gates import gumbel_soft

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


def _steps(
    architecture: str = "adashare", balancer: str = "fixed", config: MultitaskConfig = CONFIG, device: str = "cpu"
) -> WeightSteps:
    network = build_network(architecture, TASKS, config.network, SharingConfig(), seed=0).to(device)
    rule = build_balancer(balancer, TASKS, config.balance, architecture=architecture).to(device)
    return WeightSteps(network, rule, TASKS, config)


def _search(
    config: MultitaskConfig = CONFIG,
    *,
    scores: Iterable[float] = (0, 1, 2),
    labelled: bool = True,
    device: str = "cpu",
) -> PolicySearch:
    """A search whose rounds score as given, over and over."""
    sampler = _sampler(labelled=labelled)
    endless = itertools.cycle(scores)

    def validate(draw: Callable[[int], None]) -> float:
        draw(0)
        return float(next(endless))

    steps = _steps(config=config, device=device)
    return PolicySearch(steps, Parts(sampler, sampler, sampler), seed=0, validate=validate, device=device)


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
    assert [record.score for record in result.rounds] == [None] * 7 + [0.0]


def test_after_45_rounds_decisions_are_drawn_at_a_fifth_of_the_first_temperature() -> None:
    search = _search(replace(CONFIG, adashare=replace(CONFIG.adashare, policy_phases=46)))
    search.position = search.total_steps - 2  # the last round: one step of the weights, one of the policy
    expected = gumbel_soft(search.network.logits.detach(), tau=1.00624, generator=seeded_generator(0, WEIGHTS, 45))
    decisions: list[Sequence[Sequence[Decision]]] = []
    result = search.run(tick=lambda note: decisions.append(search.network.decisions))
    drawn = torch.stack([torch.stack([torch.as_tensor(weights) for weights in row]) for row in decisions[0]])
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-5)
    assert [record.temperature for record in result.rounds] == [pytest.approx(1.006, abs=5e-4)]


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


@pytest.mark.parametrize("sparsity_form", ["paper", "code"])
@pytest.mark.parametrize("sharing_form", ["paper", "code"])
def test_a_policy_step_without_labels_follows_both_losses_and_the_decay(
    sparsity_form: Literal["paper", "code"], sharing_form: Literal["paper", "code"]
) -> None:
    settings = replace(
        CONFIG.adashare,
        sparsity_form=sparsity_form,
        sharing_form=sharing_form,
        sparsity_weight=0.3,
        sharing_weight=0.7,
        policy_weight_decay=0.11,
    )
    search = _search(replace(CONFIG, adashare=settings), labelled=False)
    start = torch.randn(2, 8, 2, generator=seeded_generator(1)).requires_grad_()
    search.network.logits.data.copy_(start.detach())
    search.position = 2 + 2 * 2 + 1  # the policy step of the third round: blocks 5, 6 and 7 are open
    search._step()

    alpha = start.softmax(-1)[..., 0]
    sparsity = torch.log(alpha) if sparsity_form == "paper" else -torch.log(1 - alpha)
    distances = {
        "paper": [(8 - block) / 8 * (alpha[0, block] - alpha[1, block]).abs() for block in (5, 6, 7)],
        "code": [(block + 1) / 8 * (start[0, block, 0] - start[1, block, 0]).abs() for block in range(8)],
    }
    loss = 0.3 * sparsity[:, 5:].mean(1).sum() + 0.7 * torch.stack(distances[sharing_form]).sum()
    (expected,) = torch.autograd.grad(loss, [start])
    expected[:, 5:] += 0.11 * start.detach()[:, 5:]
    torch.testing.assert_close(search.network.logits.grad, expected)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_round_whose_score_is_not_finite_is_refused(score: float) -> None:
    search = _search(scores=[score])
    search.position = search.total_steps - 1
    with pytest.raises(ValueError, match=f"round 8 of the policy search, seed 0, scores {score} on the"):
        search.run()


@pytest.mark.parametrize("phase", ["search", "fit"])
def test_a_diverged_network_is_refused_at_the_next_checkpoint(phase: str, tmp_path: Path) -> None:
    config = replace(CONFIG, head_learning_rate=1e30, trunk_learning_rate=1e30)
    checkpoint, notes = tmp_path / "checkpoint.pt", list[str]()
    with pytest.raises(TrainingDivergedError, match="weights are not finite; use a smaller learning rate"):
        if phase == "search":
            _search(config).run(checkpoint=checkpoint, checkpoint_every_s=0, tick=notes.append)
        else:
            steps = _steps("hard", config=config)
            fit(
                steps,
                _sampler(),
                iterations=18,
                seed=(0,),
                checkpoint=checkpoint,
                checkpoint_every_s=0,
                tick=notes.append,
            )
    assert 0 < len(notes) < 4
    saved = load_checkpoint(checkpoint)["network"]
    trained = [name for name in saved if name.endswith("weight")]
    assert len(trained) > 20 and all(bool(torch.isfinite(saved[name]).all()) for name in trained)


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


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


@pytest.mark.gpu
@on_a_gpu
def test_a_step_on_a_gpu_is_the_one_on_the_cpu() -> None:
    config = replace(CONFIG, network=replace(CONFIG.network, dropout=0.0))  # its draws differ between devices
    batch = _sampler().batch(0)

    def moves(device: str) -> dict[str, Tensor]:
        steps = _steps("hard", config=config, device=device)
        before = _weights(steps.network)
        # not Adam, whose first step is the sign of gradients that may be rounding noise
        optimizer = torch.optim.SGD(steps.network.parameters(), lr=0.01)
        losses = steps.step(optimizer, batch.to(device), seed=(0,))
        assert all(loss is not None and math.isfinite(loss) for loss in losses)
        return {name: (value - before[name]).cpu().double() for name, value in _weights(steps.network).items()}

    on_cpu = moves("cpu")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        on_gpu = moves("cuda")
    assert len(on_cpu) == len(on_gpu) > 20
    for name, move in on_cpu.items():
        assert float((on_gpu[name] - move).norm()) <= 1e-2 * float(move.norm()) + 1e-6, name


@pytest.mark.gpu
@on_a_gpu
def test_a_search_on_a_gpu_continues_from_its_checkpoint(tmp_path: Path) -> None:
    def interrupt(note: str) -> None:
        if note.startswith("round 4/8"):
            raise Stop

    path = tmp_path / "checkpoint.pt"
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        expected = _search(device="cuda").run()
        with pytest.raises(Stop):
            _search(device="cuda").run(checkpoint=path, checkpoint_every_s=0, tick=interrupt)
        resumed = _search(device="cuda")
        result = resumed.run(checkpoint=path)
    assert load_checkpoint(path)["position"] == resumed.total_steps
    assert [record.opened for record in result.rounds] == [1, 2, 3, 4, 5, 6, 7, 8]
    # a policy step moves a logit by 0.01; sums on a GPU have no fixed order
    torch.testing.assert_close(result.logits, expected.logits, rtol=0, atol=1e-3)
    assert float((result.logits - 0.5).abs().max()) > 0.01
