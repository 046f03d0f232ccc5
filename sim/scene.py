"""One image as data: SceneSpec, complete enough that rendering draws nothing, and where its random draws happen.

`sample_scene` is pure: image `index` of a data set is a function of (catalogue, params, ranges, seed, index) only.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """none | noise | wood | marble | checker | brick | voronoi | stripes"""
    pattern_scale: float
    """Pattern repetitions per metre of object space (objects have a longest side of 1 m)."""
    metallic: float
    roughness: float
    transmission: float
    ior: float
    sheen: float
    coat: float
    bump: float
    """Strength of the bump that follows the pattern, 0 to 1."""


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
    """Name of the environment map in the catalogue."""
    hdri_rotation_deg: Vector3
    """Rotation of the environment about the object (turns the view direction, not the framing)."""
    hdri_strength: float
    focus_distance_m: float | None
    """None: everything in focus."""
    aperture_fstop: float | None
    materials: tuple[MaterialSpec, ...]
    """One per material slot of the model, in slot order."""
