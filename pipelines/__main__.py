"""The command line, `simpath` or `python -m pipelines`: typed functions through tyro, one for each command.

Results go to stdout, progress and errors to stderr. Exit status: 0 complete, 1 failed, 2 usage, 3 partial (what is
missing is listed), 75 saved after SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import tyro

from pipelines.commands import (
    FAILED,
    INTERRUPTED,
    SAVED,
    USAGE,
    backbones,
    controller,
    data,
    multitask,
    networks,
    pretraining,
    runs,
    store,
    tasks,
)
from pipelines.terminal import say
from pipelines.usage import UsageError
from pretrain.train import SavedAndStoppedError
from sim.text import visible

DESCRIPTION = "Render synthetic images, pre-train on them, learn which ones suit a task, measure the transfer."


class Terminated(SystemExit):
    """SIGTERM came."""


def build_app() -> tyro.extras.SubcommandApp:
    """All commands with the line that stands for each in `simpath --help`."""
    app, sets, rewards, care = (tyro.extras.SubcommandApp() for _ in range(4))
    commands: tuple[tuple[Callable[..., int], str], ...] = (
        (store.doctor, "Say what this machine has and lacks for each stage."),
        (runs.demo, "Run the whole flow at toy scale, with nothing to download."),
        (data.render, "Render a data set of object images into WebDataset shards."),
        (data.inspect, "Verify a data set, count its classes, write a contact sheet."),
        (pretraining.pretrain, "Pre-train a backbone on a data set."),
        (backbones.evaluate, "Score a backbone on a downstream task."),
        (networks.classify, "Classify images with a network that was trained for a task."),
        (backbones.embed, "Compute the Task2Vec vector of a task."),
        (controller.recommend, "Recommend simulation parameters for a new task."),
        (runs.run, "Run the whole experiment on your own tasks."),
        (multitask.multitask, "Train dense multi-task networks (AdaShare and its baselines)."),
        (runs.submit, "Run a command as a batch job."),
        (runs.status, "Say how a run is doing, from another shell."),
        (runs.report, "Write the report of a run anew."),
    )
    for function, text in commands:
        app.command(help=text)(function)
    app.command(sets, name="tasks", help="List, verify and fetch the 20 downstream sets; table their results.")
    app.command(rewards, name="controller", help="Train on, replay and export reward tables.")
    app.command(care, name="store", help="Care for an artifact store.")
    groups: tuple[tuple[tyro.extras.SubcommandApp, str, Callable[..., int]], ...] = (
        (sets, "list", tasks.ls),
        (sets, "verify", tasks.verify),
        (sets, "download", tasks.download),
        (sets, "table", tasks.table),
        (rewards, "train", controller.train),
        (rewards, "replay", controller.replay),
        (rewards, "export-table", controller.export_table),
        (care, "ls", store.ls),
        (care, "du", store.du),
        (care, "gc", store.gc),
        (care, "forget", store.forget),
        (care, "verify", store.verify),
    )
    for group, name, function in groups:
        group.command(name=name)(function)
    return app


def main() -> None:
    """Entry point of the console script. A deliberate error ends in one line on stderr and status 1, or 2 for usage."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = build_app().cli(prog="simpath", description=DESCRIPTION)
    except (ValueError, OSError, RuntimeError) as error:
        say(f"simpath: {_one_line(error)}", sys.stderr)
        status = USAGE if isinstance(error, UsageError) else FAILED
    except SavedAndStoppedError as stopped:
        say(f"simpath: {_one_line(stopped)}; run the same command again to continue", sys.stderr)
        status = stopped.exit_status
    except KeyboardInterrupt:
        say("simpath: interrupted; run the same command again to continue", sys.stderr)
        status = INTERRUPTED
    except Terminated:
        say("simpath: stopped by SIGTERM; run the same command again to continue", sys.stderr)
        status = SAVED
    if "TORCHELASTIC_RUN_ID" in os.environ:  # one rank of `torchrun -m pipelines pretrain`
        from pretrain.ranks import end_process

        end_process(status)
    raise SystemExit(status)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    # once: a batch system that signals a whole group reaches this process directly and through its script
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # an exception unwinds the open `with` blocks, which save and stop what runs
    raise Terminated(SAVED)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {visible(str(error.filename))}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
