"""What one image becomes on disk: the members of its sample in a shard."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sim.labels import encode_labels
from sim.render import Shot
from sim.scene import SceneSpec

if TYPE_CHECKING:
    from sim.shards import RenderConfig


def sample_members(config: RenderConfig, spec: SceneSpec, shot: Shot) -> dict[str, bytes]:
    """The files of one sample by suffix."""
    record = _named_materials(dataclasses.asdict(spec))
    if spec.room is None:
        del record["room"]
    record |= {"seed": config.seed, "params": config.params.as_dict(), "size": config.size}
    if config.passes:
        focal = config.size / 2 / math.tan(math.radians(spec.field_of_view_deg) / 2)
        record["intrinsics_px"] = {"focal": focal, "center": [config.size / 2, config.size / 2]}
        record["objects"] = shot.objects
    return {
        config.format: encode_image(shot.pixels, config.format, config.quality),
        "cls": str(spec.class_id).encode(),
        "json": json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(),
        **encode_labels(shot.labels, config.passes),
    }


def _named_materials(record: Any) -> Any:
    """Materials by name only: the catalogue has the rest, and it would be most of the file."""
    if isinstance(record, dict):
        return record["name"] if "pattern_scale" in record else {k: _named_materials(v) for k, v in record.items()}
    return [_named_materials(item) for item in record] if isinstance(record, list | tuple) else record


def encode_image(pixels: np.ndarray, file_format: str, quality: int) -> bytes:
    """Encode uint8 (H, W, 3) as jpg, webp or png; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if file_format == "jpg":
        image.save(buffer, "JPEG", quality=quality)
    elif file_format == "webp":
        image.save(buffer, "WEBP", quality=quality)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
