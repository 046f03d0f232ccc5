"""The report, from a made run: numbers and pictures are drawn here, nothing is rendered or trained."""

from __future__ import annotations

import copy
import functools
import html.parser
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.pictures import task_sheet
from pipelines.report import write_report
from sim.params import TASK2SIM_SPACE, all_off, all_on
from transfer.table_files import Grid, GridRow, to_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>alert(1)</script>"
METHODS = ("random weights", "random", "all_on", "chosen")


def make_run(root: Path, *, tasks: int = 3, settings: int = 5, seed: int = 0) -> dict[str, Any]:
    """A plausible run under `root`: pictures, training logs and summary.json, which is returned."""
    files, summary = drawn_run(tasks, settings, seed)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return copy.deepcopy(summary)


@functools.cache
def drawn_run(tasks: int, settings: int, seed: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Its files and its summary; many tests begin with the same."""
    with tempfile.TemporaryDirectory() as folder:
        summary = draw_run(Path(folder), tasks, settings, seed)
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}, summary


def draw_run(root: Path, tasks: int, settings: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, tasks, settings])
    names = ["digits", "line_drawings", "textures", *(f"task_{index}" for index in range(3, tasks))][:tasks]
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    (root / "logs").mkdir(exist_ok=True)
    actions = [all_off(), all_on(), *(tuple(rng.integers(0, 2, 8).tolist()) for _ in range(settings - 2))][:settings]
    task_rows, setting_rows, trials, transfer, comparisons = [], [], [], [], []
    for index, name in enumerate(names):
        images = [
            draw_shape(rng, 28 if index == 0 else 64, gray=index != 2, kind=(index + item) % 5) for item in range(12)
        ]
        task_sheet(images, [f"class {item}" for item in range(12)], root / f"pictures/task-{index}.png")
        task_rows.append(
            {
                "name": name,
                "description": "made for this test",
                "num_classes": 10,
                "n_train": 800,
                "n_test": 400,
                "sheet": f"pictures/task-{index}.png",
                "splits": [
                    {"name": "train", "per_class": [80] * 10 if index == 0 else [80 + 13 * n for n in range(10)]},
                    {"name": "test", "per_class": [40] * 10, "skipped": 3 * index},
                ],
            }
        )
    for index, action in enumerate(actions):
        cells = [draw_shape(rng, 64, gray=action[3] == 0, kind=item % 5, noise=action[5]) for item in range(24)]
        rows = [np.concatenate(cells[start : start + 6], axis=1) for start in range(0, 24, 6)]
        Image.fromarray(np.concatenate(rows)).save(root / f"pictures/s{index}.png")
        epochs = np.arange(15)
        loss = 3.1 * np.exp(-(epochs + 1) / rng.uniform(4, 9)) + rng.uniform(0.02, 0.06, 15)
        with (root / f"logs/s{index}.jsonl").open("w") as file:
            for epoch, value in zip(epochs.tolist(), loss.tolist(), strict=True):
                accuracy = float(np.exp(-value / 1.5))
                step = {"kind": "step", "step": epoch, "epoch": epoch, "loss": 99.0, "accuracy": 0.0}
                mean = {"kind": "epoch", "step": epoch, "epoch": epoch, "loss": value, "accuracy": accuracy}
                file.write(json.dumps(step) + "\n" + json.dumps(mean) + "\n")
        setting_rows.append(
            {
                "id": f"s{index}",
                "name": ["all off", "all on"][index] if index < 2 else f"asked {index - 1}",
                "params": TASK2SIM_SPACE.to_levels(action),
                "sheet": f"pictures/s{index}.png",
                "num_images": 480,
                "num_classes": 24,
                "size": 64,
                "images_per_second": float(rng.uniform(14, 28)),
                "render_seconds": float(rng.uniform(18, 32)),
                "pretrain_seconds": float(rng.uniform(26, 30)),
                "metrics": f"logs/s{index}.jsonl",
                "digest": "3f9a1c0b77d2e4",
                "command": ["simpath", "render", "--out", f"my data/s{index}", "--num-images", "480"],
                "data": {
                    "num_bytes": 2_580_480,
                    "num_shards": 4,
                    "per_class": [20] * 24,
                    "pixel_mean": 120.4,
                    "pixel_deviation": 51.0,
                    "decoded": 48,
                    "counted": 480,
                    "histograms": {
                        "light_elevation_deg": [["-10 to 20", 300], ["20 to 50", 180]],
                        "hdri": [["sunrise", 60], *([f"city-{n}", 50] for n in range(7)), ["4 more", 70]],
                    }
                    if index
                    else {},
                },
            }
        )
    chosen = {}
    for task, name in enumerate(names):
        rewards = rng.uniform(50, 85) + rng.normal(0, 6, settings)
        for index in range(settings):
            origin = ["all_off", "all_on"][index] if index < 2 else "asked"
            trials.append(
                {
                    "order": index,
                    "task": name,
                    "setting": f"s{index}",
                    "reward": rewards[index],
                    "origin": origin,
                }
            )
        best = int(rewards.argmax())
        chosen[name] = f"s{best}"
        base = float(rewards[best])
        scores = {
            "random weights": base - 14,
            "random": base - 5,
            "all_on": base - 1.7 + task / 3,
            "chosen": base,
        }
        for method, score in scores.items():
            transfer.append(
                {
                    "task": name,
                    "method": method,
                    "settings": ["s1"],
                    "score": score,
                    "ci95": [score - 2.4, score + 2.2],
                    "n_test": 400,
                    "seeds": 3,
                    "metric": "accuracy",
                    "commands": [["simpath", "evaluate", "--backbone", f"my store/{n}", "--task", name] for n in "01"],
                }
            )
        for baseline in ("random weights", "all_on"):
            gap = base - scores[baseline]
            comparisons.append(
                {
                    "task": name,
                    "a": "chosen",
                    "b": baseline,
                    "difference": gap,
                    "ci95": [gap - 2.6, gap + 2.5],
                }
            )
    for baseline, gap in (("random weights", 14.0), ("all_on", 1.0)):
        comparisons.append(
            {
                "task": "average",
                "a": "chosen",
                "b": baseline,
                "difference": gap,
                "ci95": [gap - 1.5, gap + 1.4],
            }
        )
    summary = {
        "experiment": "demo",
        "command": ["simpath", "demo", "--out", "my demo"],
        "started": "2026-11-20T13:02:11+00:00",
        "seconds": 451.2,
        "status": "complete",
        "missing": [],
        "versions": {"python": "3.11.2", "torch": "2.15.0", "bpy": "4.2.20", "simpath": "0.1.0"},
        "machine": {
            "cpu": "AMD EPYC 9R14",
            "cores": 2,
            "memory_gb": 7.6,
            "gpu": None,
            "platform": "Linux x86_64",
        },
        "machines": [
            {
                "cpu": "Xeon Gold 6140",
                "cores": 36,
                "gpu": "4 x Tesla V100",
                "hosts": [f"node-{n}" for n in range(6)],
                "stages": {"render_shard": 1020, "pretrain": 5},
            },
            {"cpu": "not recorded", "cores": None, "gpu": None, "hosts": ["desk"], "stages": {"reward": 15}},
        ],
        "commands": [{"what": "Pre-training", "command": ["simpath", "pretrain", "--recipe", "demo"]}],
        "config": {"render": {"size": 64, "samples": 8}, "pretrain": {"arch": "resnet18", "epochs": 15}},
        "protocol": ["Intervals are bootstraps over test images; differences are paired by image."],
        "tasks": task_rows,
        "settings": setting_rows,
        "trials": trials,
        "probabilities": {
            name: {
                parameter: {levels[0]: 1 - p, levels[1]: p}
                for (parameter, levels), p in zip(TASK2SIM_SPACE.levels, rng.uniform(0, 1, 8).tolist(), strict=True)
            }
            for name in names
        },
        "chosen": chosen,
        "transfer": transfer,
        "table": {
            "header": ["task", *METHODS],
            "rows": [
                *(
                    {"name": name, "cells": ["1.0", "2.0", "3.0", "**4.0** [3.0, 5.0]*"], "kind": "task"}
                    for name in names
                ),
                {"name": "mean own (3)", "cells": ["10.5", "20.5", "30.5", "40.5"], "kind": "mean"},
                {"name": "average rank", "cells": ["4.00", "3.00", "2.00", "1.00"], "kind": "mean"},
            ],
            "notes": ["Published: nothing for tasks of your own."],
        },
        "comparisons": comparisons,
        "preference": {
            "found": True,
            "text": "",
            "task_a": names[0],
            "task_b": names[-1],
            "setting_p": "s0",
            "setting_q": "s1",
            "difference_a": 4.2,
            "ci95_a": [1.1, 7.0],
            "difference_b": 3.6,
            "ci95_b": [0.4, 6.9],
        },
        "stages": [
            {
                "stage": "render",
                "count": 20,
                "computed": 20,
                "from_store": 0,
                "seconds": 131.0,
                "cpu_s": 7322.0,
                "memory_mb": 1234.0,
            },
            {"stage": "pretrain", "count": 5, "computed": 4, "from_store": 1, "seconds": 142.5},
            {"stage": "extract_features", "count": 18, "computed": 18, "from_store": 0, "seconds": 61.0},
            {"stage": "score", "count": 30, "computed": 30, "from_store": 0, "seconds": 12.0},
        ],
    }
    save(root, summary)
    return summary


def save(root: Path, summary: dict[str, Any]) -> None:
    (root / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def draw_shape(rng: np.random.Generator, size: int, *, gray: bool, kind: int, noise: int = 0) -> np.ndarray:
    """A disc, box, cross, ring or stripes, uint8 (size, size, 3)."""
    y, x = (np.mgrid[:size, :size] / size - 0.5) * 2
    y, x = y + rng.uniform(-0.2, 0.2), x + rng.uniform(-0.2, 0.2)
    shape = (
        x**2 + y**2 < 0.35,
        (abs(x) < 0.5) & (abs(y) < 0.6),
        (abs(x) < 0.15) | (abs(y) < 0.15),
        abs(x**2 + y**2 - 0.4) < 0.12,
        np.sin(12 * (x + y)) > 0,
    )[kind]
    color = np.full(3, rng.uniform(0, 0.4)) if gray else rng.uniform(0, 1, 3)
    ground = rng.uniform(0, 1, (size, size, 3)) if noise else np.full((size, size, 3), 0.85)
    light = np.clip(1 - 0.3 * (x + y), 0.3, 1.3)[..., None]
    return np.clip(np.where(shape[..., None], color * light, ground) * 255, 0, 255).astype(np.uint8)


class Reader(html.parser.HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "br", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def read(root: Path) -> Reader:
    page = write_report(root)
    assert page == root / "report.html"
    return Reader(page.read_text(encoding="utf-8"))


def test_the_page_holds_every_section_and_loads_nothing(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = read(tmp_path)
    assert not page.open
    names = [tag for tag, _ in page.tags]
    assert "script" not in names and "iframe" not in names
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3 + 5
    assert all((image["src"] or "").startswith("data:image/") and image["alt"] for image in images)
    links = [attributes["href"] or "" for tag, attributes in page.tags if "href" in attributes]
    assert len(links) >= 7 and all(link.startswith("#") or link == "data:," for link in links)
    assert "absent" not in {attributes.get("class") for _, attributes in page.tags}
    assert "url(" not in (tmp_path / "report.html").read_text() and "@import" not in page.text
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def test_every_chart_has_a_title_axis_labels_and_alternative_text(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = read(tmp_path)
    drawn = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "chart"]
    # dots wide and narrow, rewards, loss and accuracy; class sizes of two tasks, two quantities of four settings
    assert len(drawn) == 2 + 3 + 2 + 2 + 4 * 2
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in drawn)
    classes = [attributes.get("class") for tag, attributes in page.tags if tag == "text"]
    assert classes.count("title") == len(drawn)
    assert classes.count("label") == 2 + 2 * 3 + 2 * 2 + 2 + 4 * 2
    for words in (
        "score (%)",
        "reward (%)",
        "order of evaluation",
        "epoch",
        "cross-entropy (nats)",
        "accuracy (%)",
        "height of the light (degrees)",
        "textures: class sizes",
    ):
        assert words in page.text


def test_the_page_shows_means_by_group_ranks_and_the_notes_of_the_table(tmp_path: Path) -> None:
    summary = make_run(tmp_path)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    whole = Grid(
        tuple(summary["table"]["header"]),
        tuple(GridRow(row["name"], tuple(row["cells"]), row["kind"]) for row in summary["table"]["rows"]),
        tuple(summary["table"]["notes"]),
    )
    transfer = page[page.index('<h2 id="transfer">') : page.index('<h2 id="tasks">')]
    assert to_html(whole) in transfer
    assert '<th scope="row">mean own (3)</th>\n<td>10.5</td>' in transfer and "average rank" in transfer


def test_findings_are_computed_from_the_numbers(tmp_path: Path) -> None:
    summary = make_run(tmp_path, tasks=2)
    for row in summary["transfer"]:
        row["score"] = {"chosen": 81.26, "random weights": 60.0}.get(row["method"], 70.0)
    summary["comparisons"][-2] |= {"difference": 21.26, "ci95": [18.0, 24.5]}
    summary["comparisons"][-1] |= {"difference": -1.5, "ci95": [-4.0, 0.9]}
    save(tmp_path, summary)
    text = read(tmp_path).text
    assert (
        "Averaged over 2 tasks, backbones pre-trained with the chosen parameters score 81.3 %: 21.3 points "
        "above random weights (95 % interval +18.0 to +24.5), and not clearly different from "
        "varying everything (−1.5 points, −4.0 to +0.9)." in text
    )
    assert (
        "The tasks digits and line_drawings prefer different parameters: on digits, “all off” minus “all on” is +4.2"
        in text
    )


def test_the_best_score_of_each_row_is_marked_and_the_chosen_trial_is_ringed(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = read(tmp_path)
    classes = [attributes.get("class") for _, attributes in page.tags]
    assert classes.count("pill") == 4  # three tasks and their mean
    assert classes.count("ring") == 3


@pytest.mark.parametrize(
    "where", ["task", "description", "setting", "level", "version", "missing", "command", "environment", "host"]
)
def test_hostile_names_stay_text(tmp_path: Path, where: str) -> None:
    make_run(tmp_path)
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    old = {
        "task": "textures",
        "description": "made for this test",
        "setting": "asked 1",
        "level": "canonical",
        "version": "4.2.20",
        "missing": '"missing": []',
        "command": "my demo",
        "environment": "sunrise",
        "host": "node-1",
    }[where]
    assert old in text
    new = f'"missing": ["{HOSTILE}"]' if where == "missing" else HOSTILE
    (tmp_path / "summary.json").write_text(text.replace(old, new), encoding="utf-8")
    page = read(tmp_path)
    assert "script" not in [tag for tag, _ in page.tags]
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert HOSTILE in page.text or HOSTILE in str([attributes for _, attributes in page.tags])


def test_stages_say_what_they_took_where_it_was_recorded(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    table = page[page.index("<h3>Stages</h3>") : page.index("<h3>Machines and versions</h3>")]
    render, pretrain, *_ = re.findall(r'<tr><th scope="row">(.*?)</tr>', table)
    assert render.startswith("render<") and render.endswith(
        '<td class="num">2 h 2 min</td><td class="num">1\u202f234 MB</td>'
    )
    assert pretrain.startswith("pretrain<") and pretrain.endswith('<td class="num">–</td><td class="num">–</td>')


def test_data_sets_and_tasks_are_counted(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = read(tmp_path)
    assert "20 each" in page.text and "64 x 64" in page.text and "2.6 MB" in page.text and "120 ± 51" in page.text
    assert "over the first 48 images" in page.text
    assert "80 to 197, median 138" in page.text and "2.5 times" in page.text and "6 unreadable" in page.text
    opened = [attributes for tag, attributes in page.tags if tag == "details" and "open" in attributes]
    assert len(opened) == 1
    bars = [
        attributes["aria-label"] or "" for tag, attributes in page.tags if tag == "svg" and "aria-label" in attributes
    ]
    assert any("all on, in images: −10 to 20: 300; 20 to 50: 180." in text for text in bars)
    assert any("all on, in images; 4 more in 70: sunrise: 60; city-0: 50; " in text for text in bars)
    assert any(
        "in classes by their training images: 80 to 99: 2; 100 to 119: 2; 120 to 139: 1;" in text for text in bars
    )


def test_the_machines_that_made_the_numbers_are_named_with_their_stages(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = read(tmp_path).text
    assert "Xeon Gold 6140" in text and "4 x Tesla V100" in text and "1 020 render_shard, 5 pretrain" in text
    assert "node-0, node-1, node-2, node-3 and 2 more" in text and "15 reward" in text


def test_every_score_has_its_commands(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = read(tmp_path).text
    for index in range(2):
        assert f"simpath evaluate --backbone 'my store/{index}' --task textures" in text
    assert text.count("simpath evaluate") == 3 * 4 * 2 and "simpath pretrain --recipe demo" in text


def test_printed_commands_are_quoted_for_the_shell(tmp_path: Path) -> None:
    summary = make_run(tmp_path)
    summary["commands"] = [{"what": "features", "command": ["simpath", "evaluate", "--task", "$(rm -rf ~); it's"]}]
    save(tmp_path, summary)
    text = read(tmp_path).text
    assert "simpath demo --out 'my demo'" in text
    assert "--out 'my data/s0'" in text
    assert "--task '$(rm -rf ~); it'\"'\"'s'" in text


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("tasks", "No task is described"),
        ("settings", "No pre-training happened"),
        ("trials", "There are no rewards"),
        ("probabilities", "There is no map of probabilities"),
        ("transfer", "There is no transfer table"),
        ("table", "Means by group and ranks were not recorded"),
        ("stages", "The stages of this run were not recorded"),
        ("versions", "Versions were not recorded"),
        ("machine", "The machine was not recorded"),
        ("machines", "The machines that ran the stages were not recorded"),
        ("config", "The configuration was not recorded"),
        ("preference", "was not tested in this run"),
    ],
)
def test_a_missing_part_is_left_out_with_a_reason(tmp_path: Path, key: str, why: str) -> None:
    summary = make_run(tmp_path, tasks=1, settings=2)
    assert why not in read(tmp_path).text
    del summary[key]
    save(tmp_path, summary)
    page = read(tmp_path)
    assert why in page.text and not page.open


def test_statistics_that_were_not_recorded_are_left_out_with_a_reason(tmp_path: Path) -> None:
    summary = make_run(tmp_path, tasks=2, settings=2)
    for row in [*summary["settings"], *summary["tasks"]]:
        row.pop("data", None)
        row.pop("splits", None)
    save(tmp_path, summary)
    page = read(tmp_path)
    assert "How many images each class of the tasks has was not recorded" in page.text and not page.open
    assert "There are no histograms: no parameter varied, or its values were not counted" in page.text


def test_a_run_that_has_only_begun_still_has_a_page(tmp_path: Path) -> None:
    save(
        tmp_path,
        {
            "experiment": "demo",
            "status": "partial",
            "command": "simpath demo",
            "missing": ["render s0: killed"],
        },
    )
    text = read(tmp_path).text
    assert "This run is not complete" in text and "render s0: killed" in text


def test_missing_and_broken_pictures_and_logs_are_named(tmp_path: Path) -> None:
    summary = make_run(tmp_path)
    (tmp_path / "pictures/task-0.png").unlink()
    (tmp_path / "pictures/s1.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (tmp_path.parent / "secret.png").write_bytes((tmp_path / "pictures/s2.png").read_bytes())
    summary["settings"][2]["sheet"] = "../secret.png"
    summary["settings"][3]["sheet"] = None
    summary["settings"][0]["metrics"] = "logs/gone.jsonl"
    (tmp_path / "logs/s1.jsonl").write_text('{"loss": 1}\n{"epoch": 2, "loss": 1, "accuracy": 2}\n')
    save(tmp_path, summary)
    page = read(tmp_path)
    for reason in (
        "pictures/task-0.png is missing",
        "pictures/s1.png is no readable picture",
        "../secret.png lies outside the run's directory",
        "no picture was made",
        "all off: logs/gone.jsonl is missing",
        "all on: logs/s1.jsonl, line 1, is no training record",
    ):
        assert reason in page.text
    assert [tag for tag, _ in page.tags].count("img") == 2 + 2


def test_a_torn_last_line_and_repeated_epochs_of_a_resumed_training_are_read(tmp_path: Path) -> None:
    make_run(tmp_path)
    log = tmp_path / "logs/s0.jsonl"
    log.write_text(log.read_text() + '{"epoch": 14, "loss": 9.75, "accuracy": 0.3}\n{"epoch": 15, "lo')
    labels = [attributes.get("aria-label") or "" for tag, attributes in read(tmp_path).tags if tag == "svg"]
    assert any(label.startswith("Training loss") and "all off 9.75" in label for label in labels)
    assert any(label.startswith("Accuracy on") and "all off 30.00" in label for label in labels)


def test_a_training_with_mixing_has_no_accuracy_and_the_page_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, settings=2)
    for index in range(2):
        (tmp_path / f"logs/s{index}.jsonl").write_text('{"epoch": 0, "loss": 1.5, "accuracy": null}\n')
    page = read(tmp_path)
    assert "all off: its log holds no accuracy; all on: its log holds no accuracy" in page.text
    titles = [attributes.get("aria-label") or "" for tag, attributes in page.tags if tag == "svg"]
    assert any(title.startswith("Training loss") for title in titles)
    assert not any(title.startswith("Accuracy on") for title in titles)


@pytest.mark.parametrize("tasks", [1, 20])
def test_one_task_and_twenty_tasks(tmp_path: Path, tasks: int) -> None:
    make_run(tmp_path, tasks=tasks)
    page = read(tmp_path)
    assert not page.open
    assert ("mean over tasks" in page.text) == (tasks > 1)
    assert ("On digits, backbones" in page.text) == (tasks == 1)
    assert ("of 20 tasks" in page.text) == (tasks == 20)


def test_many_settings_keep_the_page_small(tmp_path: Path) -> None:
    make_run(tmp_path, settings=100, tasks=1)
    page = read(tmp_path)
    assert [tag for tag, _ in page.tags].count("img") == 12 + 1
    assert "88 further settings have their contact sheets" in page.text
    assert "36 further settings are listed in summary.json" in page.text
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_huge_missing_and_infinite_numbers_are_survived(tmp_path: Path) -> None:
    summary = make_run(tmp_path)
    summary["settings"][0] |= {"num_images": 10**30, "images_per_second": 1e200, "render_seconds": 1e-9}
    summary["seconds"] = 1e12
    summary["transfer"][0] |= {"score": 1e15, "ci95": [-1e18, 1e18]}
    summary["transfer"][1] |= {"score": float("nan"), "ci95": None}
    summary["trials"][0]["reward"] = float("inf")
    summary["trials"][1]["reward"] = -1e250
    save(tmp_path, summary)
    page = read(tmp_path)
    assert not page.open
    coordinates = " ".join(str(value) for tag, row in page.tags if tag in {"line", "circle"} for value in row.values())
    assert "nan" not in coordinates and "inf" not in coordinates
    assert "not measured" in page.text and "1.00e+30" in page.text


def test_names_with_lone_surrogates_control_characters_and_great_length(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = (tmp_path / "summary.json").read_text()
    (tmp_path / "summary.json").write_text(text.replace("textures", r"bad\udcff\u0000" + "long" * 100))
    assert "long" * 100 in read(tmp_path).text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("experiment"), "summary.experiment is missing"),
        (lambda s: s.update(status="fine"), "summary.status is 'fine'; allowed: complete, partial"),
        (lambda s: s["tasks"][1].pop("name"), r"summary.tasks\[1\].name is missing"),
        (
            lambda s: s["trials"][2].update(reward="many"),
            r"summary.trials\[2\].reward must be float, not 'many'",
        ),
        (lambda s: s["transfer"][0].update(ci95=[1]), r"summary.transfer\[0\].ci95"),
        (lambda s: s.update(settings={}), "summary.settings"),
    ],
)
def test_a_summary_that_breaks_the_schema_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    summary = copy.deepcopy(make_run(tmp_path, tasks=2, settings=2))
    change(summary)
    save(tmp_path, summary)
    with pytest.raises(ValueError, match=message) as caught:
        write_report(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_no_summary_and_no_json_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"summary\.json is missing"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        write_report(tmp_path)


def test_the_same_run_gives_the_same_bytes_and_leaves_no_other_file(tmp_path: Path) -> None:
    make_run(tmp_path)
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")
@pytest.mark.parametrize("hostile", [False, True])
def test_chromium_fits_the_page_to_a_phone_and_a_desk_in_light_and_dark(tmp_path: Path, hostile: bool) -> None:
    summary = make_run(tmp_path)
    if hostile:
        text = json.dumps(summary).replace("textures", "<img src=x onerror=parent.hit=1>" + "W" * 80)
        (tmp_path / "summary.json").write_text(text)
    page = write_report(tmp_path)
    for dark in (True,) if hostile else (False, True):
        seen = measure(page, (360, 820, 1200), dark=dark)
        assert len(seen) == 3
        for width, frame in seen.items():
            assert frame["scroll"] <= int(width), f"{frame['scroll']} pixels wide on {width}"
            assert frame["hit"] == 0 and frame["cards"] > 15
            background, ink = (sum(map(int, re.findall(r"\d+", frame[key])[:3])) / 3 for key in ("background", "ink"))
            assert (background < 60 and ink > 200) if dark else (background > 240 and ink < 60)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")
def test_chromium_draws_and_prints_the_page_without_refusing_anything(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = write_report(tmp_path)
    picture, paper = tmp_path / "page.png", tmp_path / "page.pdf"
    browse(page, f"--screenshot={picture}", "--window-size=1200,3000")
    with Image.open(picture) as image:
        colors = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colors is not None and len(colors) > 500, "the page is blank"
    browse(page, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF") and paper.stat().st_size > 50_000


def measure(page: Path, widths: tuple[int, ...], *, dark: bool) -> dict[str, dict[str, Any]]:
    """What the page looks like in frames of these widths: its width, colours, number of cards, scripts that ran."""
    frame = page.with_name("frame.html")
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    frame.write_text(
        f"""<!DOCTYPE html><meta charset="utf-8"><body><pre id="seen"></pre><script>
        window.hit = 0;
        const seen = {{}};
        for (const width of {json.dumps(widths)}) {{
          const frame = document.createElement("iframe");
          frame.style = `width: ${{width}}px; height: 3000px; border: 0`;
          frame.onload = () => {{
            const view = frame.contentDocument, style = frame.contentWindow.getComputedStyle(view.body);
            seen[width] = {{
              scroll: view.documentElement.scrollWidth, cards: view.querySelectorAll(".card").length,
              background: style.backgroundColor, ink: style.color, hit: window.hit}};
            document.getElementById("seen").textContent = JSON.stringify(seen);
          }};
          frame.srcdoc = {text};
          document.body.append(frame);
        }}
        </script>""",
        encoding="utf-8",
    )
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    printed = browse(frame, "--dump-dom", "--virtual-time-budget=5000", "--window-size=1400,3200", scheme)
    found = re.search(r'<pre id="seen">(\{.*?\})</pre>', printed)
    assert found is not None, "the page did not load"
    seen: dict[str, dict[str, Any]] = json.loads(found[1])
    return seen


def browse(page: Path, *options: str) -> str:
    """Open a page in headless Chromium; returns what it wrote to stdout. Nothing may be refused or fetched."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--hide-scrollbars", "--enable-logging=stderr", f"--user-data-dir={profile}", *options,
                page.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    assert "Content Security Policy" not in done.stderr and "Refused to" not in done.stderr
    return done.stdout
