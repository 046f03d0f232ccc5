"""A folder of the user's own 3-D files and environment maps, scanned once, imported in limited child processes.

Layouts that are read as they come:

- `<category>/<model>.(glb|gltf|obj|ply|stl)`, the plain one; anything deeper belongs to its first folder.
- ShapeNetCore: `<synset>/<id>/models/model_normalized.obj`, names from taxonomy.json where present.
- Google Scanned Objects: `<object>/meshes/model.obj` with metadata.pbtxt; z is up, the category stands in the metadata.
- Objaverse-LVIS: `glbs/*/<uid>.glb` beside lvis-annotations.json(.gz), which names the uids of each category.

Normalised meshes are cached by content under `$XDG_CACHE_HOME/simpath/models` (default ~/.cache).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sim.scene import MaterialSpec

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
LISTED_SUFFIXES = (".fbx", ".usd", ".usda", ".usdc", ".usdz", ".blend")
"""Formats whose external references cannot be checked before they are read; they are named, not read."""
HDRI_SUFFIXES = (".hdr", ".exr")
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


def scan_models(root: Path, *, strict: bool = False) -> FolderScan:
    """Find, import and cache every model under `root`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a category, or the folder, is left without a model; or with `strict` any file is not taken.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"asset folder {root} does not exist")
    found = list(_find(root))
    if not found:
        raise ValueError(f"asset folder {root} holds no model; wanted: <category>/<model>{'|'.join(SUFFIXES)}")
    models: dict[str, list[FolderModel]] = defaultdict(list)
    problems: dict[str, str] = {}
    with _Importer(root) as importer:
        for category, path in found:
            name = path.relative_to(root).as_posix()
            models[category]
            answer = importer.take(path)
            if "error" in answer:
                problems[name] = answer["error"]
                continue
            materials = tuple(_material(record) for record in answer["materials"])
            models[category].append(FolderModel(category, Path(answer["mesh"]), materials, answer["sha256"], name))
    first = next(iter(problems.items()), ("", ""))
    if strict and problems:
        raise ValueError(f"{first[0]}: {first[1]} ({len(problems)} files were not taken)")
    if empty := [category for category, taken in models.items() if not taken]:
        raise ValueError(f"category {empty[0]!r} is left without a model; first reason: {first[0]}: {first[1]}")
    ordered = {category: tuple(models[category]) for category in sorted(models)}
    return FolderScan(ordered, problems, _license(root))


def scan_hdris(root: Path) -> list[tuple[str, Path, str]]:
    """(name, path, sha256) of every .hdr and .exr under `root`, sorted by name.

    Raises:
        FileNotFoundError, ValueError: no such folder, no environment map in it, or a file that is none.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"HDRI folder {root} does not exist")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in HDRI_SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"HDRI folder {root} holds no {' or '.join(HDRI_SUFFIXES)} file")
    maps = []
    for path in paths:
        with path.open("rb") as file:
            head = file.read(10)
            digest = hashlib.file_digest(_rewound(file), "sha256").hexdigest()
        if not (head.startswith((b"#?RADIANCE", b"#?RGBE")) or head.startswith(b"\x76\x2f\x31\x01")):
            raise ValueError(f"{path} is no environment map: neither Radiance HDR nor OpenEXR")
        maps.append((path.relative_to(root).with_suffix("").as_posix(), path, digest))
    return maps


def _rewound(file: IO[bytes]) -> Any:
    file.seek(0)
    return file


def _find(root: Path) -> Iterator[tuple[str, Path]]:
    """(category, file) of every model, in a stable order; links are followed by name only, never out of `root`."""
    lvis = _lvis(root)
    taxonomy = _taxonomy(root)
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES + LISTED_SUFFIXES or not (path.is_file() or path.is_symlink()):
            continue
        parts = path.relative_to(root).parts
        if lvis is not None:
            if path.stem in lvis:
                yield lvis[path.stem], path
        elif len(parts) > 1:
            yield _scanned_category(root / parts[0]) or taxonomy.get(parts[0], parts[0]), path


def up_axis(path: Path) -> str:
    """The axis that points up: y in glTF and (by custom) OBJ, z in PLY, STL and Google Scanned Objects."""
    if path.suffix.lower() in (".ply", ".stl"):
        return "z"
    return "z" if (path.parent.parent / "metadata.pbtxt").exists() else "y"


def _scanned_category(folder: Path) -> str | None:
    """Category of a Google Scanned Object, None for any other folder."""
    metadata = folder / "metadata.pbtxt"
    if not metadata.is_file():
        return None
    match = re.search(r'categories\s*{[^}]*first:\s*"([^"]+)"', metadata.read_text(errors="replace"))
    return match[1] if match else "uncategorised"


def _lvis(root: Path) -> dict[str, str] | None:
    for name, opener in (("lvis-annotations.json", open), ("lvis-annotations.json.gz", gzip.open)):
        if (root / name).is_file():
            with opener(root / name, "rt", encoding="utf-8") as file:
                table: dict[str, list[str]] = json.load(file)
            return {uid: category for category, uids in table.items() for uid in uids}
    return None


def _taxonomy(root: Path) -> dict[str, str]:
    path = root / "taxonomy.json"
    if not path.is_file():
        return {}
    return {row["synsetId"]: row["name"].split(",")[0] for row in json.loads(path.read_text(encoding="utf-8"))}


def _license(root: Path) -> str:
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "License.txt", "SOURCE.txt"):
        if (root / name).is_file():
            lines = (root / name).read_text(errors="replace").strip().splitlines()
            return lines[0].strip()[:120] if lines else "not stated"
    return "not stated"


def _material(record: dict[str, Any]) -> MaterialSpec:
    colors = {name: tuple(record[name]) for name in ("base_color", "second_color")}
    return MaterialSpec(**{**record, **colors})


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "simpath" / "models"


class _Importer:
    """Answers from the cache where it can, else asks the importing child, which is started when first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cache = cache_folder()
        self._cache.mkdir(parents=True, exist_ok=True)
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            assert self._child.stdin is not None and self._child.stdout is not None
            self._child.stdin.close()
            self._child.stdout.close()
            self._child.wait()

    def take(self, path: Path) -> dict[str, Any]:
        """The model's record with "mesh", the cached file; or {"error": reason}."""
        if path.suffix.lower() in LISTED_SUFFIXES:
            return {"error": f"{path.suffix} files are not read: what they refer to cannot be checked before"}
        if not path.resolve().is_relative_to(self._root.resolve()):
            return {"error": "it is a link that leads outside the asset folder"}
        up = up_axis(path)
        with path.open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()
        place = self._cache / f"{key}-{IMPORT_VERSION}{up}"
        known = self._cached(place.with_suffix(".json"), path)
        if known is not None:
            return known | {"mesh": str(place.with_suffix(".npz"))}
        answer = self._ask(
            {"path": str(path), "root": str(self._root), "up": up, "out": str(place.with_suffix(".npz"))}
        )
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

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._child is None:
            root = str(Path(__file__).parents[1])
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
            }
            self._child = subprocess.Popen(
                [sys.executable, "-m", "sim.importer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(job) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the importing process ended; is simpath[render] installed?")
        answer: dict[str, Any] = json.loads(line)
        return answer
