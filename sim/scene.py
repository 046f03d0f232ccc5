"""One image as data: SceneSpec, complete enough that rendering draws nothing, and where its random draws happen.

`sample_scene` is pure: image `index` of a data set is a function of (catalogue, params, ranges, seed, index) only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt

from sim.params import SimParams, SimRanges
from sim.skies import PLAIN, SKIES

if TYPE_CHECKING:
    from sim.assets import AssetCatalog, ModelAsset

Vector3 = tuple[float, float, float]


@dataclass(frozen=True)
class MaterialSpec:
    """A procedural surface: a Principled BSDF over an optional noise pattern. Colours are linear RGB in 0 to 1."""

    name: str
    category: str
    """plastic, metal, wood, stone, fabric, glass, ceramic, concrete, paper, leather, skin, foliage ..."""
    base_color: Vector3
    second_color: Vector3
    """The pattern mixes base_color and second_color; equal colours mean no visible pattern."""
    pattern: str
    """none | noise | wood | marble | checker | brick | voronoi | stripes; or pictures: texture and vertex of a model's
    own file, maps of a texture set of the catalogue, found by `name`."""
    pattern_scale: float
    """Pattern repetitions per metre of object space (objects have a longest side of 1 m)."""
    metallic: float
    roughness: float
    transmission: float
    ior: float
    sheen: float
    coat: float
    bump: float
    """Strength of the bump that follows the pattern, 0 to 1; of "maps" the relief's depth in widths of the texture."""


@dataclass(frozen=True)
class PlacedObject:
    """One more object of a room, standing on its floor."""

    class_id: int
    class_name: str
    model: str
    place_m: tuple[float, float]
    """x and y of its centre."""
    rotation_deg: Vector3
    size_m: float
    """Its longest side."""
    materials: tuple[MaterialSpec, ...]


@dataclass(frozen=True)
class RoomSpec:
    """A floor at height 0 and three walls, centred on the origin, open towards -y and upwards."""

    width_m: float
    depth_m: float
    height_m: float
    floor: MaterialSpec
    walls: MaterialSpec
    look_at_m: Vector3
    """Where the camera looks."""
    place_m: tuple[float, float]
    """x and y of the image's own object, the one that gives it its class; it stands on the floor too."""
    size_m: float
    """Longest side of that object."""
    others: tuple[PlacedObject, ...]


@dataclass(frozen=True)
class SceneSpec:
    """Everything that one render needs. Lengths in metres, angles in degrees, right-handed, z up."""

    index: int
    """Position in the data set; also the image's key."""
    class_id: int
    class_name: str
    model: str
    """Model id inside the catalogue, `<class_name>/<n>`."""
    object_rotation_deg: Vector3
    """Euler angles about x, y, z (pitch, roll, yaw)."""
    camera_position_m: Vector3
    """The object's centre is the origin and the camera looks at it."""
    field_of_view_deg: float
    light_strength: float
    """Sun lamp irradiance, W/m^2."""
    light_color: Vector3
    light_direction: Vector3
    """Unit vector in which the light travels."""
    hdri: str
    """Name of the environment map in the catalogue, or of a computed one (`sim.skies`)."""
    hdri_rotation_deg: Vector3
    """Rotation of the environment about the object (turns the view direction, not the framing)."""
    hdri_strength: float
    focus_distance_m: float | None
    """None: everything in focus."""
    aperture_fstop: float | None
    materials: tuple[MaterialSpec, ...]
    """One per material slot of the model, in slot order."""
    room: RoomSpec | None = None
    """None: the object alone before its environment."""

    def all_materials(self) -> tuple[MaterialSpec, ...]:
        """Of everything in the picture."""
        if self.room is None:
            return self.materials
        others = tuple(material for other in self.room.others for material in other.materials)
        return (*self.materials, self.room.floor, self.room.walls, *others)


# What stands still when a parameter is off.
CANONICAL_ROTATION_DEG: Vector3 = (0.0, 0.0, 0.0)
CAMERA_POSITION_M: Vector3 = (-0.7, -1.26, 1.05)  # 1.8 m away
FIELD_OF_VIEW_DEG = 60.0
SUN_STRENGTH = 3.0
SUN_COLOR: Vector3 = (1.0, 1.0, 1.0)
SUN_DIRECTION: Vector3 = (0.2673, 0.5345, -0.8018)  # from the upper left behind the camera; (1, 2, -3) normalised
HDRI_STRENGTH = 1.0
NEAREST_FOCUS_M = 0.1

