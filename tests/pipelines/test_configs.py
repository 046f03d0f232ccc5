"""Configs survive the trip through JSON, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pipelines.configs import canonical, from_json, json_digest, to_json
from sim.params import SimParams, SimRanges


@dataclass(frozen=True)
class Inner:
    span: tuple[float, float] = (0.0, 1.0)
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    mode: Literal["fast", "exact"]
    rate: float = 0.1
    steps: int | None = None
    flag: bool = False
    inner: Inner = Inner()
    weights: dict[str, float] | None = None


FULL = Outer("exact", rate=0.5, steps=3, flag=True, inner=Inner((1.0, 2.0), ("a", "b")), weights={"x": 1.0})


@pytest.mark.parametrize("config", [Outer("fast"), FULL, SimParams(background="random"), SimRanges()], ids=repr)
def test_a_config_survives_the_trip_through_json(config: Any) -> None:
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "slow"}, "config.mode is 'slow'; allowed: fast, exact"),
        ({"colour": 1}, "unknown field 'colour'; allowed: mode"),
        ({"rate": "0.1"}, "config.rate is '0.1'; allowed: float"),
        ({"rate": True}, "config.rate is True; allowed: float"),
        ({"steps": 1.5}, "config.steps is 1.5"),
        ({"flag": 1}, "config.flag is 1; allowed: bool"),
        ({"inner": {"span": [1.0], "names": []}}, "config.inner.span has 1 entries; allowed: 2"),
        ({"inner": {"names": [1]}}, r"config.inner.names\[0\] is 1; allowed: str"),
        ({"weights": {"x": "y"}}, "config.weights"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Outer, {**to_json(FULL), **change})


def test_a_missing_field_without_default_is_named() -> None:
    with pytest.raises(ValueError, match="misses the field 'mode'"):
        from_json(Outer, {})


def test_the_configs_own_checks_run() -> None:
    with pytest.raises(ValueError, match="distance_factor"):
        from_json(SimRanges, {"distance_factor": [2.0, 1.0]})


@pytest.mark.parametrize("value", [{"p": Path("x")}, {"f": float("nan")}, {1: 2}, {"o": object()}])
def test_what_json_cannot_restore_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="config holds"):
        to_json(value)


def test_equal_configs_have_equal_digests_whatever_the_spelling_of_a_number() -> None:
    assert json_digest(canonical(Outer("fast", rate=1))) == json_digest(canonical(Outer("fast", rate=1.0)))
    assert json_digest(canonical(Outer("fast", rate=1))) != json_digest(canonical(Outer("fast", rate=2)))
    assert json_digest({"b": 1, "a": 2}) == json_digest({"a": 2, "b": 1})
