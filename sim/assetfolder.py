"""A folder of the user's own 3-D files and environment maps, scanned once, imported in limited child processes.

Which file belongs to which category is decided in `sim.layouts`. Normalised meshes are cached by content under
`$XDG_CACHE_HOME/simpath/models` (default ~/.cache).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sim.exr import MAGIC, exr_size
from sim.importchild import ImportChild, cache_folder
from sim.layouts import category_problem, find_models, link_problem, up_axis
from sim.scene import MaterialSpec

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
TRUSTED_SUFFIXES = (".fbx", ".usd", ".usda", ".usdc", ".usdz")
"""Formats whose external references cannot be checked before they are read: read by Blender, with `trust` only."""
LISTED_SUFFIXES = (*TRUSTED_SUFFIXES, ".blend")
"""Named when they are not read; .blend files may hold scripts and never are."""
HDRI_SUFFIXES = (".hdr", ".exr")
MAX_HDRI_PIXELS = 16384 * 8192
IMPORT_VERSION = 1
"""Part of the cache's key: to be raised when an import gives another mesh."""


@dataclass(frozen=True)
class FolderModel:
    category: str
    mesh: Path
    """Normalised mesh in the cache."""
    materials: tuple[MaterialSpec, ...]
    sha256: str
    source: str
    """Path inside the asset folder."""


@dataclass(frozen=True)
class FolderScan:
    models: dict[str, tuple[FolderModel, ...]]
    """By category, both sorted."""
    problems: dict[str, str]
    """Why a file was not taken, by path inside the asset folder."""
    license: str
    """First line of a licence file, if there is one."""


def scan_models(root: Path, *, strict: bool = False, trust: bool = False) -> FolderScan:
    """Find, import and cache every model under `root`.

    Args:
        strict: a file that is not taken is an error.
        trust: read .fbx and .usd files too, and what they refer to, wherever it lies.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a category, or the folder, is left without a model; a table of categories is damaged; or with
            `strict` any file is not taken.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"asset folder {root} does not exist")
    found = list(find_models(root, SUFFIXES + LISTED_SUFFIXES))
    if not found:
        raise ValueError(f"asset folder {root} holds no model; wanted: <category>/<model>{'|'.join(SUFFIXES)}")
    models: dict[str, list[FolderModel]] = defaultdict(list)
    problems: dict[str, str] = {}
    reasons: dict[str, str] = {}
    with _Importer(root, trust) as importer:
        for category, path in found:
            name = path.relative_to(root).as_posix()
            models[category]
            problem = category_problem(category)
            answer: dict[str, Any] = {"error": problem} if problem is not None else importer.take(path)
            if "error" in answer:
                problems[name] = answer["error"]
                reasons.setdefault(category, f"{name}: {problems[name]}")
                continue
            materials = tuple(_material(record) for record in answer["materials"])
            models[category].append(FolderModel(category, Path(answer["mesh"]), materials, answer["sha256"], name))
    first = next(iter(problems.items()), ("", ""))
    if strict and problems:
        raise ValueError(f"{first[0]}: {first[1]} ({len(problems)} files were not taken)")
    if empty := [category for category, taken in models.items() if not taken]:
        raise ValueError(f"category {empty[0]!r} is left without a model; first reason: {reasons[empty[0]]}")
    ordered = {category: tuple(models[category]) for category in sorted(models)}
    return FolderScan(ordered, problems, license_note(root))


@dataclass(frozen=True)
class HdriScan:
    maps: tuple[tuple[str, Path, str], ...]
    """(name, path, sha256) of every environment map, sorted by path."""
    problems: dict[str, str]
    """Why a file was not taken, by path inside the folder."""
    license: str


def scan_hdris(root: Path, *, strict: bool = False) -> HdriScan:
    """Find every .hdr and .exr under `root`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no environment map is left; or with `strict` any file is not taken.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"HDRI folder {root} does not exist")
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in HDRI_SUFFIXES]
    paths = [path for path in paths if path.is_file() or path.is_symlink()]
    if not paths:
        raise ValueError(f"HDRI folder {root} holds no {' or '.join(HDRI_SUFFIXES)} file")
    maps, problems = [], {}
    for path in paths:
        inside = path.relative_to(root)
        problem = hdri_problem(path, root)
        if problem is not None:
            problems[inside.as_posix()] = problem
            continue
        with path.open("rb") as file:
            maps.append((inside.with_suffix("").as_posix(), path, hashlib.file_digest(file, "sha256").hexdigest()))
    first = next(iter(problems.items()), ("", ""))
    if strict and problems:
        raise ValueError(f"{first[0]}: {first[1]} ({len(problems)} files were not taken)")
    if not maps:
        raise ValueError(f"HDRI folder {root} is left without an environment map; first reason: {first[0]}: {first[1]}")
    return HdriScan(tuple(maps), problems, license_note(root))


