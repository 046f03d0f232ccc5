"""What the doctor says of a machine: with pieces missing that are there, and without a start of Blender."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines import doctor
from pipelines.doctor import RENDER_MODULES, Check
from sim.blender.bridge import DEBIAN_PACKAGES, INSTALL_RENDER, BlenderUnavailable, _import_packages

ROOT = Path(__file__).parents[2]
NO_LIBRARY = "libXrender.so.1: cannot open shared object file: No such file or directory"


class Broken:
    """An importer that fails for one module."""

    def __init__(self, module: str, error: Exception) -> None:
        self._module, self._error = module, error

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        if name == self._module:
            raise self._error


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    def break_import(module: str, error: Exception) -> None:
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setattr(sys, "meta_path", [Broken(module, error), *sys.meta_path])

    return break_import


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put the end of a process, or an error, in the place of each that would be started."""

    def answer(status: int = 0, out: str = "", errors: str = "", *, late: bool = False) -> None:
        def run(command: list[str], *, timeout: float, **_: Any) -> subprocess.CompletedProcess[str]:
            if late:
                raise subprocess.TimeoutExpired(command, timeout)
            return subprocess.CompletedProcess(command, status, out, errors)

        monkeypatch.setattr("pipelines.doctor.subprocess.run", run)

    return answer


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Every package of the extra `render` is there, but for some."""

    def without(*absent: str) -> None:
        def find_spec(name: str) -> object:
            return None if name in absent else object()

        monkeypatch.setattr("pipelines.doctor.importlib.util.find_spec", find_spec)
        monkeypatch.setattr("pipelines.doctor.importlib.metadata.version", lambda package: f"0 of {package}")

    return without


def test_rendering_is_looked_for_with_every_package_of_its_extra() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["render"]
    assert len(extra) == 10
    assert sorted(RENDER_MODULES.values()) == sorted(line.split(";")[0].split("<")[0] for line in extra)
    if importlib.util.find_spec("bpy") is not None:
        assert all(importlib.util.find_spec(module) is not None for module in RENDER_MODULES)


@pytest.mark.parametrize("absent", [("bpy",), ("cv2", "png"), tuple(RENDER_MODULES)])
def test_packages_that_rendering_lacks_are_named_with_the_command_that_brings_them(
    absent: tuple[str, ...], installed: Callable[..., None]
) -> None:
    installed(*absent)
    check = doctor._blender()
    named = ", ".join(RENDER_MODULES[module] for module in RENDER_MODULES if module in absent)
    assert check == Check("Blender", "missing", f"not installed: {named}; rendering needs {INSTALL_RENDER}")


def test_a_missing_system_library_is_one_line_with_the_packages_to_install(
    installed: Callable[..., None], child: Callable[..., None]
) -> None:
    installed()
    child(1, errors=f"Traceback (most recent call last):\nImportError: {NO_LIBRARY}\n")
    check = doctor._blender()
    assert check.state == "missing"
    assert check.text == f"bpy does not import: ImportError: {NO_LIBRARY}; apt-get install {DEBIAN_PACKAGES}"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"status": 1, "errors": "ImportError: of another kind"}, "bpy does not import: ImportError: of another kind"),
        ({"status": -11}, "bpy does not import: exit status -11"),
        ({"late": True}, "bpy did not import within 120 s"),
    ],
)
def test_a_blender_that_does_not_start_is_one_line(
    answer: dict[str, Any], text: str, installed: Callable[..., None], child: Callable[..., None]
) -> None:
    installed()
    child(**answer)
    assert doctor._blender() == Check("Blender", "missing", text)


def test_a_blender_that_works_is_shown_with_its_versions(
    installed: Callable[..., None], child: Callable[..., None]
) -> None:
    installed()
    child(out="4.2.20 LTS")
    assert doctor._blender() == Check("Blender", "ok", "bpy 4.2.20, BlenderProc 0 of blenderproc, pyoidn 0 of pyoidn")


@pytest.mark.parametrize(
    "error", [OSError("libcudart.so.12: cannot open"), RuntimeError("operator nms"), ImportError("no torch")]
)
def test_a_torch_that_does_not_import_is_one_line_and_no_gpu_is_looked_for(
    error: Exception, fail: Callable[[str, Exception], None]
) -> None:
    fail("torch", error)
    assert doctor._torch() == Check("PyTorch", "missing", f"{error}; run `make install`")
    assert doctor._gpu() == Check("GPU", "note", "not looked for: PyTorch does not import")


def test_file_locks_are_tried_by_a_second_process(tmp_path: Path) -> None:
    assert doctor._locks(tmp_path / "store") == Check(
        "File locks", "ok", f"exclude other processes in {tmp_path / 'store'}"
    )
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "text"),
    [({"status": 0}, "do not exclude other processes in "), ({"late": True}, "was not answered within 60 s")],
)
def test_locks_that_exclude_nobody_are_reported(
    tmp_path: Path, answer: dict[str, Any], text: str, child: Callable[..., None]
) -> None:
    child(**answer)
    check = doctor._locks(tmp_path)
    assert (check.name, check.state) == ("File locks", "missing") and text in check.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "state"), [(1.9e9, "missing"), (2.1e9, "ok")])
def test_the_disk_is_that_of_the_nearest_folder_that_exists(
    tmp_path: Path, free: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    class Usage:
        def __init__(self, folder: Path) -> None:
            asked.append(folder)
            self.free = free

    monkeypatch.setattr("pipelines.doctor.shutil.disk_usage", Usage)
    assert doctor._disk(tmp_path / "not" / "yet").state == state
    assert asked == [tmp_path]


def test_notes_stop_nothing_and_what_is_missing_does() -> None:
    lines: list[str] = []
    checks = [Check("A", "ok", "fine"), Check("B", "note", "slow")]
    assert doctor.print_checks(checks, lines.append)
    assert not doctor.print_checks([*checks, Check("C", "missing", "absent")], lines.append)
    assert lines[-1].split() == ["MISSING", "C", "absent"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ImportError(NO_LIBRARY),
            f"Blender needs the system library libXrender.so.1; on Debian: apt-get install {DEBIAN_PACKAGES}",
        ),
        (
            ModuleNotFoundError("No module named 'bpy'", name="bpy"),
            f"Blender's Python module 'bpy' is missing; on Python 3.11: {INSTALL_RENDER}",
        ),
    ],
)
def test_a_rendering_that_lacks_a_library_or_a_package_says_what_to_install(
    error: Exception, text: str, fail: Callable[[str, Exception], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCV_IO_ENABLE_OPENEXR", "0")  # restored after the function has set it
    fail("bpy", error)
    with pytest.raises(BlenderUnavailable) as caught:
        _import_packages()
    assert str(caught.value) == text
