"""A controller as a directory: trained on a recorded reward table, saved at any step, read again.

A controller directory holds table.csv and vectors.npz (what it learnt from, as `pipelines.replay` reads them),
state.safetensors (the REINFORCE controller at any step, its document in the header) and summary.json, written last.
`pipelines.live` leaves the same files after a live search.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

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
from pipelines.artifact import write_text
from pipelines.replay import read_table

Progress = Callable[[int, int, str], None]
SAVE_EVERY = 50
"""Rounds between two saves; about a second of work."""


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
    rows = {task: row for row, task in enumerate(rewards.tasks)}
    with threadpool_limits(1):  # arrays are small: a second BLAS thread is only waited for
        while not finished(state):
            if state.tells % SAVE_EVERY == 0:
                write_state(out / "state.safetensors", state, identity)
                if progress:
                    progress(state.epoch, config.rounds, "controller")
            trials = ask(state)
            told = [float(rewards.rewards[rows[t.task], rewards.positions[t.action]]) for t in trials]
            state = tell(state, trials, told)
    write_state(out / "state.safetensors", state, identity)
    for source, name in ((table, "table.csv"), (embeddings, "vectors.npz")):
        if source.resolve() != (out / name).resolve():
            shutil.copyfile(source, out / f".{name}.tmp")
            (out / f".{name}.tmp").replace(out / name)
    summary = {**identity, "settings": len(rewards.actions), **what_was_learnt(state)}
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    if progress:
        progress(config.rounds, config.rounds, "controller")
    return summary


def what_was_learnt(state: ReinforceState) -> dict[str, Any]:
    """Entries of summary.json that follow from the state."""
    picks = {task: chosen(state, task) for task in state.tasks} if state.config.rule == "table" else {}
    return {
        "tasks": list(state.tasks),
        "evaluations": float(np.isfinite(state.evaluations.rewards).sum(axis=1).mean()),
        "chosen": {task: state.space.to_levels(action) for task, action in picks.items()},
        "probabilities": {task: row for task, row in probabilities(state).items() if task in state.tasks},
    }


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
        # One entry: safetensors writes several in an order that changes from call to call.
        header = json.dumps({"identity": dict(identity), "state": document})
        save_file(contiguous, temporary, {"controller": header})
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
    document = json.loads(header.get("controller", "{}"))
    if document.get("identity") != json.loads(json.dumps(dict(identity))):
        raise ValueError(
            f"{path.parent} holds an unfinished controller of another table or configuration; choose another directory"
        )
    return load_state(document["state"], arrays)


def read_controller(directory: Path) -> RewardTable:
    if not (directory / "summary.json").is_file():
        raise FileNotFoundError(f"{directory} holds no trained controller (simpath controller train makes one)")
    return read_table(directory / "table.csv", directory / "vectors.npz")


def check_vectors(directory: Path, about: Mapping[str, Any]) -> None:
    """Refuse a vector that another probe or another protocol made, where the controller says how its own were made.

    Args:
        about: what `transfer.embedding.load_vector` says of the new vector.

    Raises:
        ValueError: they cannot be compared.
    """
    known = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    for name, value in (("probe", about["probe"]), ("embedding", about["config"])):
        if name in known and known[name] != value:
            said = f"{known[name]}, not {value}" if name == "probe" else _difference(known[name], value)
            raise ValueError(f"the vectors of controller {directory} were made with {name} {said}; use the same")


def _difference(known: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {known[key]}, not {given.get(key)}" for key in known if known[key] != given.get(key))