def hdri_problem(path: Path, root: Path) -> str | None:
    """Why a file cannot be an environment map, by its header; None when it can."""
    if (problem := link_problem(path, root, "HDRI")) is not None:
        return problem
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head.startswith((b"#?RADIANCE", b"#?RGBE")):
        match = re.search(rb"\n[-+][XY] (\d+) [-+][XY] (\d+)\n", head)
        size = None if match is None else (int(match[2]), int(match[1]))
    elif head.startswith(MAGIC):
        try:
            size = exr_size(head)
        except ValueError:
            size = None
    else:
        return "it is no environment map: neither Radiance HDR nor OpenEXR"
    if size is None:
        return "it is no environment map: its header is damaged"
    if min(size) < 1 or size[0] * size[1] > MAX_HDRI_PIXELS:
        return f"it has {size[0]} x {size[1]} pixels; allowed: {MAX_HDRI_PIXELS} in all"
    return None


def license_note(root: Path) -> str:
    """First line of a licence file, if there is one."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "License.txt", "SOURCE.txt"):
        if link_problem(root / name, root, "asset") is None:
            lines = (root / name).read_text(errors="replace").strip().splitlines()
            return lines[0].strip()[:120] if lines else "not stated"
    return "not stated"


def _material(record: dict[str, Any]) -> MaterialSpec:
    colors = {name: tuple(record[name]) for name in ("base_color", "second_color")}
    return MaterialSpec(**{**record, **colors})


class _Importer:
    """Answers from the cache where it can, else asks the importing child, which is started when first needed."""

    def __init__(self, root: Path, trust: bool) -> None:
        self._root, self._trust = root, trust
        self._cache = cache_folder("models")
        self._child = ImportChild()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def take(self, path: Path) -> dict[str, Any]:
        """The model's record with "mesh", the cached file; or {"error": reason}."""
        suffix = path.suffix.lower()
        if suffix in TRUSTED_SUFFIXES and not self._trust:
            return {
                "error": f"{path.suffix} files are read with --trust-assets only: what they refer to cannot be checked"
            }
        if suffix == ".blend":
            return {"error": ".blend files are never read: they may hold scripts"}
        if (problem := link_problem(path, self._root, "asset")) is not None:
            return {"error": problem}
        up = up_axis(path)
        with path.open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()
        place = self._cache / f"{key}-{IMPORT_VERSION}{up}"
        known = self._cached(place.with_suffix(".json"), path)
        if known is not None:
            return known | {"mesh": str(place.with_suffix(".npz"))}
        job = {"path": str(path), "root": str(self._root), "up": up, "out": str(place.with_suffix(".npz"))}
        answer = self._child.ask(job | {"trusted": suffix in TRUSTED_SUFFIXES})
        if "error" in answer:
            return answer
        temporary = place.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(answer))
        temporary.replace(place.with_suffix(".json"))
        return answer | {"mesh": str(place.with_suffix(".npz"))}

    def _cached(self, record: Path, path: Path) -> dict[str, Any] | None:
        """A record is good while every file that the model refers to still has the bytes it had."""
        if not (record.exists() and record.with_suffix(".npz").exists()):
            return None
        answer: dict[str, Any] = json.loads(record.read_text())
        for name, sha in answer["references"].items():
            reference = path.parent / name
            if not reference.is_file() or hashlib.sha256(reference.read_bytes()).hexdigest() != sha:
                return None
        return answer
