"""Ways to choose on rewards that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.choices import WAYS, ways_to_choose
from pipelines.summary import Summary, Trial

ORIGINS = ("all_off", "all_on", "asked", "asked")
REWARDS = {"a": (50.0, 60.0, 90.0, 40.0), "b": (50.0, 70.0, 0.0, 80.0), "c": (50.0, 80.0, 30.0, 75.0)}


def summary(rewards: dict[str, tuple[float, ...]] = REWARDS, origins: tuple[str, ...] = ORIGINS) -> Summary:
    trials = tuple(
        Trial(order, task, f"s{order}", row[order], origin)
        for order, origin in enumerate(origins)
        for task, row in rewards.items()
    )
    chosen = {task: f"s{max(range(len(row)), key=row.__getitem__)}" for task, row in rewards.items()}
    return Summary("small", "complete", "simpath run small", trials=trials, chosen=chosen | {"c": "s3"})


def test_every_way_takes_the_setting_that_its_name_says() -> None:
    ways = {way.name: way for way in ways_to_choose(summary())}
    assert list(ways) == list(WAYS)
    rows = {name: tuple(way.rewards[task] for task in "abc") for name, way in ways.items()}
    assert rows["random"] == pytest.approx((60, 50, 58.75))
    assert rows["all_off"] == (50, 50, 50)
    assert rows["all_on"] == rows["best_fixed"] == (60, 70, 80)
    # without a: s3 has 77.5, s1 75; without b: s1 70, s2 60; without c: s1 65, s3 60
    assert rows["best_of_others"] == (40, 70, 80)
    assert rows["chosen"] == (90, 80, 75)
    assert rows["oracle"] == (90, 80, 80)
    random, oracle = 168.75 / 3, 250 / 3
    assert ways["oracle"].share == 1 and ways["random"].share == 0
    assert ways["chosen"].mean == pytest.approx(245 / 3)
    assert ways["chosen"].share == pytest.approx((245 / 3 - random) / (oracle - random))


def test_random_is_the_uniform_settings_where_some_were_drawn() -> None:
    ways = {way.name: way for way in ways_to_choose(summary(origins=("all_off", "all_on", "uniform", "asked")))}
    assert dict(ways["random"].rewards) == {"a": 90, "b": 0, "c": 30}


def test_one_task_has_no_fixed_setting_and_equal_rewards_no_gain() -> None:
    ways = {way.name: way for way in ways_to_choose(summary({"a": (50.0, 50.0, 50.0, 50.0)}))}
    assert set(ways) == set(WAYS) - {"best_fixed", "best_of_others"}
    assert all(way.share is None for way in ways.values())


def test_what_is_incomplete_is_not_compared() -> None:
    full = summary()
    assert len(full.trials) == 12
    assert ways_to_choose(dataclasses.replace(full, trials=full.trials[:-1])) == []
    unknown = dataclasses.replace(full.trials[4], reward=None)
    assert ways_to_choose(dataclasses.replace(full, trials=(*full.trials[:4], unknown, *full.trials[5:]))) == []
    assert ways_to_choose(dataclasses.replace(full, trials=())) == []
    assert "chosen" not in [way.name for way in ways_to_choose(dataclasses.replace(full, chosen={}))]
