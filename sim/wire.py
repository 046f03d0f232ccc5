"""What a renderer and its Blender child say to each other: settings and scenes in, pixels out.

The parent writes one JSON object per line to the child's stdin: first the settings, then one request per
image. The child answers on its original stdout with frames: two little-endian uint32 (length of a JSON
head, length of the payload), the head, the payload. Nothing here needs Blender.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sim.scene import MaterialSpec, PlacedObject, RoomSpec, SceneSpec

Device = Literal["cpu", "cuda", "optix", "hip"]
Denoiser = Literal["none", "oidn"]
HEAD = struct.Struct("<II")


@dataclass(frozen=True)
class RenderSettings:
    """Everything about the picture that is not the scene."""

    size: int = 224
    """Width and height in pixels."""
    samples: int = 2
    """Paths per pixel."""
    denoiser: Denoiser = "oidn"
    """Open Image Denoise on the CPU, or none. Two denoised samples at 224 px are nearer to the truth than 16 plain ones
    and cost a third; at 64 px denoising gains little (docs/decisions.md)."""
    max_bounces: int = 8
    diffuse_bounces: int = 3
    glossy_bounces: int = 4
    """BlenderProc's default of 0 turns metal black."""
    transmission_bounces: int = 8
    """BlenderProc's default of 0 turns glass black; a closed vessel is crossed by four surfaces."""
    clamp_indirect: float = 10.0
    """Upper bound of an indirect sample's brightness, against fireflies; 0 is off."""
    light_tree: bool = True
    """Chooses between sun and environment at each point: 0.9 dB at 64 px and 8 samples for 3 % of the time."""
    importance_map: int = 256
    """Width of the environment's importance map in pixels; it is rebuilt whenever the environment changes."""
    labels: bool = False
    """Label maps and object records with every picture."""

    def __post_init__(self) -> None:
        for name, low, high in (("size", 16, 8192), ("samples", 1, 65536), ("importance_map", 4, 8192)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; allowed: {low} to {high}")
        if self.denoiser not in ("none", "oidn"):
            raise ValueError(f"denoiser is {self.denoiser!r}; allowed: none, oidn")


def spec_to_json(spec: SceneSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec)


def spec_from_json(record: Mapping[str, Any]) -> SceneSpec:
    """Inverse of `spec_to_json` after a round trip through JSON, which turns tuples into lists."""
    room = record["room"]
    return SceneSpec(**_fields(record) | {"room": None if room is None else _room_from_json(room)})


def _room_from_json(record: Mapping[str, Any]) -> RoomSpec:
    surfaces = {name: MaterialSpec(**_fields(record[name])) for name in ("floor", "walls")}
    others = tuple(PlacedObject(**_fields(item)) for item in record["others"])
    return RoomSpec(**_fields(record) | surfaces | {"others": others})


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: _tuples(value) for name, value in record.items()}
    if "materials" in record:
        fields["materials"] = tuple(MaterialSpec(**_fields(item)) for item in record["materials"])
    return fields


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def pack_line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def pack_frame(head: Mapping[str, Any], payload: bytes = b"") -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return HEAD.pack(len(text), len(payload)) + text + payload


def split_frame(buffer: bytearray) -> tuple[dict[str, Any], bytes] | None:
    """Cut one complete frame off the front of `buffer`; None when more bytes are needed."""
    if len(buffer) < HEAD.size:
        return None
    text_length, payload_length = HEAD.unpack_from(buffer)
    end = HEAD.size + text_length + payload_length
    if len(buffer) < end:
        return None
    head = json.loads(bytes(buffer[HEAD.size : HEAD.size + text_length]))
    payload = bytes(buffer[HEAD.size + text_length : end])
    del buffer[:end]
    return head, payload


def unpack_arrays(shapes: Sequence[Sequence[Any]], payload: bytes) -> dict[str, np.ndarray]:
    """Arrays by name from their [name, dtype, shape] and their bytes one after another."""
    arrays, position = {}, 0
    for name, kind, shape in shapes:
        array = np.frombuffer(payload, np.dtype(kind), math.prod(shape), position).reshape(shape)
        arrays[name] = array
        position += array.nbytes
    return arrays
