"""`simpath classify`: images by a network that `simpath evaluate` has trained."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipelines.bar import progress_bar
from pipelines.commands import PARTIAL
from pipelines.doctor import require_device
from pipelines.scores import result_text
from pipelines.terminal import say


def classify(
    network: Path,
    images: Path,
    out: Path,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
) -> int:
    """Classify images with a network of `simpath evaluate --keep-networks`, running only the blocks that they need.

    The last line is one JSON object {images, method, task, flops_plain, flops_network,
    flops_policy}, float operations per image. Exit status 3 if some of them could not be read.

    Args:
        network: a file of EVALUATE_OUT/METHOD/networks.
        images: a folder, searched with its subfolders for files with the suffix of an image, or one image.
        out: a CSV file, replaced if it exists: image (its path below the folder), class, probability, and with
            SpotTune or BlockDrop the number of blocks tuned or kept.
        device: where the network runs.
        threads: CPU threads; default: all cores.
    """
    require_device(device)
    import numpy as np
    import torch

    from pretrain.checkpoint import write_atomic
    from transfer.data import FileSource, image_files, image_set
    from transfer.pathways.parts import decode_part
    from transfer.pathways.trained import classify as classify_pixels
    from transfer.pathways.trained import load_trained

    if threads is not None:
        torch.set_num_threads(threads)
    if not images.exists():
        raise FileNotFoundError(f"images {images}: no such file or folder")
    root, files = (images, image_files(images)) if images.is_dir() else (images.parent, [images])
    if not files:
        raise ValueError(f"images {images}: the folder holds no image")
    trained = load_trained(network, device=device)
    _refuse_place(out, [network, *files])
    names = tuple(path.relative_to(root).as_posix() for path in files)
    found = image_set(names, np.zeros(len(names), dtype=np.int64), FileSource(root, names))
    with progress_bar("classify", "images") as progress:
        pixels = decode_part(
            trained.config,
            found,
            mean=trained.mean,
            std=trained.std,
            note=f"images of {images}",
            unreadable_share=1.0,
            progress=progress,
        )
        predictions, flops = classify_pixels(
            trained, pixels, device=device, classified=lambda count: progress(count, len(pixels), "classified")
        )
    header = ["image", "class", "probability"]
    columns: list[list[object]] = [
        list(pixels.images.names),
        [trained.classes[label] for label in predictions.probabilities.argmax(1).tolist()],
        [f"{value:.4f}" for value in predictions.probabilities.amax(1).tolist()],
    ]
    if predictions.policy is not None:
        header.append("blocks_kept" if trained.method == "blockdrop" else "blocks_tuned")
        columns.append(predictions.policy.sum(1).int().tolist())
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *zip(*columns, strict=True)])
    write_atomic(out, lambda path: path.write_bytes(text.getvalue().encode("utf-8", "backslashreplace")))
    for line in result_text({"skipped": list(pixels.skipped)}):
        say(line)
    say(f"{out}: {len(pixels)} images, {len(trained.classes)} classes of {trained.task}")
    told = {"images": len(pixels), "method": trained.method, "task": trained.task, **flops}
    say(json.dumps(told, ensure_ascii=False))
    return PARTIAL if pixels.skipped else 0


def _refuse_place(out: Path, inputs: Sequence[Path]) -> None:
    """Raises ValueError where a CSV would take the place of what it is made from, or of anything but a file."""
    if out.is_symlink() or (out.exists() and not out.is_file()):
        kind = "a link" if out.is_symlink() else "a folder" if out.is_dir() else "no regular file"
        raise ValueError(f"out {out} is {kind}; allowed: a new file, or a regular one to be replaced")
    if out.exists() and any(out.samefile(path) for path in inputs):
        raise ValueError(f"out {out} is the network or one of the images; choose another file")
