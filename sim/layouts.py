"""Where 3-D files lie in an asset folder, and which category each belongs to. Layouts that are read as they come:

- `<category>/<model>.(glb|gltf|obj|ply|stl)`, the plain one; anything deeper belongs to its first folder.
- ShapeNetCore: `<synset>/<id>/models/model_normalized.obj`, names from taxonomy.json where present.
- Google Scanned Objects: `<object>/meshes/model.obj` with metadata.pbtxt; z is up, the category stands in the metadata.
- Objaverse-LVIS: `glbs/*/<uid>.glb` beside lvis-annotations.json(.gz), which names the uids of each category.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

MAX_TABLE_BYTES = 256 << 20
"""Of taxonomy.json or the LVIS annotations, unpacked; the real ones have 10 MB."""


def find_models(root: Path, suffixes: Collection[str]) -> Iterator[tuple[str, Path]]:
    """(category, file) of every file with one of the suffixes, in a stable order.

    Links are followed by name only, never out of `root`. Raises ValueError for a damaged table of categories.
    """
    lvis = _lvis(root)
    taxonomy = _taxonomy(root)
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in suffixes or not (path.is_file() or path.is_symlink()):
            continue
        parts = path.relative_to(root).parts
        if lvis is not None:
            if path.stem in lvis:
                yield lvis[path.stem], path
        elif len(parts) > 1:
            yield _scanned_category(root / parts[0]) or taxonomy.get(parts[0], parts[0]), path


def category_problem(category: str) -> str | None:
    """Why a category's name cannot be used, None when it can: a table of categories may hold anything."""
    if category.strip() in ("", ".", "..") or "/" in category:
        return f"its category is {category!r}; allowed: a name without slashes that is not '.' or '..'"
    # Cc: line breaks and the like; Cs: bytes of a folder's name that are no UTF-8
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in category):
        return f"its category is {category!r}; allowed: UTF-8 text without control characters"
    return None


def folder_state(root: Path) -> str:
    """Digest of names, sizes and times of everything under a folder: equal while nothing was changed there."""
    entries = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            status = path.lstat()
            entries.append([path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(sorted(entries)).encode()).hexdigest()


def link_problem(path: Path, root: Path, kind: str) -> str | None:
    """Why a file must not or cannot be opened, if it is a link; `kind` of folder that `root` is."""
    if not path.resolve().is_relative_to(root.resolve()):
        return f"it is a link that leads outside the {kind} folder"
    return None if path.is_file() else "it is a link to nothing"


def up_axis(path: Path) -> str:
    """The axis that points up: y in glTF and (by custom) OBJ, z in PLY, STL and Google Scanned Objects."""
    if path.suffix.lower() in (".ply", ".stl"):
        return "z"
    return "z" if (path.parent.parent / "metadata.pbtxt").exists() else "y"


def _scanned_category(folder: Path) -> str | None:
    """Category of a Google Scanned Object, None for any other folder."""
    metadata = folder / "metadata.pbtxt"
    if link_problem(metadata, folder, "asset") is not None:
        return None
    match = re.search(r'categories\s*{[^}]*first:\s*"([^"]+)"', metadata.read_text(errors="replace"))
    return match[1] if match else "uncategorised"


def _lvis(root: Path) -> dict[str, str] | None:
    """Category of every uid; None where there is no such table."""
    for name in ("lvis-annotations.json", "lvis-annotations.json.gz"):
        path = root / name
        if not path.is_file():
            continue
        wanted = '{"<category>": ["<uid>", …], …}'
        table = _read_table(path, wanted)
        if not isinstance(table, dict):
            raise _unusable(path, f"it holds {_kind(table)}", wanted)
        for category, uids in table.items():
            if not isinstance(uids, list) or not all(isinstance(uid, str) for uid in uids):
                raise _unusable(path, f"{category!r} holds no list of texts", wanted)
        return {uid: category for category, uids in table.items() for uid in uids}
    return None


def _taxonomy(root: Path) -> dict[str, str]:
    """Name of every synset; empty where there is no such table."""
    path = root / "taxonomy.json"
    if not path.is_file():
        return {}
    wanted = '[{"synsetId": "<digits>", "name": "<name>,<other name>"}, …]'
    table = _read_table(path, wanted)
    if not isinstance(table, list):
        raise _unusable(path, f"it holds {_kind(table)}", wanted)
    names = {}
    for number, row in enumerate(table):
        if not isinstance(row, dict):
            raise _unusable(path, f"entry {number} is {_kind(row)}", wanted)
        for key in ("synsetId", "name"):
            if not isinstance(row.get(key), str):
                raise _unusable(path, f"entry {number} has no text {key!r}", wanted)
        names[row["synsetId"]] = row["name"].split(",")[0]
    return names


def _read_table(path: Path, wanted: str) -> Any:
    if (problem := link_problem(path, path.parent, "asset")) is not None:
        raise _unusable(path, problem, wanted)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_TABLE_BYTES + 1)
        if len(data) > MAX_TABLE_BYTES:
            raise _unusable(path, f"it has more than {MAX_TABLE_BYTES >> 20} MB", wanted)
        return json.loads(data)
    except RecursionError:
        raise _unusable(path, "its lists are nested too deeply", wanted) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _unusable(path, f"it cannot be unpacked ({error})", wanted) from None
    except UnicodeDecodeError:
        raise _unusable(path, "it is no text", wanted) from None
    except json.JSONDecodeError as error:
        raise _unusable(path, f"it is no JSON ({error})", wanted) from None


def _unusable(path: Path, why: str, wanted: str) -> ValueError:
    return ValueError(f"{path} cannot be used: {why}; wanted: {wanted}")


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "nothing")
