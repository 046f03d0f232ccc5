"""`simpath controller`: recorded reward tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from pipelines.bar import progress_bar

JsonFlag = Annotated[bool, tyro.conf.arg(name="json")]


def replay(
    table: tyro.conf.Positional[Path],
    embeddings: Path,
    seen: str,
    unseen: str,
    seeds: int = 5,
    json_line: JsonFlag = False,
) -> int:
    """Replay every method on a recorded reward table and compare what each chooses.

    Args:
        table: CSV with the columns task, one for each parameter, and reward.
        embeddings: NPZ with one vector for each task name.
        seen: tasks to learn from, separated by commas.
        unseen: tasks to choose for, separated by commas.
        seeds: number of seeds, from 0.
        json_line: print all of it as one JSON object on the last line.
    """
    from pipelines.replay import format_replay, replay_files

    with progress_bar("replay", "runs") as progress:
        result = replay_files(
            table, embeddings, seen=_names(seen), unseen=_names(unseen), seeds=seeds, progress=progress
        )
    print(format_replay(result))
    if json_line:
        print(json.dumps(result))
    return 0


def export_table(run: tyro.conf.Positional[Path], out: Path) -> int:
    """Write the rewards of a run as a table that `simpath controller replay` reads.

    Args:
        run: directory of a run.
        out: CSV to write.
    """
    from pipelines.replay import export_table as export

    found = export(run, out)
    print(f"{out}: {found['tasks']} tasks x {found['settings']} settings, {found['left_out']} incomplete ones left out")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
