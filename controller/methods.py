"""Every way to choose settings, behind one interface: ask for rewards, be told, choose for a task.

A method is started with the complete rewards of the seen tasks (as far as it uses them) and asks for what it evaluates
itself, one round of trials at a time; a round without trials ends it. What each one knows and asks:

- random, all_off, all_on: nothing. oracle: everything.
- best_fixed: the largest mean reward over the seen tasks. nearest_task: the best setting of the seen task whose vector
  has the largest cosine with the task's own (for a seen task: of the nearest other one).
- ridge: ridge regression of the seen rewards on parameters, pairs and their products with the task vector; the penalty
  by leaving out one task after the other.
- random_search, tpe: n evaluations of the task itself and nothing from others; chosen is the best one.
- reinforce: asks for rewards of seen tasks only and answers for unseen ones from their vectors.
- few_shot: the prior of the seen tasks and n evaluations (for a seen task: of the other seen ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from controller import fewshot, reinforce
from controller.rewards import RewardTable
from controller.ridge import ridge_predictions
from controller.trials import Action, Trial
from sim.params import all_off, all_on


class Method(Protocol):
    """A method under way; `tell` may return itself changed."""

    def ask(self) -> tuple[Trial, ...]: ...

    def tell(self, trials: Sequence[Trial], rewards: Sequence[float]) -> Method: ...

    def choice(self, task: str) -> Action: ...


@dataclass(frozen=True)
class Problem:
    """What a method may know: the seen tasks' table and all vectors; rewards of unseen tasks only by asking."""

    table: RewardTable
    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return (*self.seen, *self.unseen)

    def seen_table(self, without: str = "") -> RewardTable:
        return self.table.of([task for task in self.seen if task != without])

    def vector(self, task: str) -> Any:
        return self.table.vectors[self.table.tasks.index(task)]


@dataclass(frozen=True)
class Fixed:
    """Choices made without asking."""

    choices: dict[str, Action]

    def ask(self) -> tuple[Trial, ...]:
        return ()

    def tell(self, trials: Sequence[Trial], rewards: Sequence[float]) -> Fixed:
        return self

    def choice(self, task: str) -> Action:
        return self.choices[task]


def start_random(problem: Problem, seed: int) -> Method:
    rng = np.random.default_rng([seed, 21])
    count = len(problem.table.actions)
    return Fixed({task: problem.table.action(int(rng.integers(count))) for task in problem.tasks})


def start_all_off(problem: Problem, seed: int) -> Method:
    return Fixed(dict.fromkeys(problem.tasks, all_off(problem.table.space)))


def start_all_on(problem: Problem, seed: int) -> Method:
    return Fixed(dict.fromkeys(problem.tasks, all_on(problem.table.space)))


def start_best_fixed(problem: Problem, seed: int) -> Method:
    best = int(problem.seen_table().rewards.mean(axis=0).argmax())
    return Fixed(dict.fromkeys(problem.tasks, problem.table.action(best)))


def start_nearest_task(problem: Problem, seed: int) -> Method:
    choices = {}
    for task in problem.tasks:
        others = problem.seen_table(without=task)
        nearest = int((others.vectors @ problem.vector(task)).argmax())
        choices[task] = others.action(int(others.rewards[nearest].argmax()))
    return Fixed(choices)


def start_ridge(problem: Problem, seed: int) -> Method:
    vectors = np.stack([problem.vector(task) for task in problem.tasks])
    predicted = ridge_predictions(problem.seen_table(), vectors)
    best = predicted.argmax(axis=1)
    return Fixed({task: problem.table.action(int(b)) for task, b in zip(problem.tasks, best, strict=True)})


@dataclass(frozen=True)
class Told:
    """Searches of single tasks: what was told so far."""

    rewards: dict[str, dict[Action, float]]

    def with_more(self, trials: Sequence[Trial], rewards: Sequence[float]) -> Told:
        out = {task: dict(known) for task, known in self.rewards.items()}
        for trial, reward in zip(trials, rewards, strict=True):
            out[trial.task][trial.action] = reward
        return Told(out)

    def best(self, task: str) -> Action:
        known = self.rewards[task]
        return max(known, key=known.__getitem__)


@dataclass(frozen=True)
class RandomSearch:
    """Settings in a random order of each task's own."""

    orders: dict[str, list[Action]]
    told: Told

    def ask(self) -> tuple[Trial, ...]:
        done = {task: len(known) for task, known in self.told.rewards.items()}
        return tuple(Trial(task, order[done[task]]) for task, order in self.orders.items() if done[task] < len(order))

    def tell(self, trials: Sequence[Trial], rewards: Sequence[float]) -> RandomSearch:
        return RandomSearch(self.orders, self.told.with_more(trials, rewards))

    def choice(self, task: str) -> Action:
        return self.told.best(task)


