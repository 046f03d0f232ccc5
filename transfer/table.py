"""The transfer table: rows are tasks, columns are methods; means, ranks, significance; CSV, Markdown, HTML.

In: the directories that `transfer.score.final` and `transfer.finetune.tune` leave, several per cell for several seeds.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim.text import visible
from transfer.catalogue import TASKS
from transfer.score import Difference, bootstrap_interval, load_correct, paired_bootstrap

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

    @property
    def score(self) -> float:
        return float(self.correct.mean()) * 100

    @property
    def seeds(self) -> int:
        return len(self.correct)


@dataclass(frozen=True)
class Published:
    """A column of numbers that others printed, by row name of the table."""

    name: str
    source: str
    protocol: str
    """linear | finetune: shown only beside that protocol."""
    values: Mapping[str, float]


SLIDES, POSTER = "Task2Sim slides (ResNet-50, linear probe)", "Task2Sim poster (ResNet-50, full fine-tuning, +-0.1)"


def _slides(name: str, *values: float) -> Published:
    return Published(name, SLIDES, "linear", dict(zip(("EuroSAT", "SVHN", "Sketch", "DTD"), values, strict=True)))


def _poster(name: str, seen: float, unseen: float) -> Published:
    return Published(name, POSTER, "finetune", {"seen": seen, "unseen": unseen})


PUBLISHED: tuple[Published, ...] = (
    _slides("pose", 87.01, 28.49, 37.89, 37.39),
    _slides("pose, light", 88.57, 32.36, 38.81, 40.32),
    _slides("pose, light, blur", 90.20, 35.58, 35.53, 37.66),
    _slides("pose, light, blur, materials", 84.54, 44.84, 30.81, 38.51),
    _slides("pose, light, blur, materials, background", 80.44, 29.93, 14.60, 32.39),
    _poster("no pre-training", 64.8, 76.8),
    _poster("ImageNet subset", 77.5, 87.8),
    _poster("Random", 72.1, 83.4),
    _poster("Domain Rand.", 68.4, 78.1),
    _poster("Task2Sim", 76.8, 88.7),
)
"""Reference task2sim.md, section 5 (a) and (b)."""


@dataclass(frozen=True)
class TransferTable:
    """Everything that the outputs show. A mean row covers the tasks that every method has (`complete`)."""

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    protocol: str
    against: str
    """The method that the others are compared with."""
    differences: Mapping[tuple[str, str], Difference]
    """(task, other method): `against` minus other, on the same test images."""
    published: tuple[Published, ...] = ()

    @property
    def complete(self) -> tuple[str, ...]:
        """Tasks with a number for every method; only these can be averaged and ranked fairly."""
        return tuple(task for task in self.tasks if all((task, method) in self.cells for method in self.methods))

    def means(self) -> dict[str, dict[str, float]]:
        """Row name -> method -> mean score: groups, own tasks, seen, unseen, all."""
        rows: dict[str, dict[str, float]] = {}
        for name, member in _mean_rows():
            chosen = [task for task in self.complete if member(task)]
            if chosen:
                rows[name] = {m: float(np.mean([self.cells[t, m].score for t in chosen])) for m in self.methods}
        return rows

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
    results: Mapping[str, Mapping[str, Sequence[Path]]],
    *,
    against: str | None = None,
    protocol: str = "linear",
    seed: int = 0,
) -> TransferTable:
    """Read the final directories and compare.

    Args:
        results: method -> task -> one directory per seed. Columns keep this order.
        against: the method that others are compared with (default: the last one).
        protocol: linear, knn or finetune; published numbers stand beside their own protocol only.
        seed: of the bootstrap.

    Raises:
        ValueError: no result, an unknown method in `against`, seeds or methods with different test images.
    """
    methods = tuple(results)
    tasks = tuple(dict.fromkeys(task for by_task in results.values() for task in by_task))
    order = {row.name: number for number, row in enumerate(TASKS)}
    tasks = tuple(sorted(tasks, key=lambda task: (order.get(task, len(order)), task)))
    if not tasks:
        raise ValueError("no result to tabulate")
    against = methods[-1] if against is None else against
    if against not in methods:
        raise ValueError(f"no method {against} to compare with; there are {', '.join(methods)}")
    cells = {
        (task, method): _read_cell(task, method, by_task[task], seed)
        for method, by_task in results.items()
        for task in tasks
        if by_task.get(task)
    }
    differences = {
        (task, method): paired_bootstrap(cells[task, against].correct, cells[task, method].correct, seed=seed)
        for task in tasks
        for method in methods
        if method != against and (task, method) in cells and (task, against) in cells
    }
    published = tuple(column for column in PUBLISHED if column.protocol == protocol and _shows(column, tasks))
    return TransferTable(tasks, methods, cells, protocol, against, differences, published)


def _shows(column: Published, tasks: Sequence[str]) -> bool:
    """Published averages need all tasks that they average; single tasks only themselves."""
    wanted = {"seen": {row.name for row in TASKS if row.seen}, "unseen": {row.name for row in TASKS if not row.seen}}
    return any(wanted[name] <= set(tasks) if name in wanted else name in tasks for name in column.values)


def _read_cell(task: str, method: str, directories: Sequence[Path], seed: int) -> Cell:
    rows = [load_correct(directory) for directory in directories]
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{method} on {task}: seeds have different numbers of test images")
    summaries = [json.loads((directory / "summary.json").read_text(encoding="utf-8")) for directory in directories]
    metrics = {name: float(np.mean([s["metrics"][name] for s in summaries])) for name in summaries[0]["metrics"]}
    correct = np.stack(rows)
    return Cell(correct, metrics, bootstrap_interval(correct, seed=seed))


def to_csv(table: TransferTable) -> str:
    """One line per (row, method): everything, in full precision, for other programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        "row method score low high seeds n_test mean_per_class macro_auc "
        "minus_this diff_low diff_high p_value source".replace("minus_this", f"{table.against}_minus_this").split()
    )
    for task in table.tasks:
        for method in table.methods:
            cell, diff = table.cells.get((task, method)), table.differences.get((task, method))
            if cell is None:
                continue
            compared = [diff.points, *diff.ci95, diff.p_value] if diff else ["", "", "", ""]
            extra = [cell.metrics.get("mean_per_class", ""), cell.metrics.get("macro_auc", "")]
            about = [cell.score, *cell.ci95, cell.seeds, cell.correct.shape[1], *extra]
            writer.writerow([visible(task), method, *about, *compared, "measured"])
    for name, by_method in table.means().items():
        for method, value in by_method.items():
            writer.writerow([f"mean {name}", method, value, *[""] * 10, "measured"])
    for method, rank in table.average_ranks().items():
        writer.writerow(["average rank", method, rank, *[""] * 10, "measured"])
    for column in table.published:
        for row, value in column.values.items():
            row = f"mean {row}" if row in ("seen", "unseen") else row
            writer.writerow([row, column.name, value, *[""] * 10, column.source])
    return text.getvalue()


