"""The asset catalogue: classes with their models, environment maps and materials; each with licence and sha256.

In: `CatalogConfig`. Out: `AssetCatalog`, which knows names and numbers only; meshes are built and files are read
where they are rendered.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np

from sim.layouts import folder_state
from sim.materials import material_library, natural_material
from sim.scene import MaterialSpec
from sim.shapes import CATALOGUE_VERSION, find_recipe, recipes

if TYPE_CHECKING:
    from sim.assetfolder import FolderScan, HdriScan
    from sim.texturefolder import TextureScan

Split = Literal["all", "train", "heldout"]
NO_LICENSE = "not stated"

# The CC0 environment maps inside the bpy 4.2 wheel (datafiles/studiolights/world, by Poly Haven); the renderer finds
# them by name. The first is the fixed one: outdoors in open daylight, as the original's.
WHEEL_HDRIS = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset")


@dataclass(frozen=True)
class ProceduralModel:
    """`sim.shapes.build_mesh(seed, class_name, index)`."""

    seed: int
    class_name: str
    index: int


@dataclass(frozen=True)
class FileModel:
    """A file of the user's, imported, centred and scaled to a longest side of 1 m (`sim.meshfile`)."""

    path: Path


@dataclass(frozen=True)
class ModelAsset:
    id: str
    """`<class name>/<n>`, unique in the catalogue."""
    class_name: str
    natural: tuple[MaterialSpec, ...]
    """The model's own materials, one per slot."""
    source: ProceduralModel | FileModel
    license: str
    sha256: str
    """Of the file, or of what defines a procedural model."""


@dataclass(frozen=True)
class HdriAsset:
    name: str
    path: Path | None
    """None: one of the eight of the bpy wheel, found by name."""
    license: str
    sha256: str


@dataclass(frozen=True)
class TextureAsset:
    """The picture maps of one material of the catalogue."""

    material: str
    """Name of the `MaterialSpec`, whose pattern is "maps"."""
    path: Path
    """Normalised maps (`sim.textures`)."""
    license: str
    sha256: str


@dataclass(frozen=True)
class AssetCatalog:
    """What can be rendered. The order of classes, models, HDRIs and materials is part of its meaning."""

    models_by_class: Mapping[str, tuple[ModelAsset, ...]]
    hdris: tuple[HdriAsset, ...]
    """The first is the environment of `background: fixed`."""
    materials: tuple[MaterialSpec, ...]
    textures: tuple[TextureAsset, ...] = ()
    """Of the materials that come from a folder of the user's."""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.models_by_class)

    def models(self, class_name: str, split: Split = "all") -> tuple[ModelAsset, ...]:
        """Models of a class: "train" has the even ones, "heldout" the odd ones.

        Raises:
            ValueError: unknown class or split, or a split that is left empty.
        """
        if class_name not in self.models_by_class:
            raise ValueError(f"no class {class_name!r} in the catalogue of {len(self.classes)} classes")
        starts = {"all": slice(None), "train": slice(0, None, 2), "heldout": slice(1, None, 2)}
        if split not in starts:
            raise ValueError(f"models is {split!r}; allowed: {', '.join(starts)}")
        chosen = self.models_by_class[class_name][starts[split]]
        if not chosen:
            raise ValueError(f"class {class_name!r} has too few models for models = {split!r}: it needs at least two")
        return chosen

    @cached_property
    def _digest(self) -> str:
        described: dict[str, Any] = {
            "models": [[m.id, m.sha256, m.license] for models in self.models_by_class.values() for m in models],
            # A folder's licence note changes no picture; Blender's own maps were digested with theirs.
            "hdris": [[h.name, h.sha256, h.license if h.path is None else NO_LICENSE] for h in self.hdris],
            "materials": [dataclasses.asdict(m) for m in self.materials],
        }
        if self.textures:  # a catalogue without has the digest that it had before there were any
            described["textures"] = [[t.material, t.sha256, t.license] for t in self.textures]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def digest(self) -> str:
        """sha256 over everything that a rendering can take from the catalogue; no paths."""
        return self._digest


LATER: dict[str, Any] = {"omit_default": True}
"""Metadata of a field that was added later: at its default it is not recorded, so that older digests stay."""


