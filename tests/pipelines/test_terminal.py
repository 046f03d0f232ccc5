"""Names that hold terminal sequences: shown in words wherever people read them, and right when pasted into a shell."""

from __future__ import annotations

import ast
import csv
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import results
from pipelines.__main__ import main
from pipelines.bar import progress_bar
from pipelines.progress import Display
from pipelines.summary import Score
from pipelines.terminal import say
from pipelines.wording import shell
from sim.text import visible, visible_lines

RED = "\x1b[31mred"
SHOWN = r"\x1b[31mred"
ODD = [
    "a b",
    "it's",
    RED,
    "bell\x07",
    "two\nlines",
    "tab\t",
    "\x9b31m",
    "\u202egpj.exe",
    "back\\slash\x7f",
    "\udcff",
    "$HOME",
]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Exit status and all that `simpath WORDS` writes, in this process."""
    monkeypatch.setattr(sys, "argv", ["simpath", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    written = "".join(capsys.readouterr())
    assert isinstance(ended.value.code, int)
    return ended.value.code, written


@pytest.mark.parametrize("name", ODD)
def test_a_visible_name_is_printable_and_plain_names_stay(name: str) -> None:
    assert visible(name).isprintable()
    assert visible("Größe 3_b|c") == "Größe 3_b|c"
    assert visible_lines("one\ntwo\x1b") == "one\ntwo\\x1b"


@pytest.mark.parametrize("name", ODD)
def test_json_text_made_visible_is_json_of_the_same_value(name: str) -> None:
    assert json.loads(visible(json.dumps({name: name}, ensure_ascii=False))) == {name: name}


def test_a_printed_command_gives_bash_the_same_words() -> None:
    text = shell(("printf", r"%s\0", *ODD))
    assert text.isprintable() and "'a b'" in text and r"$'\x1b[31mred'" in text
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True)
    assert [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")] == [*ODD, ""]
    assert shlex.split(shell(("simpath", "a b"))) == ["simpath", "a b"]


def test_only_one_function_of_the_package_prints() -> None:
    files = sorted((Path(__file__).parents[2] / "pipelines").rglob("*.py"))
    assert len(files) > 40
    printing = {
        path.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "print"
    }
    assert printing == {"terminal.py"}


def test_error_lines_name_a_folder_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("inspect", tmp_path / RED), ("report", tmp_path / RED), ("store", "ls", tmp_path / RED)):
        status, written = run(monkeypatch, capsys, *words)
        assert status == 1 and SHOWN in written and "\x1b" not in written


def test_status_shows_titles_and_problems_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display(io.StringIO(), status=tmp_path / "status.json", title=f"simpath {RED}")
    display.board.problems.append(f"features 3f: task {RED} has one class")
    display.close()
    status, written = run(monkeypatch, capsys, "status", tmp_path)
    assert status == 0 and written.count(SHOWN) == 2 and "\x1b" not in written


def test_tasks_verify_shows_files_and_classes_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("AnnualCrop", 3), (RED, 1)):
        (tmp_path / "EuroSAT" / "2750" / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((8, 8, 3), index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "EuroSAT" / "2750" / name / f"{name}_{index}.jpg")
    status, written = run(monkeypatch, capsys, "tasks", "verify", "EuroSAT", "--root", tmp_path)
    assert status == 1 and f"1 classes without test images, first {SHOWN}" in written and "\x1b" not in written
    status, written = run(monkeypatch, capsys, "tasks", "verify", "EuroSAT", "--root", tmp_path / RED)
    assert status == 1 and f"{SHOWN}/EuroSAT is missing" in written and "\x1b" not in written


def test_progress_lines_and_problems_are_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("features", "images") as progress:
        progress(3, 3, f"features of {RED}")
    stream = io.StringIO()
    Display(stream).say(f"task {RED}")
    say(f"task {RED}")
    written = [*capsys.readouterr(), stream.getvalue()]
    assert all(SHOWN in text and "\x1b" not in text for text in written)


def test_a_terminal_table_keeps_notes_in_words() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    display = Display(stream)
    display.submitted("features", "images")
    display.started("features", "d")
    display.message({"stage": "features", "digest": "d", "done": 1, "total": 9, "note": f"of {RED}"})
    display.say(f"task {RED}")
    display.tick(1)
    display.close()
    written = stream.getvalue()
    assert written.count(SHOWN) >= 2 and RED not in written


def test_tables_and_csv_hold_names_in_words() -> None:
    score = Score(RED, "chosen", 80.0, ci95=(75.0, 85.0))
    assert SHOWN in results.format_table([score], [RED]) and RED not in results.format_table([score], [RED])
    rows = list(csv.DictReader(io.StringIO(results.as_csv([{"task": RED, "score": 80.0, "settings": ("s0", "s1")}]))))
    assert rows == [{"task": SHOWN, "score": "80.0", "settings": "s0 s1"}]
