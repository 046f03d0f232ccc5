"""A folder of PBR texture sets of the user's, as ambientCG and Poly Haven name their files.

| map | ambientCG | Poly Haven |
|---|---|---|
| colour | `Wood049_1K-JPG_Color.jpg` | `aerial_rocks_02_diff_1k.jpg` |
| roughness | `…_Roughness` | `…_rough_1k`, or green of `…_arm_1k` |
| metalness | `…_Metalness` | `…_metal_1k`, or blue of `…_arm_1k` |
| normals | `…_NormalGL`, `…_NormalDX`, `…_Normal` (read as GL) | `…_nor_gl_1k`, `…_nor_dx_1k` |
| displacement | `…_Displacement` | `…_disp_1k` |

jpg, png or exr, with or without the resolution, directly in the folder or in folders of it. A set needs its colour map;
of several resolutions the lowest is read (a set is reduced to 512 pixels anyway). Ambient occlusion and other maps are
not read: the renderer casts its own shadows. The kind of a set (wood, metal ...) is the folder above the set's own
folder or a word of its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sim.assetfolder import license_note
from sim.importchild import ImportChild, cache_folder
from sim.layouts import link_problem
from sim.materials import KINDS
from sim.scene import MaterialSpec

SUFFIXES = (".png", ".exr", ".jpg", ".jpeg")
"""In the order of preference for one map of one resolution: without loss first."""
AMBIENTCG = {
    "color": "color", "roughness": "roughness", "metalness": "metalness", "normalgl": "normal_gl",
    "normal": "normal_gl", "normaldx": "normal_dx", "displacement": "displacement",
}  # fmt: skip
POLYHAVEN = {
    "diff": "color", "diffuse": "color", "col": "color", "rough": "roughness", "metal": "metalness",
    "nor_gl": "normal_gl", "nor_dx": "normal_dx", "disp": "displacement", "arm": "arm",
}  # fmt: skip
UNREAD = {"ambientocclusion", "opacity", "emission", "ao", "spec", "spec_ior", "translucent", "mask"}
"""Maps that both sites ship and that are left alone without a word."""
_MAPS = sorted({*AMBIENTCG, *POLYHAVEN, *UNREAD}, key=len, reverse=True)
_NAME = re.compile(
    r"(?P<name>.+?)(?:_(?P<before>\d+)k(?:-(?:jpg|png|exr))?)?"
    rf"_(?P<map>{'|'.join(_MAPS)})(?:_(?P<after>\d+)k)?",
    re.IGNORECASE,
)
# Words in the names of both sites' sets, by the kind of material they show.
WORDS: dict[str, tuple[str, ...]] = {
    "wood": ("wood", "woodfloor", "planks", "plank", "parquet", "plywood", "timber", "oak", "bamboo"),
    "bark": ("bark",),
    "metal": ("metal", "metalplates", "steel", "iron", "rust", "aluminium", "copper", "chrome", "corrugated", "gold"),
    "stone": ("stone", "stones", "rock", "rocks", "marble", "granite", "gravel", "cliff", "pavement", "pavingstones",
              "slate", "travertine", "terrazzo", "onyx", "cobblestone", "sand", "ground"),
    "brick": ("brick", "bricks"),
    "fabric": ("fabric", "carpet", "wool", "cotton", "denim", "wicker", "cloth", "velvet", "curly"),
    "leather": ("leather",),
    "concrete": ("concrete", "asphalt", "plaster", "cement", "road"),
    "ceramic": ("tiles", "tile", "ceramic", "porcelain", "rooftiles"),
    "plastic": ("plastic", "rubber", "foam", "acrylic", "paintedplaster"),
    "paper": ("paper", "cardboard", "wallpaper"),
    "foliage": ("grass", "leaf", "leaves", "moss", "hedge", "ivy"),
}  # fmt: skip
REPEATS_PER_M = 2.0
"""Repetitions per metre of object space; sets show between 0.5 and 2 m, and objects are 1 m long."""
IMPORT_VERSION = 1
"""Part of the cache's key: to be raised when an import gives other maps."""


@dataclass(frozen=True)
class TextureSet:
    material: MaterialSpec
    maps: Path
    """Normalised maps in the cache, as `sim.textures` writes them."""
    sha256: str
    """Of the maps' roles and files."""


@dataclass(frozen=True)
class TextureScan:
    sets: tuple[TextureSet, ...]
    """Sorted by name."""
    problems: dict[str, str]
    """Why a file was not taken, by path inside the folder."""
    license: str


@dataclass(frozen=True)
class MapName:
    """What the name of a file says."""

    set_name: str
    role: str | None
    """None: a map that is not read."""
    resolution_k: int


