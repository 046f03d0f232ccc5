"""A training process for tests that kill it or run several: trainee.py DATA OUT CONFIG.json [knob=value ...].

Run under the name `forked`, with GIVEN among its globals, it is one of several processes, forked after the imports, or
torchrun, which forks them.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import torch

from pretrain.ranks import end_process
from pretrain.train import PretrainConfig, SavedAndStoppedError, pretrain


def main() -> int:
    torch.set_num_threads(1)
    data, out, config, *knobs = sys.argv[1:]
    fields = json.loads(Path(config).read_text())
    fields["crop_scale"] = tuple(fields["crop_scale"])
    options: dict[str, Any] = {"tensorboard": False}
    for knob in knobs:
        name, value = knob.split("=")
        options[name] = json.loads(value)
    if options.get("compile") == "aot_eager":  # graph capture and its autograd, without the minutes of a C++ compiler
        torch.compile = functools.partial(torch.compile, backend="aot_eager")  # type: ignore[assignment]
        options["compile"] = True
    try:
        pretrain(
            PretrainConfig(**fields),
            data,
            out=Path(out),
            progress=lambda done, total, note: print(done, total, note, flush=True),
            **options,
        )
    except SavedAndStoppedError as stopped:
        print(stopped, flush=True)
        return stopped.exit_status
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def forked(arguments: list[str], environment: dict[str, str], printed: str, torchrun: int) -> int:
    """`main` in this environment, or torchrun with as many processes; what is printed goes to the end of a file."""
    os.environ.update(environment)
    sys.argv[1:] = arguments
    multiprocessing.set_start_method("fork", force=True)  # as in a new interpreter: the loader's workers
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if torchrun:
        from torch.distributed.run import main as run_ranks

        run_ranks(
            ["--standalone", f"--nproc-per-node={torchrun}", "--start-method=fork", "--run-path", __file__, *arguments]
        )
        return 0
    return main()


if __name__ == "__main__":
    end_process(main())
if __name__ == "forked":
    end_process(forked(**globals()["GIVEN"]))
