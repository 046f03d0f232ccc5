"""What tests run in a process of its own that was forked when PyTorch was imported: a command, a training by two."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def command(words: list[str], printed: str) -> None:
    """`simpath WORDS`."""
    from pipelines.__main__ import main

    print_to(printed)
    sys.argv[:] = ["simpath", *words]
    main()


def train_by_two(config: str, data: str, out: str, printed: str) -> None:
    """The stage `pretrain` by two processes; says when it has begun, and that one of them has died."""
    from pipelines.configs import from_json
    from pipelines.job import ProcessDied
    from pipelines.training import pretrain_stage
    from pretrain.train import PretrainConfig

    print_to(printed)
    settings = from_json(PretrainConfig, json.loads(config), "pretrain")

    def progress(done: int, total: int, note: str) -> None:
        print("begun", flush=True)

    try:
        pretrain_stage(settings, data=Path(data), out=Path(out), processes=2, progress=progress)
    except ProcessDied as error:
        print(error, flush=True)


def print_to(file: str) -> None:
    """What this process and its children say goes to a file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
