"""Parameters for a new task: its vector and a controller's directory in, a `Recommendation` out.

With a budget, settings are evaluated live by the function that is given (`pipelines.live` renders, pre-trains and
scores through the artifact store) and the few-shot method of `controller.fewshot` refines its belief with each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from controller import fewshot
from controller.rewards import RewardTable
from controller.trials import Action, FloatArray
from pipelines.controllers import read_controller
from pipelines.flow import StageFailed
from pipelines.wording import shell
from sim.params import TASK2SIM_SPACE

Progress = Callable[[int, int, str], None]
Evaluate = Callable[[dict[str, str]], float]
"""Levels by parameter name -> reward in percent. Raises StageFailed when it cannot be had."""
DRAWS = 2000
"""Posterior samples behind the probabilities: an error of 0.01 each."""


@dataclass(frozen=True)
class Neighbour:
    """A seen task and how similar it is."""

    task: str
    cosine: float
    best: dict[str, str]
    """Its best recorded setting."""


@dataclass(frozen=True)
class Recommendation:
    """Parameters for a new task."""

    task: str
    params: dict[str, str]
    probabilities: dict[str, dict[str, float]]
    """Probability that a level belongs to the best setting, by parameter and level."""
    expected_gain: float
    """Percentage points over the mean of all recorded settings."""
    gain_ci95: tuple[float, float]
    neighbours: tuple[Neighbour, ...]
    evaluated: tuple[tuple[dict[str, str], float], ...]
    """Settings evaluated live and their rewards, in order."""
    command: str | None
    """Renders a data set with these parameters; None for parameters that are not simpath's."""
    missing: tuple[str, ...] = ()
    """Why fewer settings were evaluated than asked for; empty when all were."""


def recommend(
    controller: Path,
    task: str,
    vector: npt.NDArray[Any],
    *,
    budget: int = 0,
    evaluate: Evaluate | None = None,
    num_images: int = 40_000,
    out: str = "renders",
    progress: Progress | None = None,
) -> Recommendation:
    """Parameters for a task from its vector and, with a budget, from that many live evaluations.

    The few-shot method of `controller.fewshot`: of all methods compared it is the best without evaluations as well as
    with them.

    Args:
        controller: a finished directory of `train_controller`.
        vector: of the same probe as the controller's vectors.
        budget: settings to evaluate; needs `evaluate`.
        evaluate: levels by parameter name -> reward, as the recorded ones (render, pre-train, score).
        num_images, out: of the render command.

    Returns:
        The recommendation; where a stage of an evaluation failed, from what was evaluated before, with the reason.

    Raises:
        FileNotFoundError: the directory is no finished controller.
        ValueError: a vector of another length, not finite or zero; a negative budget; a budget without `evaluate`.
    """
    if budget < 0:
        raise ValueError(f"budget is {budget}; allowed: 0 or more")
    if budget and evaluate is None:
        raise ValueError("a budget needs a way to evaluate settings")
    with threadpool_limits(1):  # arrays are small: a second BLAS thread is only waited for
        return _recommend(
            read_controller(controller), controller, task, vector, budget, evaluate, num_images, out, progress
        )


