"""SceneSpec -> Blender scene. Runs inside the Blender child only.

The scene is made once (objects, one sun, one camera, one environment) and changed from image to image. The
environment never turns: Cycles would rebuild its importance map, so everything else turns the other way, which is
the same picture. Only another HDRI costs a new map (about 7 ms at 64 px), so the parent sends scenes grouped by HDRI.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import blenderproc.python.camera.CameraUtility as camera_api
import bpy
import numpy as np
from blenderproc.python.types.LightUtility import Light
from mathutils import Euler, Matrix, Vector

from sim.blender.environment import Environment
from sim.blender.objects import MeshStore, Stand, TextureStore, vertices_of
from sim.blender.room import Room
from sim.scene import SceneSpec

if TYPE_CHECKING:
    from sim.meshfile import FileMesh


@dataclass(frozen=True)
class Placed:
    """One object of the current scene."""

    mesh: bpy.types.Mesh
    pose: np.ndarray  # (4, 4) model to world
    class_id: int


class SceneBuilder:
    """Holds the one scene of this process; `show` changes it.

    Args:
        load_mesh: model id -> mesh; called when a model is not kept from an earlier image.
        hdri_path: HDRI name -> file.
        importance_map: width of the environment's importance map, pixels.
        texture_path: name of a material with the pattern "maps" -> its maps.
    """

    def __init__(
        self,
        load_mesh: Callable[[str], FileMesh],
        hdri_path: Callable[[str], Path],
        *,
        importance_map: int,
        texture_path: Callable[[str], Path],
    ) -> None:
        self._store = MeshStore(load_mesh)
        self._textures = TextureStore(texture_path)
        self._stands: list[Stand] = []
        self._room: Room | None = None
        self.on_new_object: Callable[[bpy.types.Object], None] = lambda _: None
        self.placed: list[Placed] = []
        """What the scene shows now, the image's own object first."""
        self._sun = Light("SUN", "sun")
        self._sun.blender_obj.data.angle = math.radians(2.0)  # a slightly hazy sun: shadows with soft edges
        self.camera = bpy.context.scene.camera
        self._environment = Environment(hdri_path, importance_map=importance_map)

    def show(self, spec: SceneSpec) -> None:
        """Make the Blender scene equal to `spec`."""
        self._textures.trim()
        turn = _rotation(spec.hdri_rotation_deg).inverted()
        self.placed = self._show_objects(spec, turn)
        self._show_room(spec, turn)
        self._show_light(spec, turn)
        self._show_camera(spec, turn)
        self._environment.show(spec.hdri, spec.hdri_strength)
        # Another noise pattern per image: a network must not find the same grain in every picture.
        bpy.context.scene.cycles.seed = spec.index % 2**31

    def objects(self) -> list[bpy.types.Object]:
        """Everything solid that exists so far, hidden or not."""
        room = [] if self._room is None else list(self._room.objects)
        return [stand.blender for stand in self._stands] + room

    def _show_objects(self, spec: SceneSpec, turn: Matrix) -> list[Placed]:
        """The image's own object and, in a room, the others; poses before the world's turn."""
        rotation = _rotation(spec.object_rotation_deg)
        wanted = [(spec.model, spec.materials, rotation, spec.class_id)]
        places: list[tuple[float, float] | None] = [None]
        if spec.room is not None:
            places = [spec.room.place_m]
            wanted[0] = (spec.model, spec.materials, Matrix.Scale(spec.room.size_m, 4) @ rotation, spec.class_id)
            for other in spec.room.others:
                pose = Matrix.Scale(other.size_m, 4) @ _rotation(other.rotation_deg)
                wanted.append((other.model, other.materials, pose, other.class_id))
                places.append(other.place_m)
        while len(self._stands) < len(wanted):
            self._stands.append(Stand(len(self._stands), self._store, self._textures))
            self.on_new_object(self._stands[-1].blender)
        placed = []
        for stand, (model, materials, shape, class_id), place in zip(self._stands, wanted, places, strict=False):
            mesh = self._store.mesh(model)
            pose = shape if place is None else Matrix.Translation((*place, -_lowest(mesh, shape))) @ shape
            stand.show(model, materials, turn @ pose)
            placed.append(Placed(mesh, np.array(turn @ pose), class_id))
        for stand in self._stands[len(wanted) :]:
            stand.hide()
        return placed

    def _show_room(self, spec: SceneSpec, turn: Matrix) -> None:
        if spec.room is None:
            if self._room is not None:
                self._room.hide()
            return
        if self._room is None:
            self._room = Room(self._textures)
            for thing in self._room.objects:
                self.on_new_object(thing)
        self._room.show(spec.room, turn)

    def _show_light(self, spec: SceneSpec, turn: Matrix) -> None:
        self._sun.set_energy(spec.light_strength)
        self._sun.set_color(spec.light_color)
        direction = turn.to_3x3() @ Vector(spec.light_direction)
        self._sun.set_local2world_mat(direction.to_track_quat("-Z", "Y").to_matrix().to_4x4())

    def _show_camera(self, spec: SceneSpec, turn: Matrix) -> None:
        position = Vector(spec.camera_position_m)
        target = Vector(spec.room.look_at_m) if spec.room is not None else Vector()
        upright = (target - position).to_track_quat("-Z", "Y").to_matrix().to_4x4()
        self.camera.matrix_world = turn @ Matrix.Translation(position) @ upright
        camera_api.set_intrinsics_from_blender_params(
            lens=math.radians(spec.field_of_view_deg), lens_unit="FOV", clip_start=0.01, clip_end=100.0
        )
        focus = self.camera.data.dof
        focus.use_dof = spec.focus_distance_m is not None
        if spec.focus_distance_m is not None and spec.aperture_fstop is not None:
            focus.focus_distance = spec.focus_distance_m
            focus.aperture_fstop = spec.aperture_fstop


def _rotation(angles_deg: Sequence[float]) -> Matrix:
    return Euler([math.radians(angle) for angle in angles_deg], "XYZ").to_matrix().to_4x4()


def _lowest(mesh: bpy.types.Mesh, pose: Matrix) -> float:
    """Height of the lowest vertex in a pose, so that the object can stand on a floor."""
    return float((vertices_of(mesh) @ np.array(pose, np.float32)[2, :3]).min())
