"""Normalised meshes on disk: one .npz per imported file, written by the importer, read by Blender's child."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.shapes import Mesh


@dataclass(frozen=True)
class FileMesh:
    """A mesh with what a file may bring besides its shape; a procedural model has none of it."""

    mesh: Mesh
    uv: npt.NDArray[np.float32] | None = None  # (F, 3, 2) texture coordinates of every corner
    colors: npt.NDArray[np.float32] | None = None  # (F, 3, 4) linear colours of every corner
    textures: dict[int, bytes] = field(default_factory=dict)
    """Base colour texture by slot, PNG."""


def write_mesh(path: Path, made: FileMesh) -> None:
    """Write under a temporary name and rename."""
    mesh = made.mesh
    arrays: dict[str, Any] = {
        "vertices": mesh.vertices,
        "faces": mesh.faces,
        "face_slots": mesh.face_slots,
        "face_smooth": mesh.face_smooth,
        "slots": np.array(mesh.slots, dtype=np.str_),
    }
    if made.uv is not None:
        arrays["uv"] = made.uv
    if made.colors is not None:
        arrays["colors"] = made.colors
    for slot, data in made.textures.items():
        arrays[f"texture{slot}"] = np.frombuffer(data, np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)


def read_mesh(path: Path) -> FileMesh:
    """Raises ValueError when the file is no mesh written by `write_mesh`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mesh = Mesh(
                arrays["vertices"],
                arrays["faces"],
                arrays["face_slots"],
                arrays["face_smooth"],
                tuple(str(name) for name in arrays["slots"]),
            )
            textures = {
                int(name.removeprefix("texture")): arrays[name].tobytes()
                for name in arrays.files
                if name.startswith("texture")
            }
            uv, colors = (arrays[name] if name in arrays.files else None for name in ("uv", "colors"))
            return FileMesh(mesh, uv, colors, textures)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} is no mesh file: {error}") from error
