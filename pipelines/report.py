"""The report: `summary.json`, pictures and training logs of a run in, one self-contained `report.html` out.

The page has no script, loads nothing (its content security policy forbids it) and escapes every name;
charts are inline SVG, pictures are data: addresses. A section whose data are missing keeps its heading and
says why.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines import choices, figures, svg, wording
from pipelines.pictures import Picture, embed_picture, write_whole
from pipelines.summary import Comparison, Score, Setting, Summary, Task, load_summary
from pipelines.templates import page_template
from sim.params import parameter_levels
from transfer.table_files import to_html

MAX_SHEETS = 12  # contact sheets of settings inside the page; the others are named
MAX_SETTING_ROWS = 64
SHEET_WIDTH = 640  # pixels; about 40 kB each as JPEG
TASK_SHEET_WIDTH = 480


@dataclass(frozen=True)
class Sheet:
    """A picture or the reason why there is none."""

    picture: Picture | None
    reason: str = ""


def write_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` from `run_dir/summary.json` and the files that it names; returns its path.

    Pictures and training logs that are missing or broken are named on the page. Raises FileNotFoundError
    without a summary and ValueError, naming the entry, when it does not follow `pipelines.summary.Summary`.
    """
    summary = load_summary(run_dir)
    page = render_page(summary, run_dir)
    path = run_dir / "report.html"
    write_whole(path, page.encode("utf-8", "replace"))  # file names may hold lone surrogates
    return path


def render_page(summary: Summary, run_dir: Path) -> str:
    filters = {
        "count": wording.count,
        "number": wording.number,
        "signed": wording.signed,
        "duration": wording.duration,
        "moment": wording.moment,
        "shell": wording.shell,
        "interval": wording.interval,
        "verdict": wording.verdict,
        "breakable": breakable,
        "per_class": wording.per_class,
        "imbalance": wording.imbalance,
        "file_size": wording.file_size,
    }
    return page_template("report_template.html", filters).render(build_view(summary, run_dir))


def build_view(summary: Summary, run_dir: Path) -> dict[str, Any]:
    """Everything that the template shows, computed: it holds no arithmetic of its own."""
    curves, curve_problems = figures.training_curves(summary, run_dir)
    return {
        "s": summary,
        "headline": wording.headline(summary),
        "findings": wording.findings(summary),
        "preference": wording.preference_finding(summary),
        "tiles": _tiles(summary),
        "methods": [
            (name, wording.METHODS.get(name, name), wording.MEANING.get(name, ""))
            for name in wording.method_names(summary)
        ],
        "rows": transfer_rows(summary),
        "table": to_html(summary.table) if summary.table else "",
        "scores": [figures.score_chart(summary, width) for width in (760.0, 380.0)],
        "seeds": _seeds(summary),
        "pair": _pair(summary),
        "sheets": _setting_sheets(summary, run_dir),
        "left_out": _sheets_left_out(summary),
        "task_sheets": {task.name: read_sheet(run_dir, task.sheet, TASK_SHEET_WIDTH) for task in summary.tasks},
        "task_rows": _task_rows(summary),
        "class_sizes": [chart for task in summary.tasks if (chart := figures.class_size_chart(task))],
        "chosen_names": {task: summary.setting_name(setting) for task, setting in summary.chosen.items()},
        "chips": {setting.id: chips(setting) for setting in summary.settings},
        "rewards": figures.reward_charts(summary),
        "reward_legend": [
            (svg.glyph(shape, color), text)
            for origin, (color, shape, text) in figures.ORIGINS.items()
            if any(trial.origin == origin for trial in summary.trials)
        ],
        "heat": figures.heat_map(summary),
        "ways": [(way, *choices.WAYS[way.name]) for way in choices.ways_to_choose(summary)],
        "curves": curves,
        "curve_problems": curve_problems,
        "shown_settings": summary.settings[:MAX_SETTING_ROWS],
        "drawn": _drawn(summary),
        "config": json.dumps(summary.config, indent=2, ensure_ascii=False),
        "files": _files(summary, run_dir),
        "render_commands": [(row.name, (row.command,)) for row in summary.settings if row.command],
        "score_commands": [(f"{row.method} on {row.task}", row.commands) for row in summary.transfer if row.commands],
        "remake": ("simpath", "report", str(run_dir)),
    }


FILES = (
    ("report.html", "this page"),
    ("summary.json", "every number of this page, for programs"),
    ("transfer.csv", "the transfer table"),
    ("transfer_table.html", "the table with means by group, ranks and other metrics alone; also as .csv and .md"),
    ("trials.csv", "every evaluation: task, setting, reward"),
    ("pictures", "contact sheets of settings and tasks"),
    ("backbones", "the pre-trained network chosen for each task"),
    ("logs", "logs of every stage"),
    ("store", "data sets, backbones, features and scores, one directory each"),
)


def _files(summary: Summary, run_dir: Path) -> list[tuple[str, str]]:
    """What the run has left; pictures and networks of an earlier one that came further are none of it."""
    made = {"pictures": bool(summary.settings), "backbones": bool(summary.transfer)}
    there = {name for name, _ in FILES if (run_dir / name).exists() and made.get(name, True)} | {"report.html"}
    return [(name, what) for name, what in FILES if name in there]


def read_sheet(run_dir: Path, name: str | None, width: int) -> Sheet:
    """A picture of the run, or why it is not there. Only files inside the run directory are shown."""
    if name is None:
        return Sheet(None, "no picture was made")
    path = run_dir / name
    if not path.resolve().is_relative_to(run_dir.resolve()):
        return Sheet(None, f"{name} lies outside the run's directory and is not shown")
    try:
        return Sheet(embed_picture(path, max_width=width))
    except FileNotFoundError:
        return Sheet(None, f"{name} is missing")
    except ValueError:
        return Sheet(None, f"{name} is no readable picture")


