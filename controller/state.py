"""The controller between two calls: configuration, state as a value, and the state as JSON and arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from controller.effects import centred_vectors
from controller.policy import Weights, init_weights, span_of
from controller.trials import Evaluations, FloatArray, IntArray
from sim.params import TASK2SIM_SPACE, ActionSpace

STATE_VERSION = 1
COUNTERS = ("tells", "updates", "epoch", "batch", "repeat")


@dataclass(frozen=True)
class ReinforceConfig:
    """Hyper-parameters; the defaults are ours, `task2sim_preset()` gives the original's."""

    rule: Literal["table", "self_critical"] = "table"
    """table: expected gradient over all evaluated settings; self_critical: one sampled action against the
    arg-max."""
    budget: int | None = None
    """Distinct settings that may be evaluated, shared by all tasks; None: no limit."""
    in_flight: int = 1
    """Settings asked for at once while a budget lasts."""
    proposal: Literal["improvement", "policy"] = "improvement"
    """With a budget: the largest summed expected improvement, or samples of the policy."""
    rounds: int = 250
    """Asks without a budget after which the controller is `finished` (self_critical: epochs)."""
    hidden: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    entropy: float = 1.0
    """Weight of the policy's entropy over the evaluated settings (table rule), in units of a task's reward
    spread."""
    final_entropy: float = 0.02
    """Without a budget the weight falls to this, geometrically over the rounds: first keep open, then decide."""
    final_entropy_live: float = 0.1
    """With a budget it falls to this within every tell: a few rewards do not make any level certain."""
    table_updates: int = 20
    """Gradient steps after every tell (table rule)."""
    final_updates: int = 300
    """Gradient steps after a tell that brought a new setting while a budget is set (table rule)."""
    identity: bool = True
    """Give training tasks a one-hot input beside their vector, for what the vector does not explain."""
    exploration: float = 0.2
    """Probability taken from the most probable level when sampling, divided by ceil((epoch + 1) /
    exploration_every)."""
    exploration_every: int = 20
    batch_tasks: int = 4
    """Tasks per update (self_critical rule)."""
    imitation_from: int = 50
    """First epoch with imitation updates (self_critical rule)."""
    imitation_steps: int = 5
    """Updates on the best setting seen after every sampled one (self_critical rule)."""
    momentum: float = 0.9
    warmup_epochs: int = 50
    drop_epoch: int = 500
    """Epoch from which the learning rate is a tenth (self_critical rule)."""
    compat_cross_task_credit: bool = False
    """Credit every task with every task's action, as the released code does by mistake; for comparison
    only."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("in_flight", "rounds", "hidden", "exploration_every", "batch_tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"budget is {self.budget}; allowed: 1 or more")
        if self.budget is not None and self.rule != "table":
            raise ValueError("a budget needs rule table")
        if not 0 <= self.exploration < 1:
            raise ValueError(f"exploration is {self.exploration}; allowed: 0 up to (not including) 1")


def task2sim_preset(*, seed: int = 2, compat_cross_task_credit: bool = False) -> ReinforceConfig:
    """The original's hyper-parameters (task2sim.md, section 3): SGD, 1,000 epochs, 17,250 updates on 12
    tasks."""
    return ReinforceConfig(
        rule="self_critical",
        rounds=1000,
        hidden=400,
        learning_rate=1e-3,
        weight_decay=1e-5,
        exploration=0.4,
        exploration_every=5,
        identity=False,
        seed=seed,
    )


@dataclass(frozen=True, eq=False)
class ReinforceState:
    """Everything between two calls; a value, never changed in place."""

    config: ReinforceConfig
    evaluations: Evaluations
    names: tuple[str, ...]
    """Training tasks in their order, then further tasks that only have a vector."""
    inputs: FloatArray  # (len(names), r) what the network sees
    vectors: FloatArray  # (T, d) centred coordinates of the training tasks for the proposal, d = 0 without vectors
    weights: Weights
    moments: dict[str, Weights]
    settings: IntArray | None = None  # (C, P) the only settings that can be evaluated; None: all of the space
    tells: int = 0
    updates: int = 0
    epoch: int = 0
    batch: int = 0
    repeat: int = 0
    """0: the sampled update of this batch, 1 to imitation_steps: the imitation updates (self_critical
    rule)."""

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.evaluations.tasks

    @property
    def space(self) -> ActionSpace:
        return self.evaluations.space


def controller_start(
    config: ReinforceConfig,
    tasks: Sequence[str],
    vectors: Mapping[str, npt.NDArray[Any]] | None = None,
    space: ActionSpace = TASK2SIM_SPACE,
    settings: IntArray | None = None,
) -> ReinforceState:
    """A fresh controller for `tasks`.

    Args:
        config: hyper-parameters, seed and budget.
        tasks: names of the tasks to learn on.
        vectors: task vectors by name, all of one length (they are L2-normalised here). Tasks without one get
        a one-hot
            identity. Names beyond `tasks` are tasks to be asked about later by `most_probable` and
            `probabilities`.
        space: parameters and levels, any number of either.
        settings: (C, P) the only settings that can be evaluated (a recorded table that is no full factorial); needs
            the table rule without a budget.

    Raises:
        ValueError: no task, a repeated task, vectors of unequal length, a vector that is zero or not finite.
    """
    evaluations = Evaluations.empty(tasks, space)
    if settings is not None and (config.rule != "table" or config.budget is not None):
        raise ValueError("a list of settings needs the table rule without a budget")
    given = {name: unit_vector(name, vector) for name, vector in (vectors or {}).items()}
    if len({len(vector) for vector in given.values()}) > 1:
        raise ValueError("task vectors differ in length: " + ", ".join(f"{n} {len(v)}" for n, v in given.items()))
    names = (*tasks, *(name for name in given if name not in tasks))
    inputs, basis, centred = network_inputs(config, tuple(tasks), names, given)
    rng = np.random.default_rng([config.seed, 1])
    if config.rule == "self_critical":
        weights = init_weights(rng, basis.shape[1], config.hidden, space.sizes, basis)
    else:
        weights = init_weights(rng, inputs.shape[1], config.hidden, space.sizes)
    zero = {name: np.zeros_like(weight) for name, weight in weights.items()}
    moments = {"first": zero} if config.rule == "self_critical" else {"first": zero, "second": zero}
    return ReinforceState(config, evaluations, names, inputs, centred, weights, moments, settings)


def unit_vector(name: str, vector: npt.NDArray[Any]) -> FloatArray:
    values = np.asarray(vector, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"vector of {name} must be one row of finite numbers, got shape {values.shape}")
    norm = np.linalg.norm(values)
    if norm == 0:
        raise ValueError(f"vector of {name} is zero")
    out: FloatArray = values / norm
    return out


def network_inputs(
    config: ReinforceConfig, tasks: tuple[str, ...], names: tuple[str, ...], given: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Inputs (len(names), r), the basis of their span (r, D + identities), and the centred vectors (T, d) of
    the training tasks, d = 0 without."""
    width = len(next(iter(given.values()))) if given else 0
    table = np.stack([given.get(name, np.zeros(width)) for name in names])
    has_vector = np.array([name in given for name in names])
    lone = [row for row, task in enumerate(tasks) if config.identity or task not in given]
    identity = np.zeros((len(names), len(lone)))
    identity[lone, np.arange(len(lone))] = 1.0
    trained = has_vector.copy()
    trained[len(tasks) :] = False
    centred = table.copy()
    if config.rule == "table" and trained.any():
        centred[has_vector] -= table[trained].mean(axis=0)
        spread = np.sqrt((centred[trained] ** 2).sum(axis=1).mean())
        if spread > 1e-12:
            centred /= spread
    extended = np.concatenate([centred, identity], axis=1)
    basis, coordinates = span_of(extended)
    seen = table[: len(tasks)].copy()
    seen[trained[: len(tasks)]] = centred_vectors(seen[trained[: len(tasks)]]) if trained.any() else 0.0
    _, compact = span_of(seen) if trained.any() else (None, np.zeros((len(tasks), 0)))
    return coordinates, basis, compact


