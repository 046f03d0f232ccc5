"""The transfer table as values: rows are tasks, columns are methods; means, ranks, significance.

In: results as `transfer.finished` reads them, several per cell for several seeds. `transfer.table_files` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transfer.catalogue import TASKS
from transfer.finished import Finished
from transfer.intervals import Estimate, Pair, accuracy, difference
from transfer.published import AVERAGED, PUBLISHED, Published

GROUPS = ("Natural", "Satellite", "Symbolic", "Medical", "Illustrative", "Texture")
OTHER = "own"
"""Group of the tasks that are not among the 20."""


@dataclass(frozen=True)
class Cell:
    """One method on one task."""

    correct: np.ndarray  # (S, N) correctness per seed and test image
    metrics: Mapping[str, float]
    """Means over seeds, in percent."""
    ci95: tuple[float, float]
    skipped: tuple[tuple[str, str, str], ...]
    """Unreadable images: part, name, reason."""
    protocol: str
    """Of published numbers that may stand beside it, when every seed's may; empty: none."""

    @property
    def score(self) -> float:
        return float(self.correct.mean()) * 100

    @property
    def seeds(self) -> int:
        return len(self.correct)


@dataclass(frozen=True)
class TransferTable:
    """Everything that the outputs show. A mean row covers the tasks that every method has (`complete`)."""

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    protocol: str
    """How every score was made: knn, linear, linear_sgd, finetune or a pathway method."""
    against: str
    """The method that the others are compared with."""
    differences: Mapping[tuple[str, str], Estimate]
    """(task, other method): `against` minus other, on the same test images."""

    @property
    def complete(self) -> tuple[str, ...]:
        """Tasks with a number for every method; only these can be averaged and ranked fairly."""
        return tuple(task for task in self.tasks if all((task, method) in self.cells for method in self.methods))

    def means(self) -> dict[str, dict[str, float]]:
        """Row name -> method -> mean score: groups, own tasks, seen, unseen, all."""
        return {
            name: {m: float(np.mean([self.cells[t, m].score for t in chosen])) for m in self.methods}
            for name, chosen in self.averaged().items()
        }

    def averaged(self) -> dict[str, list[str]]:
        """Row name -> the complete tasks that its mean is over."""
        rows = {name: [task for task in self.complete if member(task)] for name, member in _mean_rows()}
        return {name: tasks for name, tasks in rows.items() if tasks}

    def average_ranks(self) -> dict[str, float]:
        """1 is best; equal scores share the mean of their ranks; over the complete tasks."""
        if not self.complete:
            return {}
        ranks = []
        for task in self.complete:
            scores = np.array([self.cells[task, method].score for method in self.methods])
            better, equal = (scores[None] > scores[:, None]).sum(1), (scores[None] == scores[:, None]).sum(1)
            ranks.append(better + (equal + 1) / 2)
        return dict(zip(self.methods, np.mean(ranks, axis=0).tolist(), strict=True))

    def published(self) -> tuple[Published, ...]:
        """The published columns with the rows that may be shown.

        A row is when every task behind it is complete and every cell there was made as published.
        """
        columns = []
        for column in PUBLISHED:
            values = {row: value for row, value in column.values.items() if self._comparable(row, column.protocol)}
            if values:
                columns.append(Published(column.name, column.source, column.protocol, values))
        return tuple(columns)

    def _comparable(self, row: str, protocol: str) -> bool:
        behind = AVERAGED.get(row, {row})
        return behind <= set(self.complete) and all(
            self.cells[task, method].protocol == protocol for task in behind for method in self.methods
        )


def _mean_rows() -> list[tuple[str, Callable[[str], bool]]]:
    group = {row.name: row.group for row in TASKS}
    seen = {row.name: row.seen for row in TASKS}
    rows: list[tuple[str, Callable[[str], bool]]] = [
        (name, lambda task, name=name: group.get(task) == name)  # type: ignore[misc]
        for name in GROUPS
    ]
    rows.append((OTHER, lambda task: task not in group))
    rows.append(("seen", lambda task: seen.get(task) is True))
    rows.append(("unseen", lambda task: seen.get(task) is False))
    rows.append(("all", lambda task: True))
    return rows


def build_table(
    results: Mapping[str, Sequence[Finished]], *, against: str | None = None, seed: int = 0
) -> TransferTable:
    """Compare methods on the tasks that they have results for.

    Args:
        results: method (a column) -> results; several of one task are seeds. Columns keep this order.
        against: the method that others are compared with (default: the last one).
        seed: of the bootstrap over test images and seeds (`transfer.intervals`).

    Raises:
        ValueError: no result, an unknown method in `against`, results of several protocols, results of one task with
            different test images, or seeds of one cell with different configurations.
    """
    methods = tuple(results)
    by_cell: dict[tuple[str, str], list[Finished]] = {}
    for method, found in results.items():
        for result in found:
            by_cell.setdefault((result.task, method), []).append(result)
    if not by_cell:
        raise ValueError("no result to tabulate")
    order = {row.name: number for number, row in enumerate(TASKS)}
    tasks = tuple(sorted({task for task, _ in by_cell}, key=lambda task: (order.get(task, len(order)), task)))
    against = methods[-1] if against is None else against
    if against not in methods:
        raise ValueError(f"no method {against} to compare with; there are {', '.join(methods)}")
    protocols = sorted({result.method for found in by_cell.values() for result in found})
    if len(protocols) > 1:
        raise ValueError(f"results of several protocols, {', '.join(protocols)}; one table has one")
    for task in tasks:
        _require_same_images(task, [result for method in methods for result in by_cell.get((task, method), ())])
    cells = {pair: _cell(found, seed) for pair, found in by_cell.items()}
    differences = {}
    for (task, method), found in by_cell.items():
        base = by_cell.get((task, against))
        if method == against or base is None:
            continue
        # rows of the same backbones are drawn alike on both sides
        names = (str(sorted(r.folder for r in base)), str(sorted(r.folder for r in found)))
        a, b = cells[task, against].correct, cells[task, method].correct
        differences[task, method] = difference(Pair(a, b, *names), seed=seed)
    return TransferTable(tasks, methods, cells, protocols[0], against, differences)


def _require_same_images(task: str, results: Sequence[Finished]) -> None:
    first = results[0]
    for other in results[1:]:
        same_split = first.index is None or other.index is None or first.index == other.index
        if not same_split or not np.array_equal(first.labels, other.labels):
            why = (
                f"{len(first.labels)} and {len(other.labels)}"
                if len(first.labels) != len(other.labels)
                else "of two splits"
            )
            raise ValueError(f"task {task}: {first.folder} and {other.folder} have different test images ({why})")


def _cell(found: Sequence[Finished], seed: int) -> Cell:
    other = next((result for result in found if result.settings != found[0].settings), None)
    if other is not None:
        raise ValueError(
            f"task {other.task}: {found[0].folder} and {other.folder} are no seeds of one experiment: their "
            "configurations differ; give them columns of their own"
        )
    correct = np.concatenate([result.correct for result in found])
    metrics = {name: float(np.mean([result.metrics[name] for result in found])) for name in found[0].metrics}
    skipped = tuple(dict.fromkeys(image for result in found for image in result.skipped))
    protocols = {result.protocol for result in found}
    protocol = protocols.pop() if len(protocols) == 1 else ""
    return Cell(correct, metrics, accuracy(correct, seed=seed).ci95, skipped, protocol)
