"""The processes of one training run: one alone, or those that torchrun started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
from torch import distributed, nn

from pretrain.train import SavedAndStoppedError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long the other ranks wait while rank 0 fetches and checks a large remote data set."""


@dataclass(frozen=True)
class Ranks:
    """This process's place. All methods are calls that every rank makes at the same point; alone they do nothing."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    owns_group: bool = False

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, make: Callable[[], T]) -> T:
        """Rank 0 calls `make`; every rank gets its result, or raises its error (ValueError, OSError, a stop)."""
        if self.world_size == 1:
            return make()
        box: list[T | Exception | None] = [None]
        if self.first:
            try:
                box[0] = make()
            except (ValueError, OSError, SavedAndStoppedError) as error:
                box[0] = error
        distributed.broadcast_object_list(box, src=0)
        found = box[0]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank."""
        if self.world_size == 1:
            return flag
        flags = [False] * self.world_size
        distributed.all_gather_object(flags, flag)
        return True in flags

    @torch.no_grad()
    def broadcast_buffers(self, module: nn.Module) -> None:
        """Rank 0's buffers (norm statistics) for all: DDP does so in the next forward pass of training only."""
        if self.world_size > 1:
            for buffer in module.buffers():
                values = buffer.contiguous()
                distributed.broadcast(values, src=0)
                buffer.copy_(values)

    def wait(self) -> None:
        if self.world_size > 1:
            distributed.barrier()

    def leave(self) -> None:
        if self.owns_group:
            distributed.destroy_process_group()


def join_ranks(device: str) -> Ranks:
    """Joins the group that torchrun announces in the environment; without torchrun, one process alone.

    Gloo on the CPU, NCCL on GPUs (one per rank).
    """
    if not distributed.is_torchelastic_launched():
        return Ranks()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    return Ranks(rank, world, local, owns_group=True)


def end_process(status: int) -> NoReturn:
    """Ends the program; one of several ranks leaves without Python's own clean-up.

    Gloo's threads may still hold tensors of the last collective then, and freeing those in an interpreter that is being
    taken down aborts the process (pytorch #179291), which torchrun reports as a failed run.
    """
    if distributed.is_available() and distributed.is_torchelastic_launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