def dump_state(state: ReinforceState) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The state as a JSON-able document and named arrays (for safetensors); `load_state` restores it to the
    bit."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "actions": state.evaluations.actions,
        "rewards": state.evaluations.rewards,
        "inputs": state.inputs,
        "vectors": state.vectors,
    }
    if state.settings is not None:
        arrays["settings"] = state.settings
    arrays |= {f"weights.{name}": value for name, value in state.weights.items()}
    for moment, values in state.moments.items():
        arrays |= {f"moments.{moment}.{name}": value for name, value in values.items()}
    document = {
        "version": STATE_VERSION,
        "config": dataclasses.asdict(state.config),
        "tasks": list(state.tasks),
        "names": list(state.names),
        "space": {name: list(levels) for name, levels in state.space.levels},
        "counters": {name: getattr(state, name) for name in COUNTERS},
    }
    return document, arrays


def load_state(document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> ReinforceState:
    """Inverse of `dump_state`. Raises ValueError when the document is of another version or an array is
    missing."""
    if document.get("version") != STATE_VERSION:
        raise ValueError(
            f"controller state has version {document.get('version')!r}; this program reads {STATE_VERSION}"
        )
    for name in ("actions", "rewards", "inputs", "vectors", "weights.w1"):
        if name not in arrays:
            raise ValueError(f"controller state lacks the array {name!r}")
    space = ActionSpace(tuple((name, tuple(levels)) for name, levels in document["space"].items()))
    moments: dict[str, Weights] = {}
    for name, value in arrays.items():
        if name.startswith("moments."):
            _, moment, weight = name.split(".")
            moments.setdefault(moment, {})[weight] = value
    return ReinforceState(
        ReinforceConfig(**document["config"]),
        Evaluations(tuple(document["tasks"]), space, arrays["actions"], arrays["rewards"]),
        tuple(document["names"]),
        arrays["inputs"],
        arrays["vectors"],
        {name.removeprefix("weights."): value for name, value in arrays.items() if name.startswith("weights.")},
        moments,
        arrays.get("settings"),
        **document["counters"],
    )
