"""What a run says about itself: the types of `summary.json`, read and checked.

In: a run directory. Out: a `Summary`. The experiment writes the file, the report and the status command
read it; the dataclasses below are its schema. Keys that they do not name are ignored, so that a writer may
say more; a key that is missing or of another type is an error naming where it stands. Paths are relative to
the run directory.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from transfer.table_files import Grid

# An argument list is quoted for the shell when it is printed; a string is printed as it stands.
Command = str | tuple[str, ...]
Interval = tuple[float, float]

Row = TypeVar("Row")


@dataclass(frozen=True)
class Split:
    """The images of one split of a task that could be read: train, val or test."""

    name: str
    per_class: tuple[int, ...]
    """In the order of the task's classes."""
    skipped: int = 0
    """Images that could not be read."""


@dataclass(frozen=True)
class Task:
    """One downstream task; `sheet` is a picture of some of its images."""

    name: str
    description: str = ""
    num_classes: int | None = None
    n_train: int | None = None
    n_test: int | None = None
    sheet: str | None = None
    splits: tuple[Split, ...] = ()


@dataclass(frozen=True)
class DataStatistics:
    """What a rendered data set holds."""

    num_bytes: int
    """Of its shards."""
    num_shards: int
    per_class: tuple[int, ...]
    """Images of each class that has some."""
    pixel_mean: float
    """Of values from 0 to 255, as the deviation below."""
    pixel_deviation: float
    decoded: int
    """The first images of the set, from which the two come."""
    counted: int
    """The first images of the set, from which the histograms come."""
    histograms: dict[str, tuple[tuple[str, int], ...]]
    """Of what the varied parameters spread: quantity -> (value or range, images)."""


@dataclass(frozen=True)
class Setting:
    """One choice of simulation parameters that was rendered and pre-trained on.

    `metrics` names a training log as `pretrain.watch` writes it, inside the run's directory; `command` renders.
    """

    id: str
    name: str
    params: dict[str, str]
    sheet: str | None = None
    num_images: int | None = None
    num_classes: int | None = None
    size: int | None = None
    images_per_second: float | None = None
    render_seconds: float | None = None
    pretrain_seconds: float | None = None
    metrics: str | None = None
    digest: str | None = None
    command: Command | None = None
    data: DataStatistics | None = None


@dataclass(frozen=True)
class Trial:
    """One evaluation: the reward (percent) of a setting on a task; `origin` is all_off, all_on, uniform or asked."""

    order: int
    task: str
    setting: str
    reward: float | None
    origin: str = "asked"


@dataclass(frozen=True)
class Score:
    """One cell of the transfer table; score and interval in percent."""

    task: str
    method: str
    score: float | None
    settings: tuple[str, ...] = ()
    ci95: Interval | None = None
    n_test: int | None = None
    seeds: int | None = None
    metric: str = "accuracy"
    commands: tuple[Command, ...] = ()
    """Each scores one of the backbones; the score is their mean."""


@dataclass(frozen=True)
class Comparison:
    """Score of `a` minus score of `b` in points; `task` may be "average"."""

    task: str
    a: str
    b: str
    difference: float | None
    ci95: Interval | None = None


@dataclass(frozen=True)
class Preference:
    """Whether p beats q on task A while q beats p on task B, both intervals without 0.

    `difference_a` is p minus q on task A, `difference_b` is q minus p on task B, in points.
    """

    found: bool
    text: str = ""
    task_a: str | None = None
    task_b: str | None = None
    setting_p: str | None = None
    setting_q: str | None = None
    difference_a: float | None = None
    ci95_a: Interval | None = None
    difference_b: float | None = None
    ci95_b: Interval | None = None


@dataclass(frozen=True)
class Stage:
    """How often a stage ran, and how often the store had the result already."""

    stage: str
    count: int
    computed: int
    from_store: int
    seconds: float | None = None
    cpu_s: float | None = None
    """Processor time of the runs of the last session, as `seconds`."""
    memory_mb: float | None = None
    """The most that one of them had at its end, with its children."""


@dataclass(frozen=True)
class Machine:
    """Machines of one kind, and how many artifacts of each stage were made there."""

    cpu: str
    cores: int | None
    gpu: str | None
    hosts: tuple[str, ...]
    stages: dict[str, int]


