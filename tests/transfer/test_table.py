"""The transfer table: means, ranks and significance against hand-made numbers, and its three outputs."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from transfer.catalogue import TASKS
from transfer.score import score_predictions
from transfer.table import PUBLISHED, TransferTable, build_table, to_csv, to_html, to_markdown, write_tables


def final_dir(path: Path, accuracy: float, count: int = 400, classes: int = 4, seed: int = 0) -> Path:
    """A directory as `final` leaves it, with about this accuracy; equal seeds make the same images hard."""
    labels = torch.arange(count) % classes
    hard = np.random.default_rng(seed).permutation(count) < round((1 - accuracy) * count)
    predicted = (labels + torch.from_numpy(hard).long()) % classes
    probabilities = torch.nn.functional.one_hot(predicted, classes).float()
    summary = score_predictions(probabilities, labels, out=path, seed=0)
    (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return path


def table(tmp_path: Path, numbers: dict[str, dict[str, float]], **options: str) -> TransferTable:
    return build_table(
        {
            method: {task: [final_dir(tmp_path / method / task, score)] for task, score in by_task.items()}
            for method, by_task in numbers.items()
        },
        **options,  # type: ignore[arg-type]
    )


NUMBERS = {
    "random weights": {"EuroSAT": 0.5, "AID": 0.4, "mine": 0.9},
    "chosen": {"EuroSAT": 0.8, "AID": 0.4, "mine": 0.7},
}


def test_rows_are_in_the_table_order_and_own_tasks_last(tmp_path: Path) -> None:
    assert table(tmp_path, NUMBERS).tasks == ("EuroSAT", "AID", "mine")


def test_means_by_group_seen_unseen_and_all(tmp_path: Path) -> None:
    means = table(tmp_path, NUMBERS).means()
    assert list(means) == ["Satellite", "own", "seen", "unseen", "all"]
    assert means["Satellite"]["chosen"] == pytest.approx(60) and means["seen"]["chosen"] == pytest.approx(80)
    assert means["unseen"]["random weights"] == pytest.approx(40) and means["own"]["random weights"] == pytest.approx(
        90
    )
    assert means["all"]["random weights"] == pytest.approx(60)


def test_ranks_share_ties(tmp_path: Path) -> None:
    # EuroSAT: 2, 1; AID: 1.5, 1.5; mine: 1, 2
    assert table(tmp_path, NUMBERS).average_ranks() == {"random weights": 1.5, "chosen": 1.5}
    three = {**NUMBERS, "all_on": {"EuroSAT": 0.8, "AID": 0.1, "mine": 0.8}}
    assert table(tmp_path / "three", three).average_ranks() == pytest.approx(
        {"random weights": (3 + 1.5 + 1) / 3, "chosen": (1.5 + 1.5 + 3) / 3, "all_on": (1.5 + 3 + 2) / 3}
    )


def test_differences_are_paired_and_signed(tmp_path: Path) -> None:
    found = table(tmp_path, NUMBERS, against="chosen").differences
    assert set(found) == {(task, "random weights") for task in ("EuroSAT", "AID", "mine")}
    assert found["EuroSAT", "random weights"].points == pytest.approx(30)
    assert found["EuroSAT", "random weights"].significant and found["mine", "random weights"].ci95[1] < 0
    assert not found["AID", "random weights"].significant


def test_several_seeds_make_one_cell(tmp_path: Path) -> None:
    seeds = [final_dir(tmp_path / str(k), accuracy, seed=k) for k, accuracy in enumerate((0.6, 0.7, 0.8))]
    cell = build_table({"chosen": {"AID": seeds}}).cells["AID", "chosen"]
    assert cell.seeds == 3 and cell.score == pytest.approx(70) and cell.metrics["accuracy"] == pytest.approx(70)
    assert cell.ci95[0] < 70 < cell.ci95[1]


def test_a_missing_cell_leaves_its_task_out_of_means(tmp_path: Path) -> None:
    numbers = {"a": {"EuroSAT": 0.5, "AID": 0.4}, "b": {"EuroSAT": 0.6}}
    found = table(tmp_path, numbers)
    assert found.complete == ("EuroSAT",) and found.means()["all"] == pytest.approx({"a": 50, "b": 60})
    text = to_markdown(found)
    assert "–" in text and "Means and ranks leave out AID" in text


def test_csv_holds_every_number(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table(tmp_path, NUMBERS)))))
    cells = {(row["row"], row["method"]): row for row in rows}
    assert float(cells["EuroSAT", "chosen"]["score"]) == pytest.approx(80)
    assert float(cells["EuroSAT", "random weights"]["chosen_minus_this"]) == pytest.approx(30)
    assert cells["EuroSAT", "chosen"]["n_test"] == "400" and cells["average rank", "chosen"]["score"] == "1.5"
    assert "mean unseen" in {row["row"] for row in rows} and None not in rows[0]


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.rows += tag == "tr"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_escaped(tmp_path: Path) -> None:
    numbers = {"<b>a</b>": {"EuroSAT": 0.5}, "chosen & best": {"EuroSAT": 0.6}}
    results = {
        method: {task: [final_dir(tmp_path / str(k), score)] for task, score in by_task.items()}
        for k, (method, by_task) in enumerate(numbers.items())
    }
    text = to_html(build_table(results))
    parser = Cells()
    parser.feed(text)
    assert not parser.open and parser.rows == 1 + 1 + 3 + 1  # header, task, group/seen/all means, rank
    assert "<b>" not in text and "chosen &amp; best" in text and "<strong>60.0</strong>" in text


def test_the_best_is_bold_and_significant_differences_are_marked(tmp_path: Path) -> None:
    text = to_markdown(table(tmp_path, NUMBERS))
    line = next(line for line in text.splitlines() if line.startswith("| EuroSAT"))
    assert "**80.0**" in line and "50.0 [" in line and "]* |" in line
    assert next(line for line in text.splitlines() if line.startswith("| AID")).count("*") == 8  # a tie: both bold


def test_published_numbers_stand_beside_their_own_protocol_only(tmp_path: Path) -> None:
    one = {"chosen": {"DTD": 0.4}}
    assert table(tmp_path / "l", one, protocol="linear").published[0].name == "pose"
    assert not table(tmp_path / "k", one, protocol="knn").published
    assert not table(tmp_path / "f", one, protocol="finetune").published
    every = {"chosen": {row.name: 0.5 for row in TASKS}}
    tuned = table(tmp_path / "all", every, protocol="finetune")
    assert [c.name for c in tuned.published] == [
        "no pre-training",
        "ImageNet subset",
        "Random",
        "Domain Rand.",
        "Task2Sim",
    ]
    row = next(line for line in to_markdown(tuned).splitlines() if line.startswith("| *mean seen (12)*"))
    assert row.split("|")[-2].strip() == "76.8"
    assert len(PUBLISHED) == 10


def test_all_three_files_are_written(tmp_path: Path) -> None:
    names = write_tables(table(tmp_path, NUMBERS), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names.values())


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no result"):
        build_table({"a": {}})
    with pytest.raises(ValueError, match="no method b"):
        table(tmp_path, {"a": {"AID": 0.5}}, against="b")
    small = final_dir(tmp_path / "small", 0.5, count=20)
    with pytest.raises(ValueError, match="different numbers of test images"):
        build_table({"a": {"AID": [small, final_dir(tmp_path / "large", 0.5)]}})
    with pytest.raises(ValueError, match="20 and 400"):
        build_table({"a": {"AID": [final_dir(tmp_path / "large", 0.5)]}, "b": {"AID": [small]}})
