"""Simulation parameters, the action space of the controller, and the bounds of the distributions."""

from __future__ import annotations

import dataclasses
import math

import pytest

from sim.params import TASK2SIM_SPACE, ActionSpace, SimParams, SimRanges, all_off, all_on, parameter_levels


def test_there_are_eight_parameters_whose_first_level_is_off() -> None:
    assert len(parameter_levels()) == 8
    assert SimParams().as_dict() == {name: levels[0] for name, levels in parameter_levels().items()}
    assert all(levels[0] in {"canonical", "fixed", "off", "natural"} for levels in parameter_levels().values())


def test_the_published_space_has_256_different_settings() -> None:
    actions = list(TASK2SIM_SPACE.actions())
    assert len(actions) == len(set(actions)) == 256
    assert TASK2SIM_SPACE.sizes == (2,) * 8
    assert dict(TASK2SIM_SPACE.levels)["background"] == ("fixed", "random")  # appended levels stay outside
    assert dict(TASK2SIM_SPACE.levels)["materials"] == ("natural", "random")
    assert actions[0] == all_off() == (0,) * 8
    assert actions[-1] == all_on() == (1,) * 8


def test_levels_survive_the_round_trip_for_every_setting() -> None:
    for action in TASK2SIM_SPACE.actions():
        levels = TASK2SIM_SPACE.to_levels(action)
        assert TASK2SIM_SPACE.from_levels(levels) == action
        assert SimParams(**levels).as_dict() == levels  # type: ignore[arg-type]


def test_the_last_bit_of_an_action_is_the_materials() -> None:
    one, other = TASK2SIM_SPACE.to_levels((0,) * 8), TASK2SIM_SPACE.to_levels((0,) * 7 + (1,))
    assert {name for name in one if one[name] != other[name]} == {"materials"}


def test_records_are_keyed_by_name_whatever_their_order() -> None:
    levels = TASK2SIM_SPACE.to_levels(all_on())
    assert TASK2SIM_SPACE.from_levels(dict(reversed(levels.items()))) == all_on()


@pytest.mark.parametrize("field", list(parameter_levels()))
def test_a_misspelt_level_is_named_with_what_is_allowed(field: str) -> None:
    with pytest.raises(ValueError, match=rf"{field} is 'randm'; allowed: .*random"):
        SimParams(**{field: "randm"})


def test_from_levels_names_what_is_wrong() -> None:
    levels = TASK2SIM_SPACE.to_levels(all_off())
    with pytest.raises(ValueError, match="unknown parameter 'fog'"):
        TASK2SIM_SPACE.from_levels({**levels, "fog": "on"})
    with pytest.raises(ValueError, match="'background' is missing"):
        TASK2SIM_SPACE.from_levels({name: level for name, level in levels.items() if name != "background"})
    with pytest.raises(ValueError, match="background is 'sea'"):
        TASK2SIM_SPACE.from_levels({**levels, "background": "sea"})


def test_an_action_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="3 entries"):
        TASK2SIM_SPACE.to_levels((0, 0, 0))


@pytest.mark.parametrize("levels", [(), (("a", ("x",)), ("a", ("y",))), (("a", ()),), (("a", ("x", "x")),)])
def test_a_space_that_makes_no_sense_is_refused(levels: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    with pytest.raises(ValueError, match=r"parameter|distinct levels"):
        ActionSpace(levels)


def test_a_space_may_have_more_than_two_levels() -> None:
    space = ActionSpace((("a", ("x", "y", "z")), ("b", ("p", "q"))))
    assert len(list(space.actions())) == 6
    assert space.to_levels(all_on(space)) == {"a": "z", "b": "q"}


def test_the_default_ranges_are_those_of_the_paper() -> None:
    ranges = SimRanges()
    assert ranges.rotation_deg == (-180, 180)
    assert ranges.distance_factor == (0.4, 1.5)
    assert ranges.light_intensity_offset == (-0.6, 0.6)
    assert ranges.light_color_channel == (0.05, 1)
    assert ranges.aperture_fstop == (0.5, 1.2)
    assert ranges.in_focus_probability == 0.25


@pytest.mark.parametrize(
    "field", [field.name for field in dataclasses.fields(SimRanges) if field.name != "in_focus_probability"]
)
def test_a_range_with_low_above_high_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SimRanges(**{field: (0.9, 0.2)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("distance_factor", (0.0, 1.0)),
        ("aperture_fstop", (0.0, 1.0)),
        ("light_intensity_offset", (-1.5, 0.0)),
        ("light_color_channel", (0.0, 1.2)),
        ("rotation_deg", (-math.inf, math.inf)),
        ("focus_offset_m", (math.nan, 1.0)),
        ("light_yaw_deg", (0.0, math.nan)),
        ("in_focus_probability", 1.5),
    ],
)
def test_a_range_that_cannot_be_rendered_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SimRanges(**{field: value})  # type: ignore[arg-type]
