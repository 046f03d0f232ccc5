"""The import arrows of the packages, checked on the syntax trees (nothing is imported here)."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "sim": set(),
    "pretrain": {"sim"},
    "transfer": {"pretrain", "sim"},
    "controller": {"sim"},
    "pipelines": {"sim", "pretrain", "transfer", "controller"},
}
FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            modules.add(node.module or "")
    return modules


# What a package is called where its module has another name.
PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "dask_jobqueue": "dask-jobqueue",
    "mathutils": "bpy",
    "png": "pypng",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}


def test_every_package_that_is_imported_is_declared_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["render"]]
    declared = {re.split(r"[<>=!~;\[ ]", line)[0] for line in lines}
    imported = {module.split(".")[0] for path in FILES for module in imported_modules(path)}
    packages = {PACKAGES.get(name, name) for name in imported - set(MAY_IMPORT) - set(sys.stdlib_module_names)}
    assert len(packages) >= 25
    assert packages <= declared
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0].lower() for line in constraints.splitlines()}
    assert declared <= pinned
    assert "cryptography" in declared, "Dask imports it for a batch system's TLS, and does not declare it"


def test_there_are_files_to_check() -> None:
    assert len(FILES) >= 20


def test_imports_follow_the_arrows() -> None:
    for path in FILES:
        relative = path.relative_to(ROOT)
        package = relative.parts[0]
        roots = {module.split(".")[0] for module in imported_modules(path)}
        forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
        assert not roots & forbidden, f"{relative}: {package} may import only {sorted(MAY_IMPORT[package])}"
        if not str(relative).startswith("sim/blender/"):
            assert not roots & {"bpy", "blenderproc", "mathutils"}, f"{relative}: only sim/blender imports Blender"
        if str(relative) != "pipelines/cluster.py":
            dask = roots & {"dask", "distributed", "dask_jobqueue"}
            assert not dask, f"{relative}: only pipelines/cluster.py imports Dask"


def test_no_module_is_a_junk_drawer() -> None:
    for path in FILES:
        assert path.stem not in {"utils", "util", "common", "helpers", "base", "misc"}, path


def test_randomness_comes_through_an_argument() -> None:
    """No module-level or argument-free generator, no global seeding of numpy or random."""
    calls = [(path, node) for path in FILES for node in nodes_of(path) if isinstance(node, ast.Call)]
    assert len(calls) > 1000
    for path, node in calls:
        if not isinstance(node.func, ast.Attribute):
            continue
        name = ast.unparse(node.func)
        if name.endswith(("default_rng", "random.RandomState", "random.Random")):
            assert node.args or node.keywords, f"{path}:{node.lineno}: {name}() without a seed"
        assert not name.startswith(("np.random.seed", "numpy.random.seed")), f"{path}:{node.lineno}: {name}"
