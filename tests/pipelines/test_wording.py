"""Numbers and findings in words."""

from __future__ import annotations

import shlex

import pytest

from pipelines.summary import Comparison, Preference, Score, Setting, Summary
from pipelines.wording import (
    count,
    duration,
    file_size,
    findings,
    headline,
    imbalance,
    moment,
    number,
    per_class,
    shell,
    signed,
    verdict,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (451.2, "7 min 31 s"),
        (3600, "1 h"),
        (11100, "3 h 5 min"),
        (1036800, "12 d"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_have_a_real_minus_sign_and_no_minus_zero() -> None:
    assert number(-1.25) == "−1.2" and number(-0.01) == "0.0" and number(None) == "–"
    assert signed(2.0) == "+2.0" and signed(-2.0) == "−2.0" and signed(0.0) == "0.0" and signed(-0.04) == "0.0"
    assert number(1e15) == "1e+15" and count(12345678) == "12\u202f345\u202f678" and count(10**30) == "1.00e+30"


def test_class_sizes_and_bytes_are_in_words() -> None:
    assert per_class([20, 20]) == "20 each" and per_class([3, 40, 10]) == "3 to 40, median 10" and per_class([]) == "–"
    assert imbalance([3, 40, 10]) == "13.3 times" and imbalance([5, 0, 0, 5]) == "1.0 times; 2 without images"
    assert imbalance([0]) == "–; 1 without images"
    assert file_size(2_580_480) == "2.6 MB" and file_size(41_000_000_000) == "41.0 GB"


def test_times_are_readable_and_other_text_is_left_alone() -> None:
    assert moment("2026-11-20T13:02:11+00:00") == "20 November 2026, 13:02 UTC"
    assert moment("2026-11-20T13:02:11") == "20 November 2026, 13:02"
    assert moment("yesterday") == "yesterday" and moment(None) == "at an unrecorded time"


def test_argument_lists_are_quoted_and_control_characters_shown() -> None:
    arguments = ("simpath", "run", "my tasks; rm -rf ~", "it's")
    assert shlex.split(shell(arguments)) == list(arguments)
    assert shell("a\x1b[2Jb\rc") == "a\\x1b[2Jb\\x0dc"


def test_a_difference_is_clear_only_off_zero() -> None:
    assert [verdict(ci) for ci in ((0.1, 2), (-2, -0.1), (-1, 1), (0.0, 1), None)] == [
        "above",
        "below",
        "open",
        "open",
        "unknown",
    ]


def made(tasks: list[str], **changes: object) -> Summary:
    scores = tuple(
        Score(task, method, score) for task in tasks for method, score in (("random weights", 60.0), ("chosen", 70.0))
    )
    return Summary("demo", "complete", "simpath demo", transfer=scores, **changes)  # type: ignore[arg-type]


def test_the_headline_of_one_task_of_several_and_of_none() -> None:
    better = Comparison("a", "chosen", "random weights", 10.0, (4.0, 16.0))
    assert headline(made(["a"], comparisons=(better,))) == (
        "On a, backbones pre-trained with the chosen parameters score 70.0 %: 10.0 points above random weights "
        "(95 % interval +4.0 to +16.0)."
    )
    assert headline(made(["a", "b"], comparisons=(better,))).endswith("they were not compared with random weights.")
    assert "nothing to conclude" in headline(made([]))


def test_a_worse_result_is_said_as_plainly() -> None:
    worse = Comparison("average", "chosen", "all_on", -3.0, (-5.0, -1.0))
    assert "3.0 points below varying everything (95 % interval −5.0 to −1.0)" in headline(
        made(["a", "b"], comparisons=(worse,))
    )


def test_a_task_without_a_score_of_the_chosen_gives_no_average() -> None:
    summary = made(["a", "b"])
    partial = Summary("demo", "partial", "simpath demo", transfer=summary.transfer[:-1])
    assert "not scored on every task" in headline(partial)


def test_the_preference_is_told_with_its_two_intervals_whether_found_or_not() -> None:
    settings = (Setting("s1", "asked 1", {}), Setting("s2", "asked 2", {}))
    for found, start in ((True, "The tasks a and b prefer"), (False, "No two tasks clearly prefer")):
        preference = Preference(found, "", "a", "b", "s1", "s2", 4.0, (1.0, 7.0), 2.0, (-1.0, 5.0))
        said = dict(findings(made(["a", "b"], settings=settings, preference=preference)))["Preferences"]
        assert said.startswith(start)
        assert "on a, “asked 1” minus “asked 2” is +4.0 points (95 % interval +1.0 to +7.0)" in said
        assert "on b, “asked 2” minus “asked 1” is +2.0 points (−1.0 to +5.0)" in said
    assert "not tested" in dict(findings(made(["a"])))["Preferences"]
