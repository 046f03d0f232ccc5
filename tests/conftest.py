"""Processes that tests fork find PyTorch imported already: importing it takes longer than what most of them do."""

from __future__ import annotations

import multiprocessing

multiprocessing.get_context("forkserver").set_forkserver_preload(
    ["torch", "torchvision", "timm", "timm.optim", "pretrain.run", "transfer.dense.readers", "transfer.dense.rows"]
)
