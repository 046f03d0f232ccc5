"""Two-stage bootstrap intervals against known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from transfer.intervals import Pair, accuracy, average_difference, difference


def test_interval_of_one_seed_is_the_binomial_one() -> None:
    correct = (np.arange(400) < 300)[None]
    estimate = accuracy(correct, seed=0)
    half_width = 1.96 * np.sqrt(0.75 * 0.25 / 400) * 100
    assert estimate.mean == 75
    assert estimate.ci95 == pytest.approx((75 - half_width, 75 + half_width), abs=0.5)


def test_the_multinomial_shortcut_equals_drawing_images_one_by_one() -> None:
    rng = np.random.default_rng(3)
    correct = rng.random((1, 200)) < 0.7
    slow = [100 * correct[0, rng.integers(0, 200, 200)].mean() for _ in range(4000)]
    assert accuracy(correct, seed=0).ci95 == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.6)
    assert accuracy(np.ones((1, 10)), seed=0).ci95 == (100, 100)


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    agreeing = np.stack([rng.random(2000) < 0.7 for _ in range(3)])
    disagreeing = np.stack([rng.random(2000) < rate for rate in (0.5, 0.7, 0.9)])
    narrow, wide = accuracy(agreeing, seed=0), accuracy(disagreeing, seed=0)
    assert wide.ci95[1] - wide.ci95[0] > 3 * (narrow.ci95[1] - narrow.ci95[0])


def test_pairing_removes_what_both_sides_share() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(1000) < 0.5
    better = easy | (rng.random(1000) < 0.04)
    paired = difference(Pair(better[None], easy[None]), seed=0)
    assert paired.excludes_zero and paired.ci95[1] - paired.ci95[0] < 3.5
    assert paired.p_value < 0.05 and paired.mean == pytest.approx(100 * (better.mean() - easy.mean()))
    assert difference(Pair(easy[None], better[None]), seed=0).ci95[1] < 0


def test_a_method_does_not_differ_from_itself() -> None:
    correct = (np.arange(50) % 3 == 0)[None]
    estimate = difference(Pair(correct, correct), seed=0)
    assert estimate.mean == 0 and estimate.ci95 == (0, 0) and not estimate.excludes_zero
    assert estimate.p_value == 1


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(40):
        a, b = rng.random((1, 300)) < 0.6, rng.random((1, 300)) < 0.5
        low, high = difference(Pair(a, b), seed=trial).ci95
        hits += low <= 10 <= high
    assert 34 <= hits <= 40


def test_average_weighs_tasks_equally_whatever_their_size() -> None:
    small = Pair(np.ones((1, 10)), np.zeros((1, 10)))
    large = Pair(np.ones((1, 1000)), np.ones((1, 1000)))
    assert average_difference([small, large], seed=0).mean == 50


def test_other_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="10 and 11 test images"):
        difference(Pair(np.ones((1, 10)), np.ones((1, 11))), seed=0)


def test_the_same_backbones_are_drawn_alike_on_both_sides() -> None:
    correct = np.stack([np.arange(100) < count for count in (40, 60, 80)])
    assert difference(Pair(correct, correct, "asked 1", "asked 1"), seed=0).ci95 == (0, 0)
    low, high = difference(Pair(correct, correct, "asked 1", "asked 2"), seed=0).ci95
    assert low < -10 and high > 10
    with pytest.raises(ValueError, match="asked 1: 3 and 2 rows"):
        difference(Pair(correct, correct[:2], "asked 1", "asked 1"), seed=0)


def test_backbones_behind_several_tasks_do_not_average_out() -> None:
    """Three seeds of 40, 60 and 80 %: over 16 tasks their spread stays if they are the same seeds, else it shrinks."""
    rng = np.random.default_rng(0)
    correct = [np.stack([rng.random(4000) < rate for rate in (0.4, 0.6, 0.8)]) for _ in range(16)]
    zero = np.zeros((1, 4000))
    shared = average_difference([Pair(stack, zero, "one", "none") for stack in correct], seed=0)
    apart = average_difference([Pair(stack, zero, str(task), "none") for task, stack in enumerate(correct)], seed=0)
    widths = [estimate.ci95[1] - estimate.ci95[0] for estimate in (shared, apart)]
    assert widths[0] > 3 * widths[1] and widths[0] > 25
