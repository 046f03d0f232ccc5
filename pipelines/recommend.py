"""Train the controller on a reward table, keep it as a directory, and ask it for parameters for a new task.

A controller directory holds table.csv and vectors.npz (what it learnt from, as `pipelines.replay` reads them),
state.safetensors (the REINFORCE controller at any step, its document in the header) and summary.json, written last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from controller import fewshot
from controller.reinforce import (
    ReinforceConfig,
    ReinforceState,
    ask,
    chosen,
    controller_start,
    dump_state,
    finished,
    load_state,
    probabilities,
    tell,
)
from controller.rewards import RewardTable
from controller.trials import Action, FloatArray
from pipelines.replay import read_table
from sim.params import TASK2SIM_SPACE

Progress = Callable[[int, int, str], None]
SAVE_EVERY = 50
"""Rounds between two saves; about a second of work."""
DRAWS = 2000
"""Posterior samples behind the probabilities: an error of 0.01 each."""


def train_controller(
    config: ReinforceConfig, table: Path, embeddings: Path, *, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """REINFORCE on every task of a reward table; resumes what it finds in `out` and ends with the same bits.

    Raises:
        FileNotFoundError, ValueError: as `pipelines.replay.read_table`; a budget, which is for live runs; `out` holds
            another controller.
    """
    if config.budget is not None:
        raise ValueError("a recorded table has no budget; use rounds")
    rewards = read_table(table, embeddings)
    identity = {
        "config": dataclasses.asdict(config),
        "table": sha256(table),
        "embeddings": sha256(embeddings),
    }
    if (out / "summary.json").is_file():
        done: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        if any(done.get(key) != value for key, value in identity.items()):
            raise ValueError(f"{out} holds a controller of another table or configuration; choose another directory")
        return done
    state = resumed(out / "state.safetensors", identity) or fresh(config, rewards)
    out.mkdir(parents=True, exist_ok=True)
    positions = rewards.positions()
    rows = {task: row for row, task in enumerate(rewards.tasks)}
    while not finished(state):
        if state.tells % SAVE_EVERY == 0:
            write_state(out / "state.safetensors", state, identity)
            if progress:
                progress(state.epoch, config.rounds, "controller")
        trials = ask(state)
        state = tell(state, trials, [float(rewards.rewards[rows[t.task], positions[t.action]]) for t in trials])
    write_state(out / "state.safetensors", state, identity)
    for source, name in ((table, "table.csv"), (embeddings, "vectors.npz")):
        if source.resolve() != (out / name).resolve():
            shutil.copyfile(source, out / f".{name}.tmp")
            (out / f".{name}.tmp").replace(out / name)
    known = state.evaluations
    picks = {task: chosen(state, task) for task in state.tasks} if config.rule == "table" else {}
    summary = {
        **identity,
        "tasks": list(state.tasks),
        "settings": len(rewards.actions),
        "evaluations": float(np.isfinite(known.rewards).sum(axis=1).mean()),
        "chosen": {task: rewards.space.to_levels(action) for task, action in picks.items()},
        "probabilities": {task: row for task, row in probabilities(state).items() if task in state.tasks},
    }
    temporary = out / ".summary.json.tmp"
    temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out / "summary.json")
    if progress:
        progress(config.rounds, config.rounds, "controller")
    return summary


def fresh(config: ReinforceConfig, table: RewardTable) -> ReinforceState:
    vectors = dict(zip(table.tasks, table.vectors, strict=True))
    complete = len(table.actions) == int(np.prod(table.space.sizes))
    return controller_start(config, table.tasks, vectors, table.space, None if complete else table.actions)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_state(path: Path, state: ReinforceState, identity: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    document, arrays = dump_state(state)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, temporary, {"state": json.dumps(document), "identity": json.dumps(identity)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def resumed(path: Path, identity: Mapping[str, Any]) -> ReinforceState | None:
    """The saved state, or None; raises ValueError when it is damaged or belongs to something else."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"controller state {path} is damaged: {error}") from None
    if header.get("identity") != json.dumps(identity):
        raise ValueError(
            f"{path.parent} holds an unfinished controller of another table or configuration; choose another directory"
        )
    return load_state(json.loads(header["state"]), arrays)


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


def recommend(
    controller: Path,
    task: str,
    vector: npt.NDArray[Any],
    *,
    budget: int = 0,
    evaluate: Callable[[dict[str, str]], float] | None = None,
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

    Raises:
        FileNotFoundError: the directory is no finished controller.
        ValueError: a vector of another length, not finite or zero; a negative budget; a budget without `evaluate`.
    """
    if budget < 0:
        raise ValueError(f"budget is {budget}; allowed: 0 or more")
    if budget and evaluate is None:
        raise ValueError("a budget needs a way to evaluate settings")
    table = read_controller(controller)
    others = table.of([name for name in table.tasks if name != task])
    if len(others.tasks) < 2:
        raise ValueError(f"controller {controller} knows {len(others.tasks)} tasks beside {task}; needed: 2 or more")
    unit = unit_vector(task, vector, others.vectors.shape[1])
    prior = fewshot.fit_prior(others.rewards, others.actions, others.vectors, table.space.sizes)
    state = fewshot.few_shot_start(prior, task, table.space, unit, budget=budget)
    while not fewshot.finished(state):
        assert evaluate is not None
        if progress:
            progress(len(state.rewards), budget, f"evaluating settings for {task}")
        trials = fewshot.ask(state)
        state = fewshot.tell(state, trials, [evaluate(table.space.to_levels(t.action)) for t in trials])
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
    )


def read_controller(directory: Path) -> RewardTable:
    if not (directory / "summary.json").is_file():
        raise FileNotFoundError(f"{directory} holds no trained controller (simpath controller train makes one)")
    return read_table(directory / "table.csv", directory / "vectors.npz")


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
    return shlex.join([*words, *(word for name, level in params.items() for word in (f"--params.{name}", level))])


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
    if result.command:
        lines.append(result.command)
    return "\n".join(lines)
