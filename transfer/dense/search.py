"""AdaShare's training: warm-up, policy learning in rounds, then binary policies to be trained from scratch.

In: a network, its training scenes, and the validation metrics of single-task networks. Out: the probabilities of the
round that validates best. Can be interrupted and taken up at any step of any phase, to the same bits.

Source: `adashare.md` 2.3 and 2.4. Deviations from the released code:

1. Rounds are compared by their mean relative improvement over single-task networks on validation scenes; the code
   uses the first batches of the test set. Only rounds with all blocks open count, and how many blocks there are comes
   from the network.
2. The step schedule starts anew with policy learning and acts on the SGD that takes over from Adam; in the code it
   keeps stepping the discarded optimiser.
3. Tasks share the computation up to the first open block (see `adashare.py`).
4. The policy's weight decay acts on open blocks alone. Adam turns any gradient into steps of the learning rate: logits
   that do not start equal would be decayed to an even chance while their block is closed and nothing else pulls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.checkpoint import load_checkpoint
from transfer.dense.adashare import (
    AdaShare,
    initial_logits,
    sample_policy,
    select_probability,
    sharing_loss,
    sparsity_loss,
)
from transfer.dense.balance import FixedWeights
from transfer.dense.config import AdaShareConfig
from transfer.dense.data import Batch, Sampler, seeded_generator
from transfer.dense.gradients import backward
from transfer.dense.training import (
    CHECKPOINT_EVERY_S,
    Tick,
    WeightSteps,
    held_signals,
    refuse_infinite,
    refuse_infinite_score,
    schedule,
    weight_groups,
    weighted_losses,
    write_state,
)
from transfer.dense.trunk import seeded
from transfer.pathways.learning import autocast

WARM_UP, WEIGHTS, POLICY, INIT, SAMPLE, VALIDATE = range(10, 16)
"""Names of random streams."""


@dataclass(frozen=True)
class Parts:
    """Batches of the three phases."""

    everything: Sampler
    for_weights: Sampler
    for_policy: Sampler


@dataclass(frozen=True)
class Round:
    """What the report knows of one round of policy learning."""

    opened: int
    temperature: float
    probabilities: list[list[float]]
    score: float | None
    """Mean relative improvement over single-task networks on the validation scenes; None while blocks are closed."""


@dataclass(frozen=True)
class SearchResult:
    """The chosen policy.

    Attributes:
        logits: (T, L, 2) after the best round.
    """

    logits: Tensor
    best_round: int
    rounds: tuple[Round, ...]


class PolicySearch:
    """Warm-up and policy learning of one network.

    Args:
        validate: scores the network as it stands on the validation scenes; draws decisions from the given function
            before every batch.
    """

    def __init__(
        self,
        steps: WeightSteps,
        parts: Parts,
        *,
        seed: int,
        validate: Callable[[Callable[[int], None]], float],
        device: str = "cpu",
    ) -> None:
        assert isinstance(steps.network, AdaShare)
        self.steps, self.parts, self.seed, self.device = steps, parts, seed, device
        self.network: AdaShare = steps.network
        self.validate = validate
        self.config: AdaShareConfig = steps.config.adashare
        weight, policy = self.config.weight_iterations, self.config.policy_iterations
        self.weight_steps = parts.for_weights.batches_per_epoch if weight is None else weight
        self.policy_steps = parts.for_policy.batches_per_epoch if policy is None else policy
        initial_logits(self.network.logits, self.config.init, generator=seeded_generator(seed, INIT))
        self.adam = self._weight_optimizer(torch.optim.Adam, betas=(0.5, 0.999))
        self.sgd = self._weight_optimizer(torch.optim.SGD, momentum=0.9)
        self.policy_adam = torch.optim.Adam([self.network.logits], lr=self.config.policy_learning_rate)
        self.position = 0
        """Steps done in all phases."""
        self.rounds: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None

    def _weight_optimizer(self, kind: Any, **settings: Any) -> torch.optim.Optimizer:
        config = self.steps.config
        groups = weight_groups(self.network, self.steps.balancer, config)
        optimizer: torch.optim.Optimizer = kind(groups, weight_decay=config.weight_decay, **settings)
        return optimizer

    @property
    def total_steps(self) -> int:
        return self.config.warmup_iterations + self.config.policy_phases * (self.weight_steps + self.policy_steps)

    def run(
        self,
        *,
        checkpoint: Path | None = None,
        tick: Tick | None = None,
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    ) -> SearchResult:
        """All phases from where the checkpoint stands.

        Raises:
            TrainingDivergedError: the weights are not finite when a checkpoint is due or at the end.
            ValueError: the score of a round is not finite.
        """
        if checkpoint is not None and checkpoint.exists():
            self._load(load_checkpoint(checkpoint))
        saved = time.monotonic()
        while self.position < self.total_steps:
            with held_signals() as ending:
                note = self._step()
                self.position += 1
                if checkpoint is not None and (ending() or time.monotonic() - saved >= checkpoint_every_s):
                    refuse_infinite(self.network)
                    write_state(checkpoint, self._state())
                    saved = time.monotonic()
                if tick is not None:
                    tick(note)
        refuse_infinite(self.network)
        if checkpoint is not None:
            write_state(checkpoint, self._state())
        assert self.best is not None  # the configuration has a round with all blocks open
        return SearchResult(
            self.best["logits"], int(self.best["round"]), tuple(Round(**record) for record in self.rounds)
        )

    def _step(self) -> str:
        if self.position < self.config.warmup_iterations:
            self.network.decide([[1] * self.network.num_blocks] * len(self.network.tasks))
            self._step_weights(self.adam, self.parts.everything, self.position, WARM_UP)
            return f"warm-up {self.position + 1}/{self.config.warmup_iterations}"
        per_round = self.weight_steps + self.policy_steps
        number, inside = divmod(self.position - self.config.warmup_iterations, per_round)
        opened = self.config.opened(number, self.network.num_blocks)
        temperature = self.config.temperature * self.config.temperature_decay**number
        if inside < self.weight_steps:
            step = number * self.weight_steps + inside
            with torch.no_grad():
                generator = seeded_generator(self.seed, WEIGHTS, step)
                self.network.decide_softly(opened, temperature=temperature, generator=generator)
            self._step_weights(self.sgd, self.parts.for_weights, step, WEIGHTS)
        else:
            step = number * self.policy_steps + inside - self.weight_steps
            generator = seeded_generator(self.seed, POLICY, step)
            batch = self.parts.for_policy.batch(step).to(self.device)
            self._step_policy(batch, opened, temperature, generator, step)
        if inside + 1 == per_round:
            self._close_round(number, opened, temperature)
        return f"round {number + 1}/{self.config.policy_phases}, {opened} blocks open"

    def _step_weights(self, optimizer: torch.optim.Optimizer, sampler: Sampler, step: int, stream: int) -> None:
        schedule(optimizer, step, self.steps.config)
        self.network.logits.requires_grad_(False)
        self.steps.step(optimizer, sampler.batch(step).to(self.device), seed=(self.seed, stream, step))
        self.network.logits.requires_grad_(True)
        if (step + 1) % sampler.batches_per_epoch == 0:
            self.steps.epoch_end()

    def _step_policy(
        self, batch: Batch, opened: int, temperature: float, generator: torch.Generator, step: int
    ) -> None:
        """One step of the logits; weights get no gradient, batch norm keeps collecting statistics."""
        tasks, network = self.steps.tasks, self.network
        weights = [p for p in network.parameters() if p is not network.logits]
        for parameter in weights:
            parameter.requires_grad_(False)
        network.train()
        self.policy_adam.zero_grad(set_to_none=True)
        regularisation = self.config.sparsity_weight * sparsity_loss(
            network.logits, opened, form=self.config.sparsity_form
        ) + self.config.sharing_weight * sharing_loss(network.logits, opened, form=self.config.sharing_form)
        regularisation.backward()  # type: ignore[no-untyped-call]
        network.decide_softly(opened, temperature=temperature, generator=generator)
        if any(bool(task.valid(batch.labels[task.name]).any()) for task in tasks):
            with seeded(int(torch.randint(2**31, (), generator=generator))):
                backward(
                    FixedWeights([1.0] * len(tasks)).to(self.device),
                    network,
                    batch.images,
                    lambda predictions: weighted_losses(tasks, predictions, batch.labels),
                    generator=generator,
                    context=autocast(self.steps.config.precision, batch.images.device.type),
                )
        assert network.logits.grad is not None
        with torch.no_grad():
            network.logits.grad[:, -opened:] += self.config.policy_weight_decay * network.logits[:, -opened:]
        self.policy_adam.step()
        for parameter in weights:
            parameter.requires_grad_(True)

    def _close_round(self, number: int, opened: int, temperature: float) -> None:
        logits = self.network.logits.detach()
        score = None
        if opened == self.network.num_blocks:

            def draw(batch: int) -> None:
                generator = seeded_generator(self.seed, VALIDATE, number, batch)
                self.network.decide(sample_policy(logits, opened, generator=generator))

            score = self.validate(draw)
            refuse_infinite_score(score, f"round {number + 1} of the policy search, seed {self.seed},")
            if self.best is None or score > self.best["score"]:
                self.best = {"round": number, "score": score, "logits": logits.cpu().clone()}
        record = {"opened": opened, "temperature": temperature, "score": score}
        self.rounds.append({**record, "probabilities": select_probability(logits).cpu().tolist()})

    def _optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"adam": self.adam, "sgd": self.sgd, "policy": self.policy_adam}

    def _state(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "network": self.network.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers().items()},
            "steps": self.steps.state(),
            "rounds": self.rounds,
            "best": self.best,
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for name, optimizer in self._optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.steps.load_state(state["steps"])
        self.position, self.rounds, self.best = int(state["position"]), list(state["rounds"]), state["best"]


def draw_policies(logits: Tensor, count: int, *, seed: int) -> list[list[list[int]]]:
    """Binary policies drawn from the probabilities, each T x L."""
    blocks = logits.shape[1]
    draws: Sequence[Tensor] = [
        sample_policy(logits, blocks, generator=seeded_generator(seed, SAMPLE, number)) for number in range(count)
    ]
    return [draw.int().tolist() for draw in draws]
