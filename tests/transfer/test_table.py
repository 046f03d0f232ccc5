"""The transfer table: means, ranks, significance and published numbers, and its three outputs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transfer.catalogue import TASKS, TaskRow
from transfer.finetune import TuneConfig
from transfer.finished import Finished, find_finished, read_finished
from transfer.published import FMD_NOTE, PUBLISHED, matched_protocol
from transfer.score import score_predictions
from transfer.table import TransferTable, build_table
from transfer.table_files import lay_out, to_csv, to_html, to_markdown, write_tables


def finished(
    path: Path, accuracy: float, *, count: int = 400, classes: int = 4, seed: int = 0, **about: Any
) -> Finished:
    """A result as `final` and `tune` leave it, with about this accuracy; equal seeds make the same images hard."""
    labels = torch.arange(count) % classes
    hard = np.random.default_rng(seed).permutation(count) < round((1 - accuracy) * count)
    predicted = (labels + torch.from_numpy(hard).long()) % classes
    probabilities = torch.nn.functional.one_hot(predicted, classes).float()
    also = about.get("also_report", [])
    known = {"task": path.name, "method": "linear", "also_report": also, "index": "i", "backbone": "resnet18 sha256:0"}
    summary = {**known, **score_predictions(probabilities, labels, out=path, also_report=also), **about}
    (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return read_finished(path)


def published(path: Path, task: str, protocol: str, **about: Any) -> Finished:
    """A result that was made as the published numbers were, but for what `about` says."""
    (row,) = [row for row in TASKS if row.name == task]
    known: dict[str, Any] = {
        "method": protocol,
        "backbone": "resnet50 sha256:0",
        "evaluated_on": "test",
        "split": "published",
        "n_train": row.train,
        "config": asdict(TuneConfig(trained="all" if protocol == "finetune" else "head")),
    }
    return finished(path / task, 0.5, **{"count": row.test, **known, **about})


def table(tmp_path: Path, numbers: dict[str, dict[str, float]], **options: Any) -> TransferTable:
    results = {
        method: [finished(tmp_path / method / task, score) for task, score in by_task.items()]
        for method, by_task in numbers.items()
    }
    return build_table(results, **options)


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
    assert found["EuroSAT", "random weights"].mean == pytest.approx(30)
    assert found["EuroSAT", "random weights"].excludes_zero and found["mine", "random weights"].ci95[1] < 0
    assert not found["AID", "random weights"].excludes_zero


def test_several_seeds_make_one_cell(tmp_path: Path) -> None:
    seeds = [finished(tmp_path / str(k) / "AID", accuracy, seed=k) for k, accuracy in enumerate((0.6, 0.7, 0.8))]
    cell = build_table({"chosen": seeds}).cells["AID", "chosen"]
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
        method: [finished(tmp_path / str(k) / task, score) for task, score in by_task.items()]
        for k, (method, by_task) in enumerate(numbers.items())
    }
    text = to_html(lay_out(build_table(results)))
    parser = Cells()
    parser.feed(text)
    assert not parser.open and parser.rows == 1 + 1 + 3 + 1  # header, task, group/seen/all means, rank
    assert "<b>" not in text and "chosen &amp; best" in text and "<strong>60.0</strong>" in text


def test_the_best_is_bold_and_significant_differences_are_marked(tmp_path: Path) -> None:
    text = to_markdown(table(tmp_path, NUMBERS))
    line = next(line for line in text.splitlines() if line.startswith("| EuroSAT"))
    assert "**80.0**" in line and "50.0 [" in line and "]* |" in line
    assert next(line for line in text.splitlines() if line.startswith("| AID")).count("*") == 8  # a tie: both bold


SEEN, UNSEEN = [row.name for row in TASKS if row.seen], [row.name for row in TASKS if not row.seen]


def columns(results: list[Finished]) -> dict[str, dict[str, float]]:
    return {column.name: dict(column.values) for column in build_table({"chosen": results}).published()}


@pytest.mark.parametrize(
    "other",
    [
        {"method": "linear"},
        {"method": "finetune"},
        {"backbone": "resnet18 sha256:0"},
        {"evaluated_on": "val"},
        {"split": "grouped"},
        {"split": "made"},
        {"n_train": 3759},
        {"n_train": 1880},
        {"count": 1879},
        {"count": 400},
        {"skipped": {"train": [["banded/1.jpg", "truncated"]], "test": []}},
        {"config": asdict(TuneConfig(trained="head", epochs=10))},
        {"config": asdict(TuneConfig(trained="head", size=64, resize=64))},
        {"config": asdict(TuneConfig(trained="head", learning_rate=0.1))},
    ],
)
def test_a_published_number_stands_beside_what_was_made_as_it_was_and_nothing_else(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    assert columns([published(tmp_path / "a", "DTD", "linear_sgd")])["pose, light"] == {"DTD": 40.32}
    assert columns([published(tmp_path / "b", "DTD", "linear_sgd", **other)]) == {}


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_one_missing_image_is_one_too_many_for_published_numbers(row: TaskRow) -> None:
    config = asdict(TuneConfig(trained="head"))
    about = {"task": row.name, "method": "linear_sgd", "evaluated_on": "test", "split": "published", "config": config}
    whole = {**about, "n_train": row.train, "skipped": {"train": [], "test": []}}
    assert matched_protocol(whole, "resnet50", row.test) == "linear_sgd"
    assert matched_protocol(whole, "resnet50", row.test - 1) == ""
    assert matched_protocol({**whole, "n_train": row.train - 1}, "resnet50", row.test) == ""


def test_a_published_number_needs_every_method_of_the_row(tmp_path: Path) -> None:
    ours = [published(tmp_path / "a", task, "linear_sgd") for task in ("DTD", "SVHN")]
    small = published(tmp_path / "b", "DTD", "linear_sgd", backbone="resnet18 sha256:0")
    both = build_table({"a": ours, "b": [small, published(tmp_path / "c", "SVHN", "linear_sgd")]})
    assert [set(column.values) for column in both.published()] == [{"SVHN"}] * 5
    absent = build_table({"a": ours, "b": [small]})
    assert absent.complete == ("DTD",) and absent.published() == ()
    assert {row["method"] for row in csv.DictReader(io.StringIO(to_csv(absent)))} == {"a", "b"}


def test_a_published_average_needs_all_of_its_tasks_row_by_row(tmp_path: Path) -> None:
    assert (len(SEEN), len(UNSEEN), len(PUBLISHED)) == (12, 8, 10)
    seen = [published(tmp_path, task, "finetune") for task in SEEN]
    some = [published(tmp_path, task, "finetune") for task in UNSEEN[:3]]
    partial = build_table({"chosen": [*seen, *some]})
    assert [dict(column.values) for column in partial.published()][-1] == {"seen": 76.8}
    lines = to_markdown(partial).splitlines()
    shown = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines if line.startswith("| *mean")}
    assert shown["*mean seen (12)*"] == "76.8" and shown["*mean unseen (3)*"] == ""
    csv_rows = {(row["row"], row["method"]) for row in csv.DictReader(io.StringIO(to_csv(partial)))}
    assert ("mean seen", "Task2Sim") in csv_rows and ("mean unseen", "Task2Sim") not in csv_rows
    assert FMD_NOTE not in to_markdown(partial)
    whole = build_table({"chosen": seen + [published(tmp_path, task, "finetune") for task in UNSEEN]})
    assert dict(whole.published()[-1].values) == {"seen": 76.8, "unseen": 88.7} and FMD_NOTE in to_markdown(whole)
    fewer = build_table({"chosen": seen[1:]})
    assert fewer.published() == ()


def test_what_the_community_reports_and_what_was_skipped_is_shown(tmp_path: Path) -> None:
    both = ["mean_per_class", "macro_auc"]
    skipped = {"train": [["a.png", "broken"]], "test": [["b.png", "broken"], ["c.png", "broken"]]}
    results = [finished(tmp_path / "ISIC", 0.8, also_report=both, skipped=skipped), finished(tmp_path / "AID", 0.6)]
    found = build_table({"chosen": results})
    for text in (to_markdown(found), to_html(lay_out(found))):
        assert "ISIC, mean per class (balanced accuracy)" in text and "ISIC, macro AUC" in text
        assert "AID, " not in text and "Unreadable images of ISIC that were skipped: 3 (chosen)." in text
    line = next(line for line in to_markdown(found).splitlines() if "balanced" in line)
    assert line.split("|")[2].strip() == f"{results[0].metrics['mean_per_class']:.1f}" == "80.0"
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(to_csv(found)))}
    assert rows["ISIC"]["skipped"] == "3" and rows["AID"]["skipped"] == "0" and rows["AID"]["macro_auc"] == ""
    assert found.means()["all"]["chosen"] == pytest.approx(70)


def test_all_three_files_are_written(tmp_path: Path) -> None:
    files = write_tables(table(tmp_path, NUMBERS), tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == sorted(files.values()) and len(files) == 3


def test_results_are_found_below_a_folder_and_scores_on_a_validation_part_are_none(tmp_path: Path) -> None:
    finished(tmp_path / "a" / "DTD", 0.5)
    finished(tmp_path / "b" / "AID", 0.5, evaluated_on="val")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "predictions.safetensors").write_bytes(b"unfinished")
    assert [result.task for result in find_finished(tmp_path)] == ["DTD"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        next(find_finished(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="holds no finished result"):
        read_finished(tmp_path / "c")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no result"):
        build_table({"a": []})
    with pytest.raises(ValueError, match="no method b"):
        table(tmp_path, {"a": {"AID": 0.5}}, against="b")
    small, large = finished(tmp_path / "s" / "AID", 0.5, count=20), finished(tmp_path / "l" / "AID", 0.5)
    with pytest.raises(ValueError, match=r"different test images \(20 and 400\)"):
        build_table({"a": [small, large]})
    with pytest.raises(ValueError, match=r"different test images \(400 and 20\)"):
        build_table({"a": [large], "b": [small]})
    elsewhere = finished(tmp_path / "e" / "AID", 0.5, index="j")
    with pytest.raises(ValueError, match="of two splits"):
        build_table({"a": [large], "b": [elsewhere]})
    one, two = (finished(tmp_path / str(k) / "AID", 0.5, config={"k": k, "seed": 0}) for k in (1, 2))
    with pytest.raises(ValueError, match="no seeds of one experiment"):
        build_table({"a": [one, two]})
    assert build_table({"a": [one], "b": [two]}).complete == ("AID",)
    with pytest.raises(ValueError, match="several protocols, knn, linear"):
        build_table({"a": [large], "b": [finished(tmp_path / "k" / "AID", 0.5, method="knn")]})