def _grid(table: TransferTable) -> tuple[list[str], list[tuple[str, list[str], bool]]]:
    """Header and rows of text: (name, cells, is a summary). `*`: differs from `against` (95 % interval without 0)."""
    header = ["task", *table.methods, *[f"{column.name} (published)" for column in table.published]]
    rows: list[tuple[str, list[str], bool]] = []
    for task in table.tasks:
        cells = []
        best = max((table.cells[task, m].score for m in table.methods if (task, m) in table.cells), default=0.0)
        for method in table.methods:
            cell, diff = table.cells.get((task, method)), table.differences.get((task, method))
            if cell is None:
                cells.append("–")
                continue
            low, high = cell.ci95
            text = f"{cell.score:.1f}" if cell.score < best else f"**{cell.score:.1f}**"
            cells.append(f"{text} [{low:.1f}, {high:.1f}]{'*' if diff and diff.significant else ''}")
        rows.append((task, [*cells, *_published(table, task)], False))
    for name, by_method in table.means().items():
        count = sum(member(task) for task in table.complete for row, member in _mean_rows() if row == name)
        values = [f"{by_method[method]:.1f}" for method in table.methods]
        rows.append((f"mean {name} ({count})", [*values, *_published(table, name)], True))
    ranks = table.average_ranks()
    if ranks:
        values = [f"{ranks[method]:.2f}" for method in table.methods]
        rows.append(("average rank", [*values, *[""] * len(table.published)], True))
    return header, rows


def _published(table: TransferTable, row: str) -> list[str]:
    return [f"{column.values[row]:.1f}" if row in column.values else "" for column in table.published]


def _notes(table: TransferTable) -> list[str]:
    notes = [
        f"Top-1 accuracy in percent ({table.protocol}), 95 % bootstrap intervals over test images; bold: best of the "
        f"row; *: differs from {table.against} on the same images (paired bootstrap, 95 % interval without 0)."
    ]
    if len(table.complete) < len(table.tasks):
        left = [task for task in table.tasks if task not in table.complete]
        notes.append(f"Means and ranks leave out {', '.join(map(visible, left))}: not every method has a number there.")
    notes += [f"Published: {source}." for source in dict.fromkeys(column.source for column in table.published)]
    return notes


def to_markdown(table: TransferTable) -> str:
    """A pipe table with its notes."""
    header, rows = _grid(table)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name, cells, summary in rows:
        shown = f"*{name}*" if summary else name
        lines.append("| " + " | ".join([visible(shown).replace("|", "\\|"), *cells]) + " |")
    return "\n".join([*lines, "", *_notes(table), ""])


def to_html(table: TransferTable) -> str:
    """A `<table>` with its notes, for the report; no script, no style, every text escaped."""
    header, rows = _grid(table)
    parts = ['<table class="transfer">', "<thead><tr>"]
    parts += [f'<th scope="col">{html.escape(text)}</th>' for text in header]
    parts.append("</tr></thead><tbody>")
    for name, cells, summary in rows:
        parts.append(f'<tr class="{"mean" if summary else "task"}"><th scope="row">{html.escape(name)}</th>')
        for text in cells:
            bold = text.startswith("**")
            shown = html.escape(text.replace("**", ""))
            score, _, rest = shown.partition(" ")
            score = f"<strong>{score}</strong>" if bold else score
            parts.append(f"<td>{score} <small>{rest}</small></td>" if rest else f"<td>{score}</td>")
        parts.append("</tr>")
    parts.append("</tbody></table>")
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in _notes(table)]
    return "\n".join(parts)


def write_tables(table: TransferTable, out: Path) -> dict[str, str]:
    """transfer.csv, transfer.md, transfer.html in `out`; returns their names by kind."""
    from pretrain.checkpoint import write_atomic

    texts = {"csv": to_csv(table), "md": to_markdown(table), "html": to_html(table)}
    for kind, text in texts.items():
        write_atomic(out / f"transfer.{kind}", lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return {kind: f"transfer.{kind}" for kind in texts}