def parse_name(stem: str) -> MapName | None:
    """Set, map and resolution of a file name without its suffix; None when it names no map."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    word = match["map"].lower()
    role = AMBIENTCG.get(word) or POLYHAVEN.get(word)
    return MapName(match["name"], role, int(match["before"] or match["after"] or 0))


def scan_textures(root: Path, *, strict: bool = False) -> TextureScan:
    """Find, import and cache every texture set under `root`.

    A set with a broken file is not taken, and the file is listed.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no texture set is left; or with `strict` any file is not taken.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"texture folder {root} does not exist")
    found, problems = _find(root)
    if not found and not problems:
        raise ValueError(f"texture folder {root} holds no texture set; wanted: <name>_Color.jpg or <name>_diff_1k.jpg")
    sets = []
    child = ImportChild()
    try:
        for name, maps in found.items():
            taken = _take(root, name, maps, child)
            if isinstance(taken, dict):
                problems |= taken
            else:
                sets.append(taken)
    finally:
        child.close()
    first = next(iter(problems.items()), ("", ""))
    if strict and problems:
        raise ValueError(f"{first[0]}: {first[1]} ({len(problems)} files were not taken)")
    if not sets:
        raise ValueError(f"texture folder {root} is left without a texture set; first reason: {first[0]}: {first[1]}")
    return TextureScan(tuple(sets), problems, license_note(root))


def _find(root: Path) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """File of every map by set, sets by their path inside `root`; and why a picture belongs to none."""
    candidates: dict[str, dict[str, list[tuple[int, int, Path]]]] = defaultdict(lambda: defaultdict(list))
    strange: dict[str, Path] = {}
    names = set()
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES or not (path.is_file() or path.is_symlink()):
            continue
        folder = path.parent.relative_to(root)
        parsed = parse_name(path.stem)
        if parsed is None:
            strange[path.relative_to(root).as_posix()] = folder / path.stem
            continue
        names.add(folder / parsed.set_name)
        if parsed.role is not None:
            key = (folder / parsed.set_name).as_posix()
            candidates[key][parsed.role].append((parsed.resolution_k, SUFFIXES.index(suffix), path))
    problems = {
        # ambientCG puts a preview beside the maps: <name>.png
        name: "its name ends in no map's name such as _Color or _diff_1k"
        for name, stem in strange.items()
        if stem not in names
    }
    found = {}
    for key, roles in sorted(candidates.items()):
        chosen = {role: min(options)[2] for role, options in sorted(roles.items())}
        if "color" in chosen:
            found[key] = chosen
        else:
            problems[next(iter(chosen.values())).relative_to(root).as_posix()] = "its set has no colour map"
    return found, problems


def _take(root: Path, name: str, maps: dict[str, Path], child: ImportChild) -> TextureSet | dict[str, str]:
    """The set, from the cache or freshly imported; or why a file of it is not taken."""
    digest = hashlib.sha256()
    for role, path in maps.items():
        inside = path.relative_to(root).as_posix()
        if (problem := link_problem(path, root, "texture")) is not None:
            return {inside: problem}
        with path.open("rb") as file:
            digest.update(f"{role}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    sha256 = digest.hexdigest()
    place = cache_folder("textures") / f"{sha256}-{IMPORT_VERSION}.npz"
    record = place.with_suffix(".json")
    if place.exists() and record.exists():
        answer = json.loads(record.read_text())
    else:
        answer = child.ask({"maps": {role: str(path) for role, path in maps.items()}, "out": str(place)})
        if "error" in answer:
            guilty = Path(answer["path"]) if "path" in answer else maps["color"]
            return {guilty.relative_to(root).as_posix(): answer["error"]}
        temporary = record.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(answer))
        temporary.replace(record)
    material = MaterialSpec(
        name=f"texture:{name}",
        category=kind_of(Path(name).parts),
        base_color=(1.0, 1.0, 1.0),
        second_color=(1.0, 1.0, 1.0),
        pattern="maps",
        pattern_scale=REPEATS_PER_M,
        metallic=0.0,
        roughness=answer["roughness"],
        transmission=0.0,
        ior=1.5,
        sheen=0.0,
        coat=0.0,
        bump=answer["relief"],
    )
    return TextureSet(material, place, sha256)


def kind_of(parts: Iterable[str]) -> str:
    """Kind of material by the folders and the name of a set, the name last; "other" when no word tells."""
    for part in reversed(tuple(parts)):
        words: list[str] = re.findall(r"[a-z]+", part.lower())
        for word in words:
            if word in KINDS:
                return word
            for kind, known in WORDS.items():
                if word in known:
                    return kind
    return "other"