def start_random_search(problem: Problem, seed: int) -> Method:
    rng = np.random.default_rng([seed, 22])
    count = len(problem.table.actions)
    orders = {task: [problem.table.action(int(c)) for c in rng.permutation(count)] for task in problem.tasks}
    return RandomSearch(orders, Told({task: {} for task in problem.tasks}))


class TpeSearch:
    """optuna's TPE sampler with its defaults, one study per task; studies change in place.

    TPE repeats settings on a small space. A repeated or unrecorded one is answered from what is known, so that n
    counts distinct evaluations; after 30 such answers in a row the next setting is drawn at random.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = problem.table.space
        self.allowed = list(problem.table.positions)
        self.rng = np.random.default_rng([seed, 23])
        self.told = Told({task: {} for task in problem.tasks})
        self.studies = {
            task: optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=1000 * seed + row))
            for row, task in enumerate(problem.tasks)
        }
        self.pending: dict[str, Any] = {}

    def ask(self) -> tuple[Trial, ...]:
        import optuna

        trials = []
        for task, study in self.studies.items():
            known = self.told.rewards[task]
            left = [action for action in self.allowed if action not in known]
            if not left:
                continue
            for _ in range(30):
                trial = study.ask()
                action = tuple(
                    list(levels).index(trial.suggest_categorical(name, levels)) for name, levels in self.space.levels
                )
                if action in known:
                    study.tell(trial, known[action])
                elif action not in left:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    break
            else:
                action = left[int(self.rng.integers(len(left)))]
                study.enqueue_trial(self.space.to_levels(action))
                trial = study.ask()
                for name, levels in self.space.levels:
                    trial.suggest_categorical(name, levels)
            self.pending[task] = trial
            trials.append(Trial(task, action))
        return tuple(trials)

    def tell(self, trials: Sequence[Trial], rewards: Sequence[float]) -> TpeSearch:
        for trial, reward in zip(trials, rewards, strict=True):
            self.studies[trial.task].tell(self.pending.pop(trial.task), reward)
        self.told = self.told.with_more(trials, rewards)
        return self

    def choice(self, task: str) -> Action:
        return self.told.best(task)


def start_oracle(problem: Problem, seed: int) -> Method:
    table = problem.table
    return Fixed({task: table.action(int(table.of([task]).rewards[0].argmax())) for task in problem.tasks})


@dataclass(frozen=True)
class Reinforce:
    """The controller on the seen tasks; unseen ones are answered from their vectors."""

    state: reinforce.ReinforceState

    def ask(self) -> tuple[Trial, ...]:
        return () if reinforce.finished(self.state) else reinforce.ask(self.state)

    def tell(self, trials: Sequence[Trial], rewards: Sequence[float]) -> Reinforce:
        return Reinforce(reinforce.tell(self.state, trials, rewards))

    def choice(self, task: str) -> Action:
        if task in self.state.tasks and self.state.config.rule == "table":
            return reinforce.chosen(self.state, task)
        return reinforce.most_probable(self.state, task)


def start_reinforce(problem: Problem, seed: int) -> Method:
    return start_reinforce_with(reinforce.ReinforceConfig(seed=seed), problem)


def start_reinforce_with(config: reinforce.ReinforceConfig, problem: Problem) -> Method:
    table = problem.table
    complete = len(table.actions) == int(np.prod(table.space.sizes))
    vectors = {task: problem.vector(task) for task in problem.tasks}
    settings = None if complete else table.actions
    return Reinforce(reinforce.controller_start(config, problem.seen, vectors, table.space, settings))


@dataclass(frozen=True)
class FewShot:
    """One bandit per task."""

    states: dict[str, fewshot.FewShotState]

    def ask(self) -> tuple[Trial, ...]:
        return tuple(
            trial for state in self.states.values() if not fewshot.finished(state) for trial in fewshot.ask(state)
        )

    def tell(self, trials: Sequence[Trial], rewards: Sequence[float]) -> FewShot:
        states = dict(self.states)
        for trial, reward in zip(trials, rewards, strict=True):
            states[trial.task] = fewshot.tell(states[trial.task], [trial], [reward])
        return FewShot(states)

    def choice(self, task: str) -> Action:
        return fewshot.chosen(self.states[task])


def start_few_shot(problem: Problem, seed: int) -> Method:
    table = problem.table
    states = {}
    everyone: fewshot.Prior | None = None
    for task in problem.tasks:
        seen = problem.seen_table(without=task)
        if task in problem.seen or everyone is None:
            prior = fewshot.fit_prior(seen.rewards, seen.actions, seen.vectors, table.space.sizes)
            everyone = prior if task not in problem.seen else everyone
        else:
            prior = everyone
        states[task] = fewshot.few_shot_start(
            prior, task, table.space, problem.vector(task), budget=len(table.actions), candidates=table.actions
        )
    return FewShot(states)
