"""Normalised meshes on disk: one .npz per imported file, read by Blender's child."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from sim.shapes import Mesh


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Write atomically; equal meshes give equal bytes of array data."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        vertices=mesh.vertices,
        faces=mesh.faces,
        face_slots=mesh.face_slots,
        face_smooth=mesh.face_smooth,
        slots=np.array(mesh.slots, dtype=np.str_),
    )
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)


def read_mesh(path: Path) -> Mesh:
    """Raises ValueError when the file is no mesh written by `write_mesh`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Mesh(
                arrays["vertices"],
                arrays["faces"],
                arrays["face_slots"],
                arrays["face_smooth"],
                tuple(str(name) for name in arrays["slots"]),
            )
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} is no mesh file: {error}") from error