# Random materials are drawn for this many slots; a model with more starts again with the first.
SLOTS_DRAWN = 64


def sample_scene(
    catalog: AssetCatalog,
    params: SimParams,
    ranges: SimRanges,
    seed: int,
    index: int,
    *,
    models: Literal["all", "train", "heldout"] = "all",
) -> SceneSpec:
    """Draw image `index` of the data set with `seed`.

    Image i shows class i mod C and in it model (i div C) mod n_c. Every parameter draws from a stream of its own,
    `default_rng([seed, i, crc32(name)])`, a fixed count of numbers, whether it is on or off: switching one parameter
    changes no other draw, and any image can be drawn alone.

    Source: Task2Sim's generator (task2sim.md, sections 2.1 and 2.2). Deviations:

    1. What the original accumulates from image to image (light direction) or keeps for several images (skybox) is
       drawn anew for each image.
    2. Unity's (1, 1.5, 1.8) with y up, left-handed, objects looking along +z, becomes (-1, -1.8, 1.5) x 0.7 with z up,
       right-handed, objects looking along -y; it is relative to the object's centre, which is the origin (in the
       original the centre is lifted, so that the camera is 2.1 m away; small pictures want it nearer).
    3. Every model has a longest side of 1 m (the original clamps to a box and doubles tiny ones).
    4. The sun lamp and the environment are independent: `background` turns the environment only, and "off" is a
       white sun from behind the camera instead of the skybox's own sun.
    5. The light's intensity is a factor 1 + U(-0.6, 0.6) on the base strength (the original adds to an intensity of
       about 1).
    6. The light's direction is straight down, pitched about x and then yawed about z.
    7. The view direction against the environment is uniform on the sphere and keeps the horizon level in the
       camera's frame, as the original's yaw and pitch do.
    8. The focus distance stays at least 0.1 m; the f-stop is taken as it is, for Blender's 36 mm sensor.
    9. Random materials come from 141 procedural ones in the original's mix of categories, or from the texture sets of a
        folder.
    10. The appended levels are not the controller's: `background: plain` is an even grey and `sky` a computed clear sky
        in a random direction; `materials: random_per_model` is the original's unused level 2.
    11. The environments are the eight that Blender's wheel ships, or those of a folder (the original: 43 outdoor ones
        with a high sun); "fixed" is the first of them instead of fish_hoek_beach_4k.
    12. Plain sRGB: the picture's exposure, contrast and saturation stay as they are rendered (the original has post
        exposure 0.6, contrast -20, saturation +10).

    Args:
        models: "train" and "heldout" draw from disjoint halves of each class's models.

    Raises:
        ValueError: seed or index is negative, or a class has too few models for the split.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed is {seed} and index {index}; allowed: 0 and up")
    class_id = index % len(catalog.classes)
    class_name = catalog.classes[class_id]
    candidates = catalog.models(class_name, models)
    model = candidates[index // len(catalog.classes) % len(candidates)]

    def uniforms(name: str, count: int) -> npt.NDArray[np.float64]:
        return np.random.default_rng([seed, index, crc32(name.encode())]).random(count)

    rotation = [_between(ranges.rotation_deg, u) for u in uniforms("object_rotation", 3)]
    factor = _between(ranges.distance_factor, uniforms("object_distance", 1)[0])
    strength = SUN_STRENGTH * (1 + _between(ranges.light_intensity_offset, uniforms("light_intensity", 1)[0]))
    color = [_between(ranges.light_color_channel, u) for u in uniforms("light_color", 3)]
    yaw, pitch = uniforms("light_direction", 2)
    which, turn, height = uniforms("background", 3)
    sharp, focus, aperture = uniforms("focus_blur", 3)
    chosen = uniforms("materials", SLOTS_DRAWN)
    if params.materials == "random_per_model":
        chosen = model_uniforms(seed, model.id)

    if params.object_distance == "fixed":
        factor = 1.0
    camera = _vector(np.array(CAMERA_POSITION_M) * factor)
    blurred = params.focus_blur == "random" and sharp >= ranges.in_focus_probability
    distance = float(np.linalg.norm(camera))
    environments = {
        "fixed": (catalog.hdris[0].name,),
        "random": tuple(hdri.name for hdri in catalog.hdris),
        "plain": (PLAIN,),
        "sky": SKIES,
    }[params.background]
    return SceneSpec(
        index=index,
        class_id=class_id,
        class_name=class_name,
        model=model.id,
        object_rotation_deg=_vector(rotation) if params.object_rotation == "random" else CANONICAL_ROTATION_DEG,
        camera_position_m=camera,
        field_of_view_deg=FIELD_OF_VIEW_DEG,
        light_strength=strength if params.light_intensity == "random" else SUN_STRENGTH,
        light_color=_vector(color) if params.light_color == "random" else SUN_COLOR,
        light_direction=(
            _sun_direction(_between(ranges.light_yaw_deg, yaw), _between(ranges.light_pitch_deg, pitch))
            if params.light_direction == "random"
            else SUN_DIRECTION
        ),
        hdri=environments[int(which * len(environments))],
        hdri_rotation_deg=(
            _environment_rotation(turn, height) if params.background in ("random", "sky") else (0.0, 0.0, 0.0)
        ),
        hdri_strength=HDRI_STRENGTH,
        focus_distance_m=(max(NEAREST_FOCUS_M, distance + _between(ranges.focus_offset_m, focus)) if blurred else None),
        aperture_fstop=_between(ranges.aperture_fstop, aperture) if blurred else None,
        materials=model.natural if params.materials == "natural" else drawn_materials(catalog, model, chosen),
    )


def model_uniforms(seed: int, model: str) -> npt.NDArray[np.float64]:
    """What `materials: random_per_model` draws for a model, in whatever picture it is."""
    return np.random.default_rng([seed, crc32(model.encode()), crc32(b"materials")]).random(SLOTS_DRAWN)


def drawn_materials(
    catalog: AssetCatalog, model: ModelAsset, uniforms: npt.NDArray[np.float64]
) -> tuple[MaterialSpec, ...]:
    """One material of the catalogue for each slot of the model, from `SLOTS_DRAWN` numbers in 0 to 1."""
    return tuple(
        catalog.materials[int(uniforms[slot % SLOTS_DRAWN] * len(catalog.materials))]
        for slot in range(len(model.natural))
    )


def _between(limits: tuple[float, float], u: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * u)


def _vector(values: npt.ArrayLike) -> Vector3:
    x, y, z = (float(value) for value in np.asarray(values))
    return x, y, z


def _sun_direction(yaw_deg: float, pitch_deg: float) -> Vector3:
    """Straight down, turned about x by the pitch and then about z by the yaw."""
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    return _vector([-np.sin(yaw) * np.sin(pitch), np.cos(yaw) * np.sin(pitch), -np.cos(pitch)])


def _environment_rotation(turn: float, height: float) -> Vector3:
    """Euler angles (x, y, z) of the environment so that the camera looks at one of its directions, uniformly drawn.

    Two numbers in [0, 1) make a direction on the sphere (Archimedes). The rotation carries that direction's level
    camera frame onto the frame of the camera that looks at the origin.
    """
    z, angle = 2 * height - 1, 2 * np.pi * turn
    radius = np.sqrt(max(0.0, 1 - z * z))
    drawn = np.array([radius * np.cos(angle), radius * np.sin(angle), z])
    matrix = _level_frame(-np.array(CAMERA_POSITION_M)) @ _level_frame(drawn).T
    y = -np.arcsin(np.clip(matrix[2, 0], -1, 1))
    x, z_angle = np.arctan2(matrix[2, 1], matrix[2, 2]), np.arctan2(matrix[1, 0], matrix[0, 0])
    return _vector(np.degrees([x, y, z_angle]))


def _level_frame(forward: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Columns right, up, forward of a camera without roll, z up."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:  # straight up or down: any right will do
        right = np.array([1.0, 0.0, 0.0])
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(right, forward), forward], axis=1)
