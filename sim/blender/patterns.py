"""Node trees of the procedural surfaces: one Principled BSDF behind one pattern in object coordinates.

A `Surface` is built once per pattern; from image to image only socket values change, because a new node
tree would make Cycles compile its shaders again and never let go of the old ones.
"""

from __future__ import annotations

from typing import Any

import bpy
from blenderproc.python.types.MaterialUtility import Material

from sim.scene import MaterialSpec

PATTERNS = ("none", "noise", "wood", "marble", "checker", "brick", "voronoi", "stripes")
FILE_PATTERNS = ("texture", "vertex")
"""What an imported file brings itself: a picture with texture coordinates, or colours at the vertices."""
MAPS_PATTERN = "maps"
"""The pictures of a texture set, projected along the three axes of object space, so that no mesh needs coordinates."""
PROJECTION_BLEND = 0.3
UV_LAYER, COLOR_LAYER = "uv", "color"


class Surface:
    """One Blender material whose sockets take the values of a `MaterialSpec` of its pattern."""

    def __init__(self, name: str, pattern: str) -> None:
        known = (*PATTERNS, *FILE_PATTERNS, MAPS_PATTERN)
        if pattern not in known:
            raise ValueError(f"material pattern is {pattern!r}; allowed: {', '.join(known)}")
        self.pattern = pattern
        self.blender = bpy.data.materials.new(name)
        self.blender.use_nodes = True
        self._shown: tuple[MaterialSpec, Any] | None = None
        self._material = Material(self.blender)
        self._shader = self._material.get_the_one_node_with_type("BsdfPrincipled").inputs
        self._scale: Any = None
        self._mix: Any = None
        self._bump: Any = None
        self._picture: Any = None
        self._maps: dict[str, Any] = {}
        if pattern == MAPS_PATTERN:
            self._build_from_maps()
        elif pattern in FILE_PATTERNS:
            self._build_from_file()
        elif pattern != "none":
            self._build()

    def show(self, spec: MaterialSpec, picture: Any = None) -> None:
        """Set every socket, unless all is shown already: a changed socket costs a shader update.

        Args:
            picture: Blender image of the pattern "texture", images by name of the pattern "maps".
        """
        if self._shown is not None and self._shown[0] == spec and self._shown[1] is picture:
            return
        self._shown = (spec, picture)
        shader = self._shader
        shader["Metallic"].default_value = spec.metallic
        shader["Roughness"].default_value = spec.roughness  # the two are overruled where a map is linked
        shader["Transmission Weight"].default_value = spec.transmission
        shader["IOR"].default_value = spec.ior
        shader["Sheen Weight"].default_value = spec.sheen
        shader["Coat Weight"].default_value = spec.coat
        if self.pattern == "none":
            shader["Base Color"].default_value = (*spec.base_color, 1.0)
            return
        if self.pattern in FILE_PATTERNS:
            self._mix[7].default_value = (*spec.base_color, 1.0)
            if self._picture is not None:
                self._picture.image = picture
            return
        self._scale.default_value = spec.pattern_scale
        if self.pattern == MAPS_PATTERN:
            for name, node in self._maps.items():
                node.image = picture[name]
            self._bump["Distance"].default_value = spec.bump / spec.pattern_scale
            return
        self._mix[6].default_value = (*spec.base_color, 1.0)
        self._mix[7].default_value = (*spec.second_color, 1.0)
        self._bump["Strength"].default_value = spec.bump
        # The relief is about a twentieth of one repetition deep.
        self._bump["Distance"].default_value = 0.05 / max(spec.pattern_scale, 1e-3)

    def _build(self) -> None:
        place = self._new("ShaderNodeTexCoord")
        scaled = self._new("ShaderNodeVectorMath", operation="SCALE")
        self._scale = scaled.inputs["Scale"]
        self._join(place.outputs["Object"], scaled.inputs[0])
        factor = getattr(self, f"_{self.pattern}")(scaled.outputs[0], place)
        mix = self._new("ShaderNodeMix", data_type="RGBA")
        self._mix = mix.inputs  # sockets 6 and 7 are A and B of the colour variant, output 2 its result
        self._join(factor, mix.inputs[0])
        self._join(mix.outputs[2], self._shader["Base Color"])
        bump = self._new("ShaderNodeBump")
        self._bump = bump.inputs
        self._join(factor, bump.inputs["Height"])
        self._join(bump.outputs[0], self._shader["Normal"])

    def _build_from_maps(self) -> None:
        """Colour, roughness and metalness, and heights as a bump, each in the same projection."""
        place = self._new("ShaderNodeTexCoord")
        scaled = self._new("ShaderNodeVectorMath", operation="SCALE")
        self._scale = scaled.inputs["Scale"]
        self._join(place.outputs["Object"], scaled.inputs[0])
        for name in ("color", "surface", "height"):
            node = self._texture("ShaderNodeTexImage", scaled.outputs[0])
            node.projection, node.projection_blend = "BOX", PROJECTION_BLEND
            self._maps[name] = node
        split = self._new("ShaderNodeSeparateColor")
        self._join(self._maps["surface"].outputs["Color"], split.inputs[0])
        bump = self._new("ShaderNodeBump")
        self._bump = bump.inputs
        self._join(self._maps["height"].outputs["Color"], bump.inputs["Height"])
        for source, target in (
            (self._maps["color"].outputs["Color"], "Base Color"),
            (split.outputs[1], "Roughness"),
            (split.outputs[2], "Metallic"),
            (bump.outputs[0], "Normal"),
        ):
            self._join(source, self._shader[target])

    def _build_from_file(self) -> None:
        """The file's picture or vertex colours, times the colour of the material."""
        if self.pattern == "texture":
            coordinates = self._new("ShaderNodeUVMap", uv_map=UV_LAYER)
            self._picture = self._texture("ShaderNodeTexImage", coordinates.outputs[0])
            color = self._picture.outputs["Color"]
        else:
            color = self._new("ShaderNodeVertexColor", layer_name=COLOR_LAYER).outputs["Color"]
        mix = self._new("ShaderNodeMix", data_type="RGBA", blend_type="MULTIPLY")
        self._mix = mix.inputs
        mix.inputs[0].default_value = 1.0
        self._join(color, mix.inputs[6])
        self._join(mix.outputs[2], self._shader["Base Color"])

    def _noise(self, vector: Any, place: Any) -> Any:
        noise = self._texture("ShaderNodeTexNoise", vector, Scale=1.0, Detail=3.0, Roughness=0.55)
        return self._stretch(noise.outputs["Fac"], 0.35, 0.65)

    def _wood(self, vector: Any, place: Any) -> Any:
        """Growth rings around the y axis, a little crooked, with fine grain."""
        rings = self._new("ShaderNodeTexWave", wave_type="RINGS", rings_direction="Y", wave_profile="SAW")
        self._join(vector, rings.inputs["Vector"])
        for name, value in {"Scale": 0.35, "Distortion": 3.0, "Detail": 2.0, "Detail Scale": 0.6}.items():
            rings.inputs[name].default_value = value
        return rings.outputs["Fac"]

    def _marble(self, vector: Any, place: Any) -> Any:
        """Thin veins where a strongly bent wave crosses zero."""
        wave = self._new("ShaderNodeTexWave", wave_type="BANDS", bands_direction="DIAGONAL", wave_profile="SIN")
        self._join(vector, wave.inputs["Vector"])
        for name, value in {"Scale": 0.2, "Distortion": 14.0, "Detail": 4.0, "Detail Scale": 1.1}.items():
            wave.inputs[name].default_value = value
        return self._stretch(wave.outputs["Fac"], 0.55, 1.0)

    def _checker(self, vector: Any, place: Any) -> Any:
        """Shifted off the grid: a flat face that lies exactly between two cells would flicker."""
        shifted = self._new("ShaderNodeVectorMath", operation="ADD")
        self._join(vector, shifted.inputs[0])
        shifted.inputs[1].default_value = (0.317, 0.241, 0.173)
        return self._texture("ShaderNodeTexChecker", shifted.outputs[0], Scale=1.0).outputs["Fac"]

    def _brick(self, vector: Any, place: Any) -> Any:
        """The brick texture is flat: walls use (x + y, z), faces that look up or down (x, y)."""
        split = self._new("ShaderNodeSeparateXYZ")
        self._join(vector, split.inputs[0])
        along = self._new("ShaderNodeMath", operation="ADD")
        self._join(split.outputs["X"], along.inputs[0])
        self._join(split.outputs["Y"], along.inputs[1])
        wall = self._new("ShaderNodeCombineXYZ")
        self._join(along.outputs[0], wall.inputs["X"])
        self._join(split.outputs["Z"], wall.inputs["Y"])
        facing = self._new("ShaderNodeSeparateXYZ")
        self._join(place.outputs["Normal"], facing.inputs[0])
        upward = self._new("ShaderNodeMath", operation="ABSOLUTE")
        self._join(facing.outputs["Z"], upward.inputs[0])
        flat = self._new("ShaderNodeMath", operation="GREATER_THAN")
        flat.inputs[1].default_value = 0.7
        self._join(upward.outputs[0], flat.inputs[0])
        choose = self._new("ShaderNodeMix", data_type="VECTOR")
        self._join(flat.outputs[0], choose.inputs[0])
        self._join(wall.outputs[0], choose.inputs[4])
        self._join(vector, choose.inputs[5])
        brick = self._texture("ShaderNodeTexBrick", choose.outputs[1], Scale=1.0)
        brick.inputs["Mortar Size"].default_value = 0.03
        return brick.outputs["Fac"]

    def _voronoi(self, vector: Any, place: Any) -> Any:
        cells = self._texture("ShaderNodeTexVoronoi", vector, Scale=1.0)
        return self._stretch(cells.outputs["Distance"], 0.1, 0.8)

    def _stripes(self, vector: Any, place: Any) -> Any:
        """Bands of equal width across the diagonal, so that no face of a box is left without them."""
        wave = self._new("ShaderNodeTexWave", wave_type="BANDS", bands_direction="DIAGONAL")
        self._join(vector, wave.inputs["Vector"])
        wave.inputs["Scale"].default_value = 0.18
        return self._stretch(wave.outputs["Fac"], 0.45, 0.55)

    def _new(self, kind: str, **properties: str) -> Any:
        node = self._material.new_node(kind)
        for name, value in properties.items():
            setattr(node, name, value)
        return node

    def _join(self, source: Any, target: Any) -> None:
        self._material.link(source, target)

    def _texture(self, kind: str, vector: Any, **values: float) -> Any:
        node = self._new(kind)
        self._join(vector, node.inputs["Vector"])
        for name, value in values.items():
            node.inputs[name].default_value = value
        return node

    def _stretch(self, factor: Any, low: float, high: float) -> Any:
        """Map low..high to 0..1, clamped."""
        node = self._new("ShaderNodeMapRange")
        node.inputs["From Min"].default_value = low
        node.inputs["From Max"].default_value = high
        self._join(factor, node.inputs["Value"])
        return node.outputs["Result"]