def _recommend(
    table: RewardTable,
    controller: Path,
    task: str,
    vector: npt.NDArray[Any],
    budget: int,
    evaluate: Evaluate | None,
    num_images: int,
    out: str,
    progress: Progress | None,
) -> Recommendation:
    others = table.of([name for name in table.tasks if name != task])
    if len(others.tasks) < 2:
        raise ValueError(f"controller {controller} knows {len(others.tasks)} tasks beside {task}; needed: 2 or more")
    unit = unit_vector(task, vector, others.vectors.shape[1])
    prior = fewshot.fit_prior(others.rewards, others.actions, others.vectors, table.space.sizes)
    state = fewshot.few_shot_start(prior, task, table.space, unit, budget=budget)
    missing: tuple[str, ...] = ()
    while not fewshot.finished(state) and not missing:
        assert evaluate is not None
        if progress:
            progress(len(state.rewards), budget, f"evaluating settings for {task}")
        trials = fewshot.ask(state)
        try:
            state = fewshot.tell(state, trials, [evaluate(table.space.to_levels(t.action)) for t in trials])
        except StageFailed as error:
            missing = (str(error),)
    action = fewshot.chosen(state)
    likely, gain, interval = posterior_summary(state, table, action)
    order = np.argsort(-(others.vectors @ unit), kind="stable")[:3]
    params = table.space.to_levels(action)
    return Recommendation(
        task=task,
        params=params,
        probabilities=likely,
        expected_gain=gain,
        gain_ci95=interval,
        neighbours=tuple(
            Neighbour(
                others.tasks[row],
                float(others.vectors[row] @ unit),
                table.space.to_levels(others.action(int(others.rewards[row].argmax()))),
            )
            for row in order
        ),
        evaluated=tuple(
            (table.space.to_levels(tuple(int(level) for level in state.candidates[column])), reward)
            for column, reward in zip(state.columns, state.rewards, strict=True)
        ),
        command=render_command(params, num_images, out) if set(params) == set(TASK2SIM_SPACE.names) else None,
        missing=missing,
    )


def unit_vector(task: str, vector: npt.NDArray[Any], length: int) -> FloatArray:
    values = np.asarray(vector, np.float64)
    if values.shape != (length,):
        raise ValueError(
            f"the vector of {task} has {values.size} numbers, the controller's have {length}; use the same probe"
        )
    norm = float(np.linalg.norm(values))
    if not np.isfinite(norm) or norm == 0:
        raise ValueError(f"the vector of {task} is zero or not finite")
    return values / norm


def posterior_summary(
    state: fewshot.FewShotState, table: RewardTable, action: Action
) -> tuple[dict[str, dict[str, float]], float, tuple[float, float]]:
    """P(level in the best setting) from posterior draws, and the gain of `action` over the mean setting with its
    interval."""
    rng = np.random.default_rng(0)
    draws = fewshot.posterior_draws(state, rng, DRAWS)  # (DRAWS, C)
    best = state.candidates[draws.argmax(axis=1)]
    likely = {
        name: {level: float((best[:, p] == index).mean()) for index, level in enumerate(levels)}
        for p, (name, levels) in enumerate(table.space.levels)
    }
    column = int((state.candidates == np.array(action)).all(axis=1).argmax())
    gains = draws[:, column] - draws.mean(axis=1)
    low, high = np.percentile(gains, [2.5, 97.5])
    return likely, float(gains.mean()), (float(low), float(high))


def render_command(params: Mapping[str, str], num_images: int, out: str) -> str:
    words: Sequence[str] = ["simpath", "render", "--out", out, "--num-images", str(num_images)]
    return shell((*words, *(word for name, level in params.items() for word in (f"--params.{name}", level))))


def format_recommendation(result: Recommendation) -> str:
    """As text for the terminal."""
    low, high = result.gain_ci95
    lines = [f"{result.task}: expected gain {result.expected_gain:.1f} points over the average setting "]
    lines[0] += f"(95 % interval {low:.1f} to {high:.1f})"
    lines += [
        f"  {name:18} {level:12} probability {result.probabilities[name][level]:.2f}"
        for name, level in result.params.items()
    ]
    lines.append("nearest seen tasks: " + ", ".join(f"{n.task} ({n.cosine:.3f})" for n in result.neighbours))
    lines += [
        f"evaluated: {reward:.2f} with {' '.join(f'{name}={level}' for name, level in params.items())}"
        for params, reward in result.evaluated
    ]
    if result.missing:
        lines += ["missing:", *(f"  {reason}" for reason in result.missing)]
    if result.command:
        lines.append(result.command)
    return "\n".join(lines)
