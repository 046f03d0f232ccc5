"""Simulation parameters: what is chosen (SimParams), from what (ActionSpace), within which bounds (SimRanges).

Source: Task2Sim (Mishra et al., CVPR 2022), section 3 and the released generator; the Unity units of the original
are mapped to Blender's in `SimRanges`, one line per field.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

OnOff = Literal["fixed", "random"]


@dataclass(frozen=True)
class SimParams:
    """One choice of the eight Task2Sim parameters; the first level of each is "off".

    Levels may be appended to a field, never renamed or reordered: they are part of artifact digests.
    """

    object_rotation: Literal["canonical", "random"] = "canonical"
    object_distance: OnOff = "fixed"
    light_intensity: OnOff = "fixed"
    light_color: OnOff = "fixed"
    light_direction: OnOff = "fixed"
    background: Literal["fixed", "random", "plain", "sky"] = "fixed"
    """plain: an even grey; sky: a clear computed sky (`sim.skies`) seen in random directions."""
    focus_blur: Literal["off", "random"] = "off"
    materials: Literal["natural", "random", "random_per_model"] = "natural"
    """random: new for every image; random_per_model: drawn once for each model."""

    def __post_init__(self) -> None:
        for name, levels in parameter_levels().items():
            value = getattr(self, name)
            if value not in levels:
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(levels)}")

    def as_dict(self) -> dict[str, str]:
        return dataclasses.asdict(self)


def parameter_levels() -> dict[str, tuple[str, ...]]:
    """Levels of every parameter by name, read off the type annotations of `SimParams`."""
    hints = get_type_hints(SimParams)
    return {field.name: get_args(hints[field.name]) for field in dataclasses.fields(SimParams)}


@dataclass(frozen=True)
class ActionSpace:
    """Named parameters with any number of named levels; an action is one level index per parameter.

    Actions (tuples of indices) are for arithmetic only; everything that is written to a file is keyed by name
    through `to_levels`.
    """

    levels: tuple[tuple[str, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("an action space needs at least one parameter")
        names = [name for name, _ in self.levels]
        if len(set(names)) != len(names):
            raise ValueError(f"parameter named twice in {names}")
        for name, values in self.levels:
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} needs distinct levels, got {values}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.levels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of levels of each parameter."""
        return tuple(len(values) for _, values in self.levels)

    def actions(self) -> Iterator[tuple[int, ...]]:
        """Every action, the last parameter varying fastest; the first is all off, the last is all on."""
        return itertools.product(*(range(size) for size in self.sizes))

    def to_levels(self, action: tuple[int, ...]) -> dict[str, str]:
        if len(action) != len(self.levels):
            raise ValueError(f"action {action} has {len(action)} entries, the space has {len(self.levels)} parameters")
        return {name: values[index] for (name, values), index in zip(self.levels, action, strict=True)}

    def from_levels(self, levels: Mapping[str, str]) -> tuple[int, ...]:
        """Inverse of `to_levels`. Raises ValueError naming a missing, unknown or misspelt entry."""
        if unknown := sorted(set(levels) - set(self.names)):
            raise ValueError(f"unknown parameter {unknown[0]!r}; allowed: {', '.join(self.names)}")
        action = []
        for name, values in self.levels:
            if name not in levels:
                raise ValueError(f"parameter {name!r} is missing; needed: {', '.join(self.names)}")
            if levels[name] not in values:
                raise ValueError(f"{name} is {levels[name]!r}; allowed: {', '.join(values)}")
            action.append(values.index(levels[name]))
        return tuple(action)


# The published action space: two levels of each parameter, 2^8 = 256 settings. Levels appended to SimParams
# later do not enter it.
TASK2SIM_SPACE = ActionSpace(tuple((name, levels[:2]) for name, levels in parameter_levels().items()))


def all_off(space: ActionSpace = TASK2SIM_SPACE) -> tuple[int, ...]:
    """No variation: the first level of every parameter."""
    return tuple(0 for _ in space.levels)


def all_on(space: ActionSpace = TASK2SIM_SPACE) -> tuple[int, ...]:
    """Domain randomisation: the last level of every parameter."""
    return tuple(size - 1 for size in space.sizes)


@dataclass(frozen=True)
class SimRanges:
    """Bounds [low, high] of the uniform distributions behind the "random" levels.

    Mapping of the original's Unity units (task2sim.md, table 2.1):
    1. Rotation: pitch, yaw and roll each uniform in degrees, as in the original.
    2. Distance: factor on the camera-object distance, as in the original.
    3. Light intensity: the original adds U(-0.6, 0.6) to a sun of intensity about 1; here it is a factor 1 + U on
       the sun lamp's strength.
    4. Light colour: each RGB channel uniform, linear, as in the original.
    5. Light direction: drawn anew per image (the original accumulates rotations) with yaw and pitch over the full
       circle, below the horizon included.
    6. Focus: offset of the focus distance in metres; the original's aperture (Unity f-stop 0.5-1.2 at its object
       scale) is Blender's `aperture_fstop`; `in_focus_probability` of the images stay sharp.
    """

    rotation_deg: tuple[float, float] = (-180.0, 180.0)
    distance_factor: tuple[float, float] = (0.4, 1.5)
    light_intensity_offset: tuple[float, float] = (-0.6, 0.6)
    light_color_channel: tuple[float, float] = (0.05, 1.0)
    light_yaw_deg: tuple[float, float] = (0.0, 360.0)
    light_pitch_deg: tuple[float, float] = (0.0, 360.0)
    focus_offset_m: tuple[float, float] = (-1.0, 1.0)
    aperture_fstop: tuple[float, float] = (0.5, 1.2)
    in_focus_probability: float = 0.25

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not (len(value) == 2 and -math.inf < value[0] <= value[1] < math.inf):
                raise ValueError(f"{field.name} is {value}; allowed: (low, high), finite, with low <= high")
        if self.distance_factor[0] <= 0:
            raise ValueError(f"distance_factor is {self.distance_factor}; allowed: low > 0")
        if self.aperture_fstop[0] <= 0:
            raise ValueError(f"aperture_fstop is {self.aperture_fstop}; allowed: low > 0")
        if self.light_intensity_offset[0] < -1:
            raise ValueError(f"light_intensity_offset is {self.light_intensity_offset}; allowed: low >= -1")
        low, high = self.light_color_channel
        if low < 0 or high > 1:
            raise ValueError(f"light_color_channel is {self.light_color_channel}; allowed: within 0 to 1")
        if not 0 <= self.in_focus_probability <= 1:
            raise ValueError(f"in_focus_probability is {self.in_focus_probability}; allowed: 0 to 1")
