"""What `simpath evaluate` says of a result: metrics beside accuracy, skipped images, the last line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.text import visible
from transfer.finished import skipped_images
from transfer.table_files import METRICS

MAX_SKIPPED = 10
"""Unreadable images that are named; of the others the number is said."""


def result_text(result: Mapping[str, Any]) -> list[str]:
    """Lines above the last one: what the community reports beside accuracy, unreadable images, notes."""
    measured = result.get("metrics", {})
    lines = [
        f"{shown}: {measured[name]:.2f} %"
        for name, shown in METRICS.items()
        if name in measured and name in result.get("also_report", ())
    ]
    skipped = skipped_images(result)
    if skipped:
        lines.append(f"unreadable images that were skipped: {len(skipped)}")
        for part, name, reason in skipped[:MAX_SKIPPED]:
            lines.append(f"  {visible(name)}{f' ({part})' if part else ''}: {visible(reason)}")
        if len(skipped) > MAX_SKIPPED:
            lines.append(f"  and {len(skipped) - MAX_SKIPPED} more; with --out all of them are in summary.json")
    return [*lines, *(f"note: {note}" for note in result.get("notes", ()))]


def result_line(method: str, result: Mapping[str, Any], *, split_seed: int) -> dict[str, Any]:
    """What is printed last."""
    seeds = result.get("seeds", 1)
    line = {
        "task": result["task"],
        "method": method,
        "metric": result["metric"],
        "score": round(result["score"], 2),
        "ci95": [round(bound, 2) for bound in result["ci95"]],
        "n_train": result["n_train"],
        "n_test": result["n_test"],
        "seeds": seeds if isinstance(seeds, int) else len(seeds),
    }
    return {**line, "split_seed": split_seed} if split_seed else line
