"""`simpath controller` and `recommend`: recorded reward tables, and what they say about a new task."""

from __future__ import annotations

import json
import tempfile
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


def train(
    table: tyro.conf.Positional[Path], embeddings: Path, out: Path, rounds: int | None = None, seed: int = 0
) -> int:
    """Train the controller on a recorded reward table; resumable.

    Args:
        table: CSV with the columns task, one for each parameter, and reward.
        embeddings: NPZ with one vector for each task name.
        out: directory of the controller.
        rounds: of asking and telling; default: the controller's.
        seed: of every random draw.
    """
    from controller.reinforce import ReinforceConfig
    from pipelines.recommend import train_controller

    config = ReinforceConfig(seed=seed) if rounds is None else ReinforceConfig(seed=seed, rounds=rounds)
    with progress_bar("train", "rounds") as progress:
        train_controller(config, table, embeddings, out=out, progress=progress)
    print(f"controller  {out}")
    return 0


def recommend(
    task: str,
    controller: Path,
    probe: str,
    root: Path | None = None,
    size: int = 224,
    resize: int | None = None,
    num_images: int = 40_000,
    threads: int | None = None,
) -> int:
    """Recommend simulation parameters for a new task, without rendering anything.

    Prints the parameters with their probabilities, the expected gain, the nearest known tasks and a render command.

    Args:
        task: a task's name or a folder of class folders.
        controller: directory that `simpath controller train` made.
        probe: the network that the controller's task vectors were made with, such as torchvision:resnet18 or a FILE.
        root: where the files of named tasks lie, each under ROOT/NAME.
        size: input side in pixels, as for the controller's vectors.
        resize: short side before the centre crop; default: 8/7 of `size`.
        num_images: of the printed render command.
        threads: CPU threads; default: all cores.
    """
    from pipelines.recommend import format_recommendation
    from pipelines.recommend import recommend as find
    from transfer.embedding import EmbeddingConfig, embed_task, load_vector

    config = EmbeddingConfig(size=size, resize=resize or size * 8 // 7)
    with tempfile.TemporaryDirectory() as scratch, progress_bar("embed", "images") as progress:
        embed_task(config, probe, task, out=Path(scratch), root=root, threads=threads, progress=progress)
        vector, about = load_vector(Path(scratch))
    print(format_recommendation(find(controller, str(about["task"]), vector, num_images=num_images)))
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
