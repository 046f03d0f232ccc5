"""A transfer table as CSV, Markdown and HTML."""

from __future__ import annotations

import csv
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sim.text import visible
from transfer.published import AVERAGED, FMD_NOTE
from transfer.table import TransferTable

METRICS = {"mean_per_class": "mean per class (balanced accuracy)", "macro_auc": "macro AUC"}
"""What the community reports beside accuracy, and how it is shown."""
COLUMNS = (
    "row method score low high seeds n_test skipped mean_per_class macro_auc {}_minus_this diff_low diff_high p_value "
    "source"
)


def to_csv(table: TransferTable) -> str:
    """One line per (row, method): everything, in full precision, for other programs."""
    text = io.StringIO()
    header = [name.format(visible(table.against)) for name in COLUMNS.split()]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    empty = [""] * (len(header) - 4)
    for task in table.tasks:
        for method in table.methods:
            cell, diff = table.cells.get((task, method)), table.differences.get((task, method))
            if cell is None:
                continue
            compared = [diff.mean, *diff.ci95, diff.p_value] if diff else ["", "", "", ""]
            extra = [len(cell.skipped), *[cell.metrics.get(name, "") for name in METRICS]]
            about = [cell.score, *cell.ci95, cell.seeds, cell.correct.shape[1], *extra]
            writer.writerow([visible(task), visible(method), *about, *compared, "measured"])
    for name, by_method in table.means().items():
        for method, value in by_method.items():
            writer.writerow([f"mean {name}", visible(method), value, *empty, "measured"])
    for method, rank in table.average_ranks().items():
        writer.writerow(["average rank", visible(method), rank, *empty, "measured"])
    for column in table.published():
        for row, value in column.values.items():
            writer.writerow([f"mean {row}" if row in AVERAGED else row, column.name, value, *empty, column.source])
    return text.getvalue()


@dataclass(frozen=True)
class GridRow:
    """One row of a table as it is shown."""

    name: str
    cells: tuple[str, ...]
    """**bold** where the score is the row's best, `*` behind what differs from `against` (95 % interval without 0)."""
    kind: Literal["task", "metric", "mean"]


@dataclass(frozen=True)
class Grid:
    """The text of a table, the same in Markdown, in its own page and in a run's report."""

    header: tuple[str, ...]
    rows: tuple[GridRow, ...]
    notes: tuple[str, ...]


def lay_out(table: TransferTable) -> Grid:
    """A table's rows: tasks with what is reported beside accuracy, means, ranks."""
    published = table.published()
    blank = [""] * len(published)

    def printed(row: str) -> list[str]:
        return [f"{column.values[row]:.1f}" if row in column.values else "" for column in published]

    header = ("task", *map(visible, table.methods), *[f"{column.name} (published)" for column in published])
    rows: list[GridRow] = []
    for task in table.tasks:
        rows.append(GridRow(visible(task), (*_scores(table, task), *printed(task)), "task"))
        for name, shown in METRICS.items():
            found = [table.cells.get((task, method)) for method in table.methods]
            values = [f"{cell.metrics[name]:.1f}" if cell and name in cell.metrics else "" for cell in found]
            if any(values):
                rows.append(GridRow(f"{visible(task)}, {shown}", (*values, *blank), "metric"))
    averaged = table.averaged()
    for name, by_method in table.means().items():
        values = [f"{by_method[method]:.1f}" for method in table.methods]
        rows.append(GridRow(f"mean {name} ({len(averaged[name])})", (*values, *printed(name)), "mean"))
    ranks = table.average_ranks()
    if ranks:
        rows.append(GridRow("average rank", (*[f"{ranks[method]:.2f}" for method in table.methods], *blank), "mean"))
    return Grid(header, tuple(rows), tuple(_notes(table)))


def _scores(table: TransferTable, task: str) -> list[str]:
    best = max(table.cells[task, method].score for method in table.methods if (task, method) in table.cells)
    texts = []
    for method in table.methods:
        cell, diff = table.cells.get((task, method)), table.differences.get((task, method))
        if cell is None:
            texts.append("–")
            continue
        text = f"{cell.score:.1f}" if cell.score < best else f"**{cell.score:.1f}**"
        low, high = cell.ci95
        texts.append(f"{text} [{low:.1f}, {high:.1f}]{'*' if diff and diff.excludes_zero else ''}")
    return texts


def _notes(table: TransferTable) -> list[str]:
    notes = [
        f"Top-1 accuracy in percent ({table.protocol}), 95 % bootstrap intervals over test images and seeds; bold: "
        f"best of the row; *: differs from {visible(table.against)} on the same images (paired bootstrap, 95 % "
        "interval without 0)."
    ]
    left = [visible(task) for task in table.tasks if task not in table.complete]
    if left:
        notes.append(f"Means and ranks leave out {', '.join(left)}: not every method has a number there.")
    for task in table.tasks:
        counts = {method: len(cell.skipped) for (row, method), cell in table.cells.items() if row == task}
        if any(counts.values()):
            said = ", ".join(f"{count} ({visible(method)})" for method, count in counts.items() if count)
            notes.append(f"Unreadable images of {visible(task)} that were skipped: {said}.")
    published = table.published()
    notes += [f"Published: {source}." for source in dict.fromkeys(column.source for column in published)]
    if any("unseen" in column.values for column in published):
        notes.append(FMD_NOTE)
    return notes


def to_markdown(table: TransferTable) -> str:
    """A pipe table with its notes."""
    grid = lay_out(table)
    lines = ["| " + " | ".join(map(_cell, grid.header)) + " |", "|" + "---|" * len(grid.header)]
    for row in grid.rows:
        shown = _cell(row.name)
        lines.append("| " + " | ".join([shown if row.kind == "task" else f"*{shown}*", *row.cells]) + " |")
    return "\n".join([*lines, "", "\n\n".join(grid.notes), ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def to_html(grid: Grid) -> str:
    """A `<table>` with its notes, for a page; no script, no style, every text escaped."""
    parts = ['<table class="transfer">', "<thead><tr>"]
    parts += [f'<th scope="col">{html.escape(text)}</th>' for text in grid.header]
    parts.append("</tr></thead><tbody>")
    for row in grid.rows:
        parts.append(f'<tr class="{row.kind}"><th scope="row">{html.escape(row.name)}</th>')
        for text in row.cells:
            shown = html.escape(text.replace("**", ""))
            score, _, rest = shown.partition(" ")
            score = f"<strong>{score}</strong>" if text.startswith("**") else score
            parts.append(f"<td>{score} <small>{rest}</small></td>" if rest else f"<td>{score}</td>")
        parts.append("</tr>")
    parts.append("</tbody></table>")
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in grid.notes]
    return "\n".join(parts)


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Transfer table</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .25em .8em; text-align: left; white-space: nowrap; }}
thead th, tr.mean th, tr.mean td {{ border-bottom: 1px solid #999; }} tr.metric {{ color: #666; font-size: 90%; }}
div {{ overflow-x: auto; }} small {{ color: #666; }}
</style></head><body><h1>Transfer table</h1><div>
{table}
</div></body></html>
"""


def write_tables(table: TransferTable, out: Path, *, stem: str = "table") -> dict[str, Path]:
    """STEM.csv, STEM.md and STEM.html (a page of its own) in `out`, as whole files; returns them by kind."""
    from pretrain.checkpoint import write_atomic

    texts = {"csv": to_csv(table), "md": to_markdown(table), "html": PAGE.format(table=to_html(lay_out(table)))}
    files = {kind: out / f"{stem}.{kind}" for kind in texts}
    for kind, text in texts.items():
        write_atomic(files[kind], lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return files