@dataclass(frozen=True)
class NamedCommand:
    """A command that makes one kind of number on the page."""

    what: str
    command: Command


@dataclass(frozen=True)
class Summary:
    """All of `summary.json`; what has a default here may be missing there, and the report then says so."""

    experiment: str
    status: Literal["complete", "partial"]
    command: Command
    started: str | None = None
    seconds: float | None = None
    missing: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)  # of the command; what the stages ran on is in `machines`
    machines: tuple[Machine, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    protocol: tuple[str, ...] = ()  # sentences: how rewards, scores and intervals are made
    tasks: tuple[Task, ...] = ()
    settings: tuple[Setting, ...] = ()
    trials: tuple[Trial, ...] = ()
    probabilities: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    transfer: tuple[Score, ...] = ()
    table: Grid | None = None  # the transfer table with means by group, ranks and published numbers, as it is shown
    comparisons: tuple[Comparison, ...] = ()
    preference: Preference | None = None
    stages: tuple[Stage, ...] = ()
    commands: tuple[NamedCommand, ...] = ()

    def scored_tasks(self) -> list[str]:
        """Tasks of the transfer table in its order, the average left out."""
        return list(dict.fromkeys(row.task for row in self.transfer if row.task != "average"))

    def score(self, task: str, method: str) -> Score | None:
        return next((row for row in self.transfer if (row.task, row.method) == (task, method)), None)

    def mean_score(self, method: str) -> float | None:
        """Mean of a method's scores over the tasks; None unless it has a score on every task of the table."""
        rows = [self.score(task, method) for task in self.scored_tasks()]
        scores = [row.score for row in rows if row is not None and row.score is not None]
        return sum(scores) / len(scores) if scores and len(scores) == len(rows) else None

    def comparison(self, task: str, a: str, b: str) -> Comparison | None:
        return next((row for row in self.comparisons if (row.task, row.a, row.b) == (task, a, b)), None)

    def setting_name(self, setting_id: str | None) -> str:
        """The name of a setting; its id where no setting of that id is recorded."""
        return next((row.name for row in self.settings if row.id == setting_id), setting_id or "an unnamed setting")

    def important_settings(self) -> list[Setting]:
        """All settings: the chosen ones first, then all off and all on, then the rest in their order."""
        ends = [trial.setting for trial in self.trials if trial.origin in ("all_off", "all_on")]
        order = {name: index for index, name in enumerate(dict.fromkeys([*self.chosen.values(), *ends]))}
        return sorted(self.settings, key=lambda setting: order.get(setting.id, len(order)))


def load_summary(run_dir: Path) -> Summary:
    """Read `run_dir/summary.json`. Raises FileNotFoundError, or ValueError naming the entry that is wrong."""
    path = run_dir / "summary.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {run_dir} is not the directory of a run, or the run saved nothing yet"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _name: None)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    try:
        return read_row(Summary, raw, "summary")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_row(kind: type[Row], raw: object, where: str) -> Row:
    """A dataclass from a JSON object; raises ValueError naming the entry that is missing or mistyped."""
    if not isinstance(raw, dict):
        raise ValueError(f"{where} must be an object, not {type(raw).__name__}")
    hints = get_type_hints(kind)
    values = {}
    for entry in dataclasses.fields(kind):  # type: ignore[arg-type]
        if entry.name in raw:
            values[entry.name] = _convert(raw[entry.name], hints[entry.name], f"{where}.{entry.name}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{entry.name} is missing")
    return kind(**values)


def _convert(value: object, hint: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it. A number that is not finite counts as null."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        members = [member for member in arguments if member is not type(None)]
        for member in members[:-1]:
            try:
                return _convert(value, member, where)
            except ValueError:
                continue
        return _convert(value, members[-1], where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} is {value!r}; allowed: {', '.join(map(str, arguments))}")
        return value
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value))
        if len(value) == len(arguments):
            return tuple(
                _convert(item, member, f"{where}[{index}]")
                for index, (item, member) in enumerate(zip(value, arguments, strict=True))
            )
    if origin is dict and isinstance(value, dict):
        return {key: _convert(item, arguments[1], f"{where}[{key!r}]") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read_row(hint, value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (str, bool) and isinstance(value, hint):
        return value
    wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ValueError(f"{where} must be {wanted}, not {str(value)[:60]!r}")
