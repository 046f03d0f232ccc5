"""The stage that makes the demo's own two tasks on the spot (see `transfer.made`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class MadeConfig:
    """Which task, and the seed of everything that is drawn for it."""

    kind: Literal["line_drawings", "textures"]
    seed: int = 0


def made_task_stage(
    config: MadeConfig, *, out: Path, progress: Callable[[int, int, str], None] | None = None
) -> dict[str, Any]:
    """Stage `made_task`: the images under `out/images` as train/<class>/ and test/<class>/."""
    from transfer.made import make_line_drawings, make_textures

    make = make_line_drawings if config.kind == "line_drawings" else make_textures
    return make(out / "images", seed=config.seed, progress=progress)