def chips(setting: Setting) -> list[tuple[str, str, bool | None]]:
    """(parameter, level, on) in the order of SimParams; on is None for a parameter that it does not know."""
    known = parameter_levels()
    names = [name for name in known if name in setting.params] + sorted(set(setting.params) - set(known))
    return [
        (
            name.replace("_", " "),
            setting.params[name],
            setting.params[name] != known[name][0] if name in known else None,
        )
        for name in names
    ]


def transfer_rows(summary: Summary) -> list[dict[str, Any]]:
    """One row per task and the average of several: scores with the best marked, and the comparisons."""
    tasks = summary.scored_tasks()
    rows = []
    for task in tasks:
        cells: list[Score | None] = [summary.score(task, method) for method in wording.method_names(summary)]
        rows.append(_transfer_row(summary, task, cells, total=False))
    if len(tasks) > 1:
        averages: list[Score | None] = []
        for method in wording.method_names(summary):
            given = summary.score("average", method)
            mean = summary.mean_score(method)
            averages.append(given or (Score("average", method, mean) if mean is not None else None))
        rows.append(_transfer_row(summary, "average", averages, total=True))
    return rows


def _transfer_row(summary: Summary, task: str, cells: Sequence[Score | None], *, total: bool) -> dict[str, Any]:
    measured = [cell.score for cell in cells if cell is not None and cell.score is not None]
    best = max(measured) if len(measured) > 1 else None
    tests = {cell.n_test for cell in cells if cell is not None and cell.n_test is not None}
    metrics = {cell.metric for cell in cells if cell is not None}
    comparisons: list[Comparison | None] = [
        summary.comparison(task, "chosen", baseline) for baseline in wording.BASELINES
    ]
    return {
        "task": task,
        "total": total,
        "chosen": summary.setting_name(summary.chosen[task]) if task in summary.chosen else "",
        "n_test": max(tests) if tests else None,
        "metric": ", ".join(sorted(metrics)),
        "cells": [(cell, cell is not None and best is not None and cell.score == best) for cell in cells],
        "comparisons": comparisons,
    }


def _seeds(summary: Summary) -> str:
    """How many pre-trainings stand behind a score, in one sentence; empty where that was not recorded."""
    by_count: dict[int, list[str]] = {}
    for method in wording.method_names(summary):
        for seeds in sorted({row.seeds for row in summary.transfer if row.method == method and row.seeds is not None}):
            by_count.setdefault(seeds, []).append(wording.METHODS.get(method, method))
    words = {seeds: f"{seeds} {'pre-training seed' if seeds == 1 else 'pre-training seeds'}" for seeds in by_count}
    if len(words) <= 1:
        return "".join(f"Behind every score: {said}." for said in words.values())
    said = "; ".join(f"{words[seeds]} ({', '.join(names)})" for seeds, names in sorted(by_count.items()))
    return f"Behind the scores: {said}."


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores on a narrow screen."""
    return Markup("_<wbr>").join(name.split("_"))


def _task_rows(summary: Summary) -> list[tuple[Task, list[int | None], tuple[int, ...], int]]:
    """Tasks with their images in each split, training images of each class, and images that could not be read."""
    rows = []
    for task in summary.tasks:
        splits = {split.name: split for split in task.splits}
        if "train" in splits:
            images = [sum(splits[name].per_class) if name in splits else None for name in ("train", "val", "test")]
            rows.append((task, images, splits["train"].per_class, sum(split.skipped for split in task.splits)))
    return rows


def _drawn(summary: Summary) -> list[tuple[Setting, list[Markup]]]:
    """Settings with the histograms of their parameters; the first are those that are compared by eye."""
    pair = {setting.id for setting in _pair(summary)}
    shown = sorted(summary.important_settings(), key=lambda setting: setting.id not in pair)[:MAX_SHEETS]
    return [(setting, charts) for setting in shown if (charts := figures.histogram_charts(setting))]


def _tiles(summary: Summary) -> list[tuple[str, str]]:
    images = [setting.num_images for setting in summary.settings if setting.num_images is not None]
    return [
        ("tasks", wording.count(len(summary.tasks))),
        ("parameter settings", wording.count(len(summary.settings))),
        ("images rendered", wording.count(sum(images)) if images else "–"),
        ("evaluations", wording.count(len(summary.trials))),
        ("total time", wording.duration(summary.seconds)),
    ]


def _pair(summary: Summary) -> list[Setting]:
    """The two settings to compare by eye: those of the preference finding, else the most important two."""
    wanted = [summary.preference.setting_p, summary.preference.setting_q] if summary.preference else []
    by_id = {setting.id: setting for setting in summary.settings}
    pair = [by_id[name] for name in dict.fromkeys(wanted) if name in by_id]
    return pair if len(pair) == 2 else summary.important_settings()[:2]


def _setting_sheets(summary: Summary, run_dir: Path) -> dict[str, Sheet]:
    shown = dict.fromkeys([setting.id for setting in (*_pair(summary), *summary.important_settings())])
    by_id = {setting.id: setting for setting in summary.settings}
    return {name: read_sheet(run_dir, by_id[name].sheet, SHEET_WIDTH) for name in list(shown)[:MAX_SHEETS]}


def _sheets_left_out(summary: Summary) -> int:
    return max(0, len({setting.id for setting in summary.settings}) - MAX_SHEETS)
