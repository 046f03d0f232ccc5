"""`make bench`: every benchmark that needs no argument, and none that does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def needs_arguments(script: Path) -> bool:
    """Whether its parser has a positional or a required argument."""
    calls = [node for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    assert added, f"{script} has no parser"
    return any(
        not ast.literal_eval(call.args[0]).startswith("-") or any(word.arg == "required" for word in call.keywords)
        for call in added
    )


def test_make_bench_runs_those_that_need_no_arguments() -> None:
    scripts = sorted((ROOT / "benchmarks").glob("[a-z]*.py"))
    assert len(scripts) >= 12
    [named] = re.findall(r"^BENCHMARKS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named.split() == [script.stem for script in scripts if not needs_arguments(script)]