@dataclass(frozen=True)
class CatalogConfig:
    """Which assets a data set is rendered from."""

    seed: int = 7
    """Of the procedural models; every seed gives other models of the same classes."""
    num_classes: int = 24
    """The first so many of the procedural classes."""
    models_per_class: int = 10
    assets: str | None = None
    """Folder of the user's own models instead of the procedural classes: <category>/<model>.glb and the like."""
    hdris: str | None = None
    """Folder of environment maps (.hdr, .exr) instead of the eight that come with Blender."""
    textures: str | None = dataclasses.field(default=None, metadata=LATER)
    """Folder of PBR texture sets (ambientCG or Poly Haven names) instead of the 141 procedural materials that
    `materials: random` draws from."""
    trust_assets: bool = dataclasses.field(default=False, metadata=LATER)
    """Read .fbx and .usd models too, with everything that they refer to, wherever it lies."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; allowed: 0 and up")
        if not 1 <= self.num_classes <= len(recipes()):
            raise ValueError(f"num_classes is {self.num_classes}; allowed: 1 to {len(recipes())}")
        if self.models_per_class < 1:
            raise ValueError(f"models_per_class is {self.models_per_class}; allowed: 1 and up")


def load_catalog(config: CatalogConfig) -> AssetCatalog:
    """The catalogue of a configuration.

    Raises:
        ValueError, OSError: the asset folder of the configuration cannot be used.
    """
    hdris = wheel_hdris() if config.hdris is None else folder_hdris(Path(config.hdris))
    materials, textures = material_library(), tuple[TextureAsset, ...]()
    if config.textures is not None:
        materials, textures = folder_textures(Path(config.textures))
    if config.assets is not None:
        models = folder_models(Path(config.assets), trust=config.trust_assets)
    else:
        models = {
            name: tuple(_procedural(config.seed, name, index) for index in range(config.models_per_class))
            for name in list(recipes())[: config.num_classes]
        }
    return AssetCatalog(models, hdris, materials, textures)


def folder_models(root: Path, *, trust: bool = False) -> dict[str, tuple[ModelAsset, ...]]:
    """Models of a folder of the user's, by category; see `sim.assetfolder` for layouts and errors."""
    scan = _scan_models(root, trust, folder_state(root))
    return {
        category: tuple(
            ModelAsset(
                id=f"{category}/{number}",
                class_name=category,
                natural=model.materials,
                source=FileModel(model.mesh),
                license=scan.license,
                sha256=model.sha256,
            )
            for number, model in enumerate(models)
        )
        for category, models in scan.models.items()
    }


def skipped_assets(config: CatalogConfig) -> dict[str, str]:
    """Why a file of the configuration's folders was not taken, by its path in the folder."""
    problems: dict[str, str] = {}
    if config.assets is not None:
        root = Path(config.assets)
        problems |= _scan_models(root, config.trust_assets, folder_state(root)).problems
    if config.hdris is not None:
        root = Path(config.hdris)
        problems |= _scan_hdris(root, folder_state(root)).problems
    if config.textures is not None:
        root = Path(config.textures)
        problems |= _scan_textures(root, folder_state(root)).problems
    return problems


def require_all_assets(config: CatalogConfig) -> None:
    """Raises ValueError naming the first file of the configuration's folders that is not taken."""
    if problems := skipped_assets(config):
        name, reason = next(iter(problems.items()))
        raise ValueError(f"{name}: {reason} ({len(problems)} files were not taken)")


def require_models(catalog: AssetCatalog, split: Split) -> None:
    """Raises ValueError naming a class that has too few models for a split: before anything is rendered."""
    for name in catalog.classes:
        catalog.models(name, split)


def folder_hdris(root: Path) -> tuple[HdriAsset, ...]:
    """Environment maps of a folder of the user's, sorted by name; the first is the fixed one."""
    scan = _scan_hdris(root, folder_state(root))
    return tuple(HdriAsset(name, path, scan.license, sha256) for name, path, sha256 in scan.maps)


def folder_textures(root: Path) -> tuple[tuple[MaterialSpec, ...], tuple[TextureAsset, ...]]:
    """Materials of a folder of PBR texture sets, sorted by name, and their maps."""
    scan = _scan_textures(root, folder_state(root))
    assets = tuple(TextureAsset(found.material.name, found.maps, scan.license, found.sha256) for found in scan.sets)
    return tuple(found.material for found in scan.sets), assets


# A catalogue, its data card and the list of what was not taken look at the same folder one after another. A scan opens
# every file, and one that hangs takes its time limit: once per process and state of the folder is enough.
@lru_cache(maxsize=4)
def _scan_models(root: Path, trust: bool, state: str) -> FolderScan:
    from sim.assetfolder import scan_models

    return scan_models(root, trust=trust)


@lru_cache(maxsize=4)
def _scan_hdris(root: Path, state: str) -> HdriScan:
    from sim.assetfolder import scan_hdris

    return scan_hdris(root)


@lru_cache(maxsize=4)
def _scan_textures(root: Path, state: str) -> TextureScan:
    from sim.texturefolder import scan_textures

    return scan_textures(root)


def wheel_hdris() -> tuple[HdriAsset, ...]:
    """The eight environment maps that come with bpy; their bytes are fixed by its version."""
    return tuple(
        HdriAsset(name, None, "CC0-1.0 (Poly Haven)", hashlib.sha256(f"bpy-4.2/{name}".encode()).hexdigest())
        for name in WHEEL_HDRIS
    )


def _procedural(seed: int, class_name: str, index: int) -> ModelAsset:
    slots = find_recipe(class_name).slots
    defined = json.dumps([CATALOGUE_VERSION, seed, class_name, index])
    natural = tuple(
        # a stream of its own per slot: [seed, class, model] makes the mesh, a fourth number the materials
        natural_material(
            kinds, np.random.default_rng([seed, crc32(class_name.encode()), index, crc32(slot.encode())]), slot
        )
        for slot, kinds in slots.items()
    )
    return ModelAsset(
        id=f"{class_name}/{index}",
        class_name=class_name,
        natural=natural,
        source=ProceduralModel(seed, class_name, index),
        license="CC0-1.0 (procedural)",
        sha256=hashlib.sha256(defined.encode()).hexdigest(),
    )
