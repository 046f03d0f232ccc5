"""`simpath controller` and `recommend`: recorded reward tables, and what they say about a new task."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.bar import progress_bar
from pipelines.commands import PARTIAL, usage_error
from pipelines.commands.runs import PlaceOptions
from pipelines.locks import alone
from pipelines.place import LOCAL
from pipelines.terminal import say

Preset = Literal["demo", "small", "paper"]
JsonFlag = Annotated[bool, tyro.conf.arg(name="json")]


def replay(
    table: tyro.conf.Positional[Path],
    embeddings: Path,
    seen: str,
    unseen: str,
    seeds: int = 5,
    methods: str | None = None,
    json_line: JsonFlag = False,
) -> int:
    """Replay every method on a recorded reward table and compare what each chooses.

    Args:
        table: CSV with the columns task, one for each parameter, and reward.
        embeddings: NPZ with one vector for each task name.
        seen: tasks to learn from, separated by commas.
        unseen: tasks to choose for, separated by commas.
        seeds: number of seeds, from 0.
        methods: names separated by commas, such as best_fixed,few_shot_8; default: all.
        json_line: print all of it as one JSON object on the last line.
    """
    from controller.replay import METHODS
    from pipelines.replay import format_replay, replay_files

    names = METHODS if methods is None else _names(methods)
    with progress_bar("replay", "runs") as progress:
        result = replay_files(
            table,
            embeddings,
            seen=_names(seen),
            unseen=_names(unseen),
            seeds=seeds,
            methods=names,
            progress=progress,
        )
    say(format_replay(result))
    if json_line:
        say(json.dumps(result))
    return 0


def train(
    table: tyro.conf.Positional[Path | None] = None,
    *,
    out: Path,
    embeddings: Path | None = None,
    rounds: int | None = None,
    tasks: Path | None = None,
    probe: str | None = None,
    budget: int | None = None,
    preset: Preset = "small",
    in_flight: int | None = None,
    size: int = 224,
    resize: int | None = None,
    draws: int = 10_000,
    seed: int = 0,
    store: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    place: PlaceOptions = LOCAL,
) -> int:
    """Train the controller on a recorded reward table, or live on tasks of your own; resumable.

    Recorded: `TABLE --embeddings FILE.npz`. Live: `--tasks DIR --probe P --budget N`, which renders, pre-trains and
    scores what the controller asks for, as `simpath run` does. OUT is then what `simpath recommend` reads.

    Args:
        table: CSV with the columns task, one for each parameter, and reward.
        out: directory of the controller.
        embeddings: NPZ with one vector for each task name.
        rounds: of asking and telling on a table; default: the controller's.
        tasks: live: a folder with one labelled image folder for each task.
        probe: live: the network that the task vectors are made with, such as torchvision:resnet18 or a FILE.
        budget: live: settings to render at most.
        preset: live: how settings are rendered, pre-trained and scored.
        in_flight: live: settings asked for at once; default: the preset's.
        size: live: input side of the task vectors in pixels.
        resize: live: short side before the centre crop; default: 8/7 of `size`.
        draws: live: images drawn for a task vector.
        seed: of every random draw of the controller.
        store: live: directory of the artifact store; default OUT/store.
        device: live: where networks train and Blender renders; beside a cluster, vectors are made here on the CPU.
        threads: live: CPU threads of the task vectors; default: all cores.
        place: live: where the work is done.
    """
    recorded = {"TABLE": table, "--embeddings": embeddings}
    live = {"--tasks": tasks, "--probe": probe, "--budget": budget}
    given = [name for name, value in (recorded | live).items() if value is not None]
    if given not in (list(recorded), list(live)):
        return usage_error(
            f"controller train got {' '.join(given) or 'neither a table nor tasks'}; needed: TABLE --embeddings FILE "
            f"(recorded), or --tasks DIR --probe P --budget N (live)"
        )
    other: dict[str, object] = {"--rounds": rounds}
    if tasks is None:
        other = {"--in-flight": in_flight, "--resize": resize, "--store": store, "--threads": threads}
    if ignored := [name for name, value in other.items() if value is not None]:
        return usage_error(f"controller train {'TABLE' if tasks is None else '--tasks'} takes no {ignored[0]}")
    if budget is not None and budget < 2:
        return usage_error(f"--budget is {budget}; allowed: 2 or more, for all off and all on come first")
    if table is not None and embeddings is not None:
        from controller.reinforce import ReinforceConfig
        from pipelines.controllers import train_controller

        recorded_config = ReinforceConfig(seed=seed) if rounds is None else ReinforceConfig(seed=seed, rounds=rounds)
        with alone(out), progress_bar("train", "rounds") as progress:
            train_controller(recorded_config, table, embeddings, out=out, progress=progress)
        say(f"controller  {out}")
        return 0
    assert tasks is not None and probe is not None and budget is not None
    from pipelines.live import train_live
    from pipelines.presets import PRESETS, tasks_under
    from transfer.embedding import EmbeddingConfig

    config = dataclasses.replace(PRESETS[preset], uniform_settings=0)
    asked = config.controller.in_flight if in_flight is None else in_flight
    chooser = dataclasses.replace(config.controller, budget=budget, in_flight=asked, seed=seed)
    config = dataclasses.replace(config, controller=chooser)
    result = train_live(
        config,
        tasks_under(tasks),
        EmbeddingConfig(size=size, resize=resize or size * 8 // 7, draws=draws),
        probe,
        out=out,
        store=store,
        place=place,
        device=device,
        threads=threads,
    )
    say(result.text)
    return result.status


def recommend(
    task: str,
    controller: Path,
    probe: str,
    budget: int = 0,
    preset: Preset = "small",
    out: Path | None = None,
    store: Path | None = None,
    root: Path | None = None,
    size: int = 224,
    resize: int | None = None,
    draws: int = 10_000,
    num_images: int = 40_000,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    place: PlaceOptions = LOCAL,
) -> int:
    """Recommend simulation parameters for a new task.

    Prints the parameters with their probabilities, the expected gain, the nearest known tasks and a render command.
    Without a budget nothing is rendered. With one, so many settings are rendered, pre-trained on and scored on the
    task's training images, and the answer is refined by each; stopped, the same command continues.

    Args:
        task: a task's name or a folder of class folders.
        controller: directory that `simpath controller train` made.
        probe: the network that the controller's task vectors were made with, such as torchvision:resnet18 or a FILE.
        budget: settings to evaluate live.
        preset: with a budget: how they are rendered, pre-trained and scored; as what the controller learnt from.
        out: keep the vector, recommendation.json and logs there; default: nowhere, with a budget ./recommended.
        store: with a budget: directory of the artifact store; default OUT/store.
        root: where the files of named tasks lie, each under ROOT/NAME.
        size: input side in pixels, as for the controller's vectors.
        resize: short side before the centre crop; default: 8/7 of `size`.
        draws: images drawn for the task's vector, as for the controller's.
        num_images: of the printed render command.
        device: where networks run and, with a budget, Blender renders.
        threads: CPU threads of the task's vector; default: all cores.
        place: with a budget: where the work is done.
    """
    if budget < 0:
        return usage_error(f"--budget is {budget}; allowed: 0 or more")
    if budget and root is not None:
        return usage_error("recommend --budget needs --task FOLDER; --root is for named tasks, which it cannot score")
    from pipelines.live import recommend_task
    from pipelines.presets import PRESETS
    from pipelines.recommend import format_recommendation
    from transfer.embedding import EmbeddingConfig

    if budget and out is None:
        out = Path("recommended")
    with tempfile.TemporaryDirectory() as scratch:
        result = recommend_task(
            PRESETS[preset],
            task,
            EmbeddingConfig(size=size, resize=resize or size * 8 // 7, draws=draws),
            probe,
            controller,
            budget=budget,
            num_images=num_images,
            out=out or Path(scratch),
            store=store,
            place=place,
            device=device,
            root=root,
            threads=threads,
        )
    say(format_recommendation(result))
    if out is not None:
        say(f"numbers  {out / 'recommendation.json'}")
    return PARTIAL if result.missing else 0


def export_table(run: tyro.conf.Positional[Path], out: Path) -> int:
    """Write the rewards of a run as a table that `simpath controller replay` reads.

    Args:
        run: directory of a run.
        out: CSV to write.
    """
    from pipelines.replay import export_table as export

    found = export(run, out)
    say(f"{out}: {found['tasks']} tasks x {found['settings']} settings, {found['left_out']} incomplete ones left out")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
