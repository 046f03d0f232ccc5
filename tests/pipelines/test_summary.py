"""summary.json: what is written as dataclasses is read back as the same, and what breaks the schema is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.summary import (
    Comparison,
    DataStatistics,
    Machine,
    NamedCommand,
    Preference,
    Score,
    Setting,
    Split,
    Summary,
    Task,
    Trial,
    load_summary,
    read_row,
)

DATA = DataStatistics(9, 1, (2, 2), 99.5, 20.0, 4, 4, {"hdri": (("city", 3), ("dawn", 1))})
FULL = Summary(
    "small",
    "partial",
    ("simpath", "run", "small"),
    missing=("render s1: disk full",),
    machine={"gpu": None, "cores": 2},
    machines=(Machine("Xeon", 36, None, ("a", "b"), {"pretrain": 2}),),
    commands=(NamedCommand("pre-train", ("simpath", "pretrain")),),
    tasks=(Task("a", num_classes=2, splits=(Split("train", (5, 0), 1), Split("test", (2, 2)))), Task("b")),
    settings=(
        Setting("s0", "all off", {"background": "fixed"}),
        Setting("s1", "asked 1", {"background": "random"}, data=DATA),
    ),
    trials=(Trial(0, "a", "s0", 71.5, "all_off"), Trial(1, "a", "s1", 80.0), Trial(0, "b", "s0", None, "all_off")),
    probabilities={"a": {"background": {"fixed": 0.25, "random": 0.75}}},
    chosen={"a": "s1"},
    transfer=(
        Score("a", "chosen", 80.0, ("s1",), (75.0, 85.0), 300, 3, commands=("one", ("two", "words"))),
        Score("b", "chosen", 60.0),
    ),
    comparisons=(Comparison("a", "chosen", "all_on", 2.0, (-1.0, 5.0)),),
    preference=Preference(False, "none"),
)


def saved(folder: Path, raw: object) -> Path:
    (folder / "summary.json").write_text(json.dumps(raw), encoding="utf-8")
    return folder


def test_a_summary_survives_json(tmp_path: Path) -> None:
    assert load_summary(saved(tmp_path, dataclasses.asdict(FULL))) == FULL


def test_keys_of_a_newer_writer_are_passed_over(tmp_path: Path) -> None:
    raw = dataclasses.asdict(FULL) | {"later": 1}
    raw["tasks"][0]["colour"] = "red"
    assert load_summary(saved(tmp_path, raw)) == FULL


def test_numbers_that_json_cannot_hold_are_read_as_missing(tmp_path: Path) -> None:
    raw = dataclasses.asdict(FULL)
    raw["trials"][0]["reward"] = float("nan")
    (tmp_path / "summary.json").write_text(json.dumps(raw).replace("80.0", "1e999"), encoding="utf-8")
    summary = load_summary(tmp_path)
    assert summary.trials[0].reward is None and summary.transfer[0].score is None


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        (Trial, [], "row must be an object, not list"),
        (Trial, {"order": 1.5, "task": "a", "setting": "s", "reward": 1}, r"row\.order must be int, not '1\.5'"),
        (Trial, {"order": True, "task": "a", "setting": "s", "reward": 1}, r"row\.order must be int"),
        (Trial, {"order": 1, "task": "a", "setting": "s", "reward": False}, r"row\.reward must be float"),
        (Comparison, {"task": "a", "a": "x", "b": "y", "difference": 1, "ci95": [1, None]}, r"row\.ci95\[1\]"),
        (Setting, {"id": "s", "name": "n", "params": {"background": 3}}, r"row\.params\['background'\] must be str"),
        (NamedCommand, {"what": "a", "command": [1]}, r"row\.command\[0\] must be str"),
        (Task, {"name": "a", "splits": [{"name": "train", "per_class": 3}]}, r"row\.splits\[0\]\.per_class must be"),
    ],
)
def test_a_wrong_entry_is_named(kind: type[Any], raw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_row(kind, raw, "row")


def test_means_need_every_task() -> None:
    assert FULL.mean_score("chosen") == 70.0
    assert dataclasses.replace(FULL, transfer=(*FULL.transfer, Score("c", "random", 1.0))).mean_score("chosen") is None
    assert FULL.mean_score("all_on") is None


def test_chosen_settings_come_first_and_unknown_ids_stand_for_themselves() -> None:
    assert [setting.id for setting in FULL.important_settings()] == ["s1", "s0"]
    assert FULL.setting_name("s1") == "asked 1" and FULL.setting_name("s9") == "s9"
