"""Reader for the OpenEXR files that Blender writes for label passes: one part, scan lines, not compressed; and the
size of any other.

Format: openexr.com, "OpenEXR File Layout". OpenCV cannot read files with named layers, and bpy gives no access to
the passes of a render.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

MAGIC = b"\x76\x2f\x31\x01"
TYPES: dict[int, np.dtype[np.generic]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}


def read_exr(data: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """Channels (H, W) by name, for example "labels.Depth.Z".

    Raises:
        ValueError: not OpenEXR, or tiled, compressed or of several parts.
    """
    if data[:4] != MAGIC:
        raise ValueError("not an OpenEXR file")
    (version,) = struct.unpack_from("<I", data, 4)
    if version >> 8 & ~0x4:  # bit 10 (long names) is harmless
        raise ValueError(f"OpenEXR file with flags {version >> 8:#x}; only single-part scan lines are read")
    attributes, position = _attributes(data, 8)
    if attributes["compression"] != b"\0":
        raise ValueError("compressed OpenEXR file; only uncompressed ones are read")
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    channels = _channels(attributes["channels"])
    offsets = struct.unpack_from(f"<{height}Q", data, position)
    line = np.dtype([(name, kind, (width,)) for name, kind in channels])
    lines = np.empty(height, line)
    for offset in offsets:
        number, _ = struct.unpack_from("<ii", data, offset)  # and the length of what follows
        lines[number - top] = np.frombuffer(data, line, 1, offset + 8)[0]
    return {name: lines[name].astype(np.float32) for name, _ in channels}


def exr_size(head: bytes) -> tuple[int, int]:
    """Width and height by the header, of any kind of OpenEXR file; `head` are its first kilobytes.

    Raises:
        ValueError: not OpenEXR, or a header that is longer than `head`.
    """
    if head[:4] != MAGIC:
        raise ValueError("not an OpenEXR file")
    try:
        window = _attributes(head, 8)[0]["dataWindow"]
        left, top, right, bottom = struct.unpack("<4i", window)
    except (IndexError, KeyError, struct.error):
        raise ValueError("an OpenEXR file with a damaged header") from None
    return right - left + 1, bottom - top + 1


def _attributes(data: bytes, position: int) -> tuple[dict[str, bytes], int]:
    attributes = {}
    while data[position] != 0:
        name, position = _text(data, position)
        _, position = _text(data, position)
        (size,) = struct.unpack_from("<I", data, position)
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    return attributes, position + 1


def _channels(data: bytes) -> list[tuple[str, np.dtype[np.generic]]]:
    channels: list[tuple[str, np.dtype[np.generic]]] = []
    position = 0
    while data[position] != 0:
        name, position = _text(data, position)
        (kind,) = struct.unpack_from("<i", data, position)
        channels.append((name, TYPES[kind]))
        position += 16
    return channels


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1
