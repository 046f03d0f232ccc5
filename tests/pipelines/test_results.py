"""The transfer table, its comparisons and the preference finding, from answers that are known."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from pipelines.results import (
    ALL_ON,
    CHOSEN,
    METHODS,
    RANDOM,
    RANDOM_WEIGHTS,
    Answers,
    as_csv,
    busy_seconds,
    comparisons,
    format_table,
    preference,
    transfer_scores,
)


def answers(rate: float, n: int = 200, rows: int = 1, settings: tuple[str, ...] = ("s0",)) -> Answers:
    correct = np.tile(np.arange(n) < rate * n, (rows, 1)).astype(np.uint8)
    return Answers(correct, settings, rows)


TABLE = {
    ("a", RANDOM_WEIGHTS): answers(0.5, settings=()),
    ("a", RANDOM): answers(0.6),
    ("a", ALL_ON): answers(0.7, rows=3, settings=("on",)),
    ("a", CHOSEN): answers(0.8, rows=3),
    ("b", RANDOM_WEIGHTS): answers(0.5, n=50, settings=()),
    ("b", RANDOM): answers(0.5, n=50),
    ("b", ALL_ON): answers(0.4, n=50, rows=3, settings=("on",)),
    ("b", CHOSEN): answers(0.5, n=50, settings=("s1",)),
}


def test_every_cell_has_its_mean_an_interval_around_it_and_its_seeds() -> None:
    scores = transfer_scores(TABLE, seed=0)
    assert len(scores) == 8
    cell = next(row for row in scores if (row.task, row.method) == ("a", CHOSEN))
    assert cell.score == pytest.approx(80)
    assert cell.ci95 is not None and cell.ci95[0] < 80 < cell.ci95[1]
    assert (cell.n_test, cell.seeds, cell.settings) == (200, 3, ("s0",))


def test_chosen_is_compared_with_every_other_method_per_task_and_on_average() -> None:
    rows = comparisons(TABLE, ["a", "b"], seed=0)
    found = {(row.task, row.b): row for row in rows}
    assert set(found) == {(task, other) for task in ("a", "b", "average") for other in METHODS if other != CHOSEN}
    assert found["a", RANDOM_WEIGHTS].difference == pytest.approx(30)
    assert found["b", RANDOM_WEIGHTS].ci95 == (0, 0)
    assert found["average", RANDOM_WEIGHTS].difference == pytest.approx(15)
    assert found["average", ALL_ON].difference == pytest.approx(10)


def test_where_varying_everything_was_chosen_the_two_do_not_differ() -> None:
    correct = np.stack([np.arange(60) < count for count in (20, 30, 50)]).astype(np.uint8)
    on = Answers(correct, ("on",), 3)
    table = {("a", method): on for method in (ALL_ON, CHOSEN)}
    table |= {("a", RANDOM_WEIGHTS): Answers(correct, (), 3), ("a", RANDOM): answers(0.6, n=60)}
    found = {(row.task, row.b): row.ci95 for row in comparisons(table, ["a"], seed=0)}
    assert found["a", ALL_ON] == found["average", ALL_ON] == (0, 0) != found["a", RANDOM_WEIGHTS]


def test_two_tasks_that_prefer_different_parameters_are_found() -> None:
    good, bad = answers(0.9).correct, answers(0.5).correct
    correct = {("p", "a"): good, ("q", "a"): bad, ("p", "b"): bad, ("q", "b"): good}
    finding = preference(correct, {"a": "p", "b": "q"}, {"p": "all off", "q": "all on"}, seed=0)
    assert finding.found and (finding.task_a, finding.setting_p) == ("a", "p")
    assert finding.difference_a == pytest.approx(40) and finding.difference_b == pytest.approx(40)
    assert "a prefers all off and b prefers all on" in finding.text


def test_one_setting_that_is_better_everywhere_is_no_preference() -> None:
    good, bad = answers(0.9).correct, answers(0.5).correct
    correct = {("p", "a"): good, ("q", "a"): bad, ("p", "b"): good, ("q", "b"): bad}
    finding = preference(correct, {"a": "p", "b": "q"}, {"p": "all off", "q": "all on"}, seed=0)
    assert not finding.found and finding.text.startswith("No two tasks")


def test_equal_choices_leave_nothing_to_compare() -> None:
    assert not preference({}, {"a": "p", "b": "p"}, {"p": "all off"}, seed=0).found


def test_csv_reads_back_with_commas_and_other_scripts_inside_names() -> None:
    rows = [{"task": 'a,"b"', "settings": ("s0", "s1")}, {"task": "花", "settings": ()}]
    assert list(csv.DictReader(io.StringIO(as_csv(rows)))) == [
        {"task": 'a,"b"', "settings": "s0 s1"},
        {"task": "花", "settings": ""},
    ]


def test_the_printed_table_has_a_row_for_each_task_and_the_means() -> None:
    lines = format_table(transfer_scores(TABLE, seed=0), ["a", "b"]).splitlines()
    assert [line.split()[0] for line in lines] == ["task", "a", "b", "mean"]
    assert lines[-1].split() == ["mean", "50.0", "55.0", "55.0", "65.0"]


def test_time_side_by_side_counts_once_and_a_pause_not_at_all() -> None:
    assert busy_seconds([(10.0, 15.0), (0.0, 12.0), (1.0, 2.0), (100.0, 101.5)]) == 16.5
    assert busy_seconds([(3.0, 3.0)]) == busy_seconds([]) == 0.0


def test_busy_time_agrees_with_counting_seconds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.integers(0, 40, 6)
        spans = [(int(start), int(start + length)) for start, length in zip(starts, rng.integers(0, 9, 6), strict=True)]
        assert busy_seconds(spans) == len({second for span in spans for second in range(*span)})
