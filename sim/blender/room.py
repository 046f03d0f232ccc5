"""Floor and walls of a room inside Blender."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from sim.blender.objects import TextureStore, blender_mesh
from sim.blender.patterns import Surface
from sim.meshfile import FileMesh
from sim.scene import MaterialSpec, RoomSpec
from sim.shapes import Mesh

FLOOR_INDEX, WALL_INDEX = 1001, 1002
"""Object indices in the label passes, apart from those of the objects."""

# Unit quads: corner signs in half widths, half depths, heights. The floor; then the walls left, back and right.
_FLOOR = [[(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]]
_WALLS = [
    [(-1, 1, 0), (-1, 1, 1), (-1, -1, 1), (-1, -1, 0)],
    [(1, 1, 0), (1, 1, 1), (-1, 1, 1), (-1, 1, 0)],
    [(1, -1, 0), (1, -1, 1), (1, 1, 1), (1, 1, 0)],
]


class Room:
    """Two objects whose corners move to the size of the room; far away while there is none."""

    def __init__(self, textures: TextureStore) -> None:
        self._floor = _Plane("floor", _FLOOR, FLOOR_INDEX, textures)
        self._walls = _Plane("walls", _WALLS, WALL_INDEX, textures)
        self.objects = (self._floor.blender, self._walls.blender)
        self.hide()

    def show(self, spec: RoomSpec, turn: Matrix) -> None:
        size = (spec.width_m / 2, spec.depth_m / 2, spec.height_m)
        self._floor.show(size, spec.floor, turn)
        self._walls.show(size, spec.walls, turn)

    def hide(self) -> None:
        for thing in self.objects:
            thing.hide_render = True


class _Plane:
    def __init__(self, name: str, quads: list[list[tuple[int, int, int]]], index: int, textures: TextureStore) -> None:
        self._textures = textures
        self._corners = np.array(quads, np.float32).reshape(-1, 3)
        faces = [
            face for q in range(len(quads)) for face in ((4 * q, 4 * q + 1, 4 * q + 2), (4 * q, 4 * q + 2, 4 * q + 3))
        ]
        mesh = Mesh(
            self._corners,
            np.array(faces, np.int32),
            np.zeros(len(faces), np.int16),
            np.zeros(len(faces), bool),
            (name,),
        )
        self.blender = bpy.data.objects.new(name, blender_mesh(name, FileMesh(mesh)))
        self.blender.pass_index = index
        bpy.context.scene.collection.objects.link(self.blender)
        self._surfaces: dict[str, Surface] = {}

    def show(self, size: tuple[float, float, float], material: MaterialSpec, turn: Matrix) -> None:
        mesh = self.blender.data
        mesh.vertices.foreach_set("co", (self._corners * np.array(size, np.float32)).ravel())
        if material.pattern not in self._surfaces:
            self._surfaces[material.pattern] = Surface(f"{self.blender.name}-{material.pattern}", material.pattern)
        surface = self._surfaces[material.pattern]
        surface.show(material, self._textures.maps(material))
        mesh.materials[0] = surface.blender
        mesh.update()
        self.blender.matrix_world = turn
        self.blender.hide_render = False
