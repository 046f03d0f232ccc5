"""Speed of pre-training: loader against webdataset and ImageFolder, shards against memory, step against timm's parts.

    python benchmarks/pretrain.py            # about 2 minutes of two idle cores
    python benchmarks/pretrain.py --full     # adds ResNet-50 at 224 px, about 4 minutes more
    python benchmarks/pretrain.py --device cuda   # instead, on a machine with a GPU: 90 s, see _pretrain_gpu.py

Both sides of each comparison run in one process on one thread, turn by turn; the median of the turns' ratios counts, so
that a neighbour's load hits both, and their range says how far to trust it. Rates are images per second of this
process's CPU time, that is, per core; a busy machine does not lower them. Pictures are made here: 256 px, JPEG at
quality 90, about 15 kB, as renders have.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:  # this file has the name of the package that it measures
    os.execv(sys.executable, [sys.executable, "-P", *sys.argv])  # nosec B606 # this script once more

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import statistics
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pretrain.augment import Augmentation, Decoder, normalize
from pretrain.data import ShardSet, open_shards
from pretrain.loader import Batch, ImageSource, decode_all, load_batches
from pretrain.memory import freed_memory_is_kept
from pretrain.order import plan_batches
from pretrain.ranks import Ranks
from pretrain.recipes import PAPER
from pretrain.step import Trainer
from pretrain.train import PretrainConfig, pretrain

STARTED = time.monotonic()
IMAGES, PER_SHARD, CLASSES = 512, 128, 4


def picture(rng: np.random.Generator) -> bytes:
    """Smooth shading with some texture: compresses about as a render of 256 px does."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse).astype(np.int16) + rng.integers(-6, 7, (256, 256, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_sets(root: Path) -> tuple[Path, Path]:
    """The same pictures as shards and as a folder per class."""
    rng = np.random.default_rng(0)
    shards, folders = root / "shards", root / "folders"
    shards.mkdir()
    rows = []
    for first in range(0, IMAGES, PER_SHARD):
        name = f"shard-{first // PER_SHARD:06d}.tar"
        with tarfile.open(shards / name, "w") as tar:
            for index in range(first, first + PER_SHARD):
                content, label = picture(rng), index % CLASSES
                folder = folders / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{index:08d}.jpg").write_bytes(content)
                for suffix, data in (("jpg", content), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{index:08d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        digest = hashlib.sha256((shards / name).read_bytes()).hexdigest()
        rows.append({"name": name, "images": PER_SHARD, "sha256": digest})
    (shards / "index.json").write_text(json.dumps({"shards": rows, "classes": [str(n) for n in range(CLASSES)]}))
    return shards, folders


class Comparison:
    """Measures every side once per turn, after one that is not counted, in images per second of CPU time.

    `keeping`: the sides that run with freed memory kept, as `pretrain.run` does.
    """

    def __init__(
        self, name: str, sides: dict[str, Callable[[], int]], turns: int, *, keeping: Collection[str] = ()
    ) -> None:
        self.rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(turns):
            for side, work in sides.items():
                with freed_memory_is_kept() if side in keeping else contextlib.nullcontext():
                    work()  # warms files, kernels and allocators
                    begun = time.process_time()
                    images = work()
                    self.rates[side].append(images / (time.process_time() - begun))
        print(f"\n{name}")
        for side, values in self.rates.items():
            print(f"  {side:<30} {statistics.median(values):8.1f} images/s per core", flush=True)

    def ratio(self, side: str, other: str, limit: float | None = None) -> bool:
        """Prints the turns' ratios, their median first; false when that misses the limit."""
        ratios = [a / b for a, b in zip(self.rates[side], self.rates[other], strict=True)]
        ratio = statistics.median(ratios)
        missed = limit is not None and ratio < limit
        wanted = "" if limit is None else f" (wanted: {limit}){' MISSED' if missed else ''}"
        turns = f"{min(ratios):.2f} to {max(ratios):.2f} in turns of {' '.join(f'{each:.2f}' for each in ratios)}"
        print(f"  {side} / {other} = {ratio:.2f}{wanted}, {turns}", flush=True)
        return not missed


def ours(shards: ShardSet, decoder: Decoder, cache: Tensor | None = None, rand_augment: str = "") -> Callable[[], int]:
    policy = Augmentation(224, decoder=decoder, interpolation="bilinear", rand_augment=rand_augment)
    source = ImageSource(shards, policy, seed=0, cache=cache)

    def work() -> int:
        plans = plan_batches(num_samples=len(shards), batch_size=64, seed=0, start=0, stop=len(shards) // 64)
        return sum(len(batch.labels) for batch in load_batches(source, plans, workers=0))

    return work


def image_folder(folder: Path) -> Callable[[], int]:
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    data = datasets.ImageFolder(str(folder), stock_transform(transforms))

    def work() -> int:
        return sum(len(labels) for _, labels in DataLoader(data, batch_size=64, shuffle=True))

    return work


def stock_webdataset(directory: Path) -> Callable[[], int]:
    import webdataset
    from torchvision import transforms

    urls = [str(path) for path in sorted(directory.glob("*.tar"))]

    def work() -> int:
        samples = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(256).decode("pil")
        batches = samples.to_tuple("jpg", "cls").map_tuple(stock_transform(transforms), int).batched(64)
        return sum(len(labels) for _, labels in batches)

    return work


def stock_transform(transforms: object) -> Callable[[Image.Image], Tensor]:
    from torchvision.transforms import Compose, PILToTensor, RandomHorizontalFlip, RandomResizedCrop

    composed: Callable[[Image.Image], Tensor] = Compose([RandomResizedCrop(224), RandomHorizontalFlip(), PILToTensor()])
    return composed


def step_config(arch: str, size: int, batch_size: int) -> PretrainConfig:
    return PretrainConfig(
        arch=arch,
        size=size,
        batch_size=batch_size,
        micro_batch=batch_size,
        rand_augment="",
        drop_path=0.0,
        precision=precision(),
    )


def precision() -> Literal["bf16", "fp32"]:
    """Without AVX-512, PyTorch's bf16 kernels for the CPU are many times slower than those for fp32."""
    return "fp32" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "bf16"


def our_step(
    config: PretrainConfig, batches: Callable[[], Iterator[Batch]], steps: int, *, compile: bool = False
) -> Callable[[], int]:
    trainer = Trainer(config, CLASSES, 10**6, "cpu", Ranks(), compile=compile)

    def work() -> int:
        for _, batch in zip(range(steps), batches(), strict=False):
            trainer.train_step(batch)
        return steps * config.batch_size

    return work


def memory(config: PretrainConfig) -> Callable[[], Iterator[Batch]]:
    shape = (config.batch_size, 3, config.size, config.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    batch = Batch(0, 0, images, torch.arange(config.batch_size) % CLASSES, np.arange(config.batch_size))

    def batches() -> Iterator[Batch]:
        while True:
            yield batch

    return batches


def from_shards(config: PretrainConfig, shards: ShardSet, steps: int) -> Callable[[], Iterator[Batch]]:
    source = ImageSource(shards, Augmentation(config.size, interpolation="bicubic"), seed=0)

    def batches() -> Iterator[Batch]:
        plans = plan_batches(num_samples=len(shards), batch_size=config.batch_size, seed=0, start=0, stop=steps, unit=2)
        return load_batches(source, plans, workers=0)

    return batches


def timm_step(config: PretrainConfig, batches: Callable[[], Iterator[Batch]], steps: int) -> Callable[[], int]:
    """The same step from timm's factories: model, optimiser, mixup, loss; settings as in `Trainer`."""
    import timm
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2

    model = timm.create_model(config.arch, num_classes=CLASSES).to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, fused=True)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES)
    loss_function = SoftTargetCrossEntropy()

    def work() -> int:
        model.train()
        for _, batch in zip(range(steps), batches(), strict=False):
            images, targets = mixup(normalize(batch.images), batch.labels)
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
                loss = loss_function(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return steps * config.batch_size

    return work


def overfit(root: Path) -> None:
    """Two flat colours have to be learnt completely in seconds."""
    directory = root / "flat"
    directory.mkdir()
    with tarfile.open(directory / "shard-000000.tar", "w") as tar:
        for index in range(64):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 64), ("red", "blue")[index % 2]).save(buffer, "JPEG")
            for suffix, data in (("jpg", buffer.getvalue()), ("cls", str(index % 2).encode())):
                member = tarfile.TarInfo(f"{index:08d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256((directory / "shard-000000.tar").read_bytes()).hexdigest()
    row = {"name": "shard-000000.tar", "images": 64, "sha256": digest}
    (directory / "index.json").write_text(json.dumps({"shards": [row], "classes": ["red", "blue"]}))
    config = PretrainConfig(
        arch="resnet18",
        size=64,
        epochs=4,
        batch_size=16,
        micro_batch=16,
        warmup_epochs=0,
        mixup=0.0,
        cutmix=0.0,
        drop_path=0.0,
        rand_augment="",
        precision=precision(),
    )
    begun = time.process_time()
    summary = pretrain(config, directory, out=root / "out", val=directory, tensorboard=False, threads=1)
    took = time.process_time() - begun
    print(
        f"\ntwo flat colours: accuracy {summary['val_accuracy']:.0%} after {summary['steps']} steps, {took:.1f} CPU s"
    )
    assert summary["val_accuracy"] == 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also ResNet-50 at 224 px")
    parser.add_argument("--only", choices=["loader", "step"], help="one part")
    parser.add_argument("--turns", type=int, default=5, help="turns of each comparison")
    parser.add_argument(
        "--compile", action="store_true", help="also the compiled step, at 64 px (needs a C++ compiler)"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: the parts that need a GPU")
    parser.add_argument("--seconds", type=float, default=90.0, help="with --device cuda: time for all parts")
    parser.add_argument("--rehearse", action="store_true", help="the parts of --device cuda, tiny and on the CPU")
    arguments = parser.parse_args()
    if arguments.device == "cuda" or arguments.rehearse:
        return on_gpu(arguments.seconds, rehearse=arguments.rehearse)
    torch.set_num_threads(1)
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        directory, folders = make_sets(root)
        shards = open_shards(directory)
        print(f"{IMAGES} pictures of 256 px, {shards.length.mean() / 1000:.1f} kB each; torch {torch.__version__}")
        if arguments.only != "step":
            kept += compare_loaders(shards, directory, folders, arguments.turns)
        if arguments.only != "loader":
            kept += compare_steps("resnet18", 64, 64, 2, shards, arguments.turns, compile=arguments.compile)
            if arguments.full:
                kept += compare_steps("resnet50", 224, 16, 1, shards, arguments.turns)
            overfit(root)
    return 0 if all(kept) else 1


def on_gpu(seconds: float, *, rehearse: bool) -> int:
    if not rehearse and not torch.cuda.is_available():
        print("--device cuda: torch sees no GPU here; allowed: cpu", file=sys.stderr)
        return 1
    # by path: its folder is not importable, because this file has the name of a package
    spec = importlib.util.spec_from_file_location("pretrain_gpu", Path(__file__).with_name("_pretrain_gpu.py"))
    assert spec is not None
    assert spec.loader is not None
    parts = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = parts
    spec.loader.exec_module(parts)
    with tempfile.TemporaryDirectory() as folder:
        directory, _ = make_sets(Path(folder))
        plan = parts.REHEARSAL if rehearse else parts.Plan()
        status: int = parts.measure(plan, directory, CLASSES, seconds - (time.monotonic() - STARTED))
    return status


def compare_loaders(shards: ShardSet, directory: Path, folders: Path, turns: int) -> list[bool]:
    cache = decode_all(shards, "torchvision", limit_bytes=1 << 30)
    sides = {
        "ours, Pillow": ours(shards, "pillow"),
        "ours, torchvision": ours(shards, "torchvision"),
        "ours, decoded in memory": ours(shards, "torchvision", cache),
        "ours, torchvision, RandAugment": ours(shards, "torchvision", rand_augment=PAPER.rand_augment),
        "ImageFolder, Pillow": image_folder(folders),
    }
    if importlib.util.find_spec("webdataset"):
        sides["webdataset, Pillow"] = stock_webdataset(directory)
    else:
        print("webdataset is not installed: its side is left out")
    found = Comparison("loader: decode, random crop to 224 px, flip, batch", sides, turns)
    found.ratio("ours, decoded in memory", "ours, torchvision")  # what is left when decoding costs nothing
    found.ratio("ours, torchvision, RandAugment", "ours, torchvision")  # what the recipe's policy costs
    kept = [
        found.ratio("ours, Pillow", "ImageFolder, Pillow", 1.0),
        found.ratio("ours, torchvision", "ImageFolder, Pillow", 1.5),
    ]
    if "webdataset, Pillow" in sides:
        kept.append(found.ratio("ours, Pillow", "webdataset, Pillow", 1.0))
    return kept


def compare_steps(
    arch: str, size: int, batch_size: int, steps: int, shards: ShardSet, turns: int, *, compile: bool = False
) -> list[bool]:
    config = step_config(arch, size, batch_size)
    sides = {
        "ours, from memory": our_step(config, memory(config), steps),
        "timm's factories": timm_step(config, memory(config), steps),
        "timm's, freed memory kept": timm_step(config, memory(config), steps),
        "ours, from shards": our_step(config, from_shards(config, shards, steps), steps),
    }
    if compile:
        sides["ours, compiled"] = our_step(config, memory(config), steps, compile=True)
    setting = f"{arch} at {size} px, batch {batch_size}, {config.precision}"
    keeping = [side for side in sides if side != "timm's factories"]
    found = Comparison(f"step: {setting}, mixup and cutmix, fused AdamW", sides, turns, keeping=keeping)
    print("  ours keeps freed memory (pretrain/memory.py)")
    if config.precision == "fp32":
        print(
            "  ours multiplies matrices in wide layers over maps of at most 4 x 4 (pretrain/smallmaps.py), timm's not"
        )
    if compile:
        found.ratio("ours, compiled", "ours, from memory")
    # one core does both here; with a core of its own the loader costs the step nothing
    found.ratio("ours, from shards", "ours, from memory")
    found.ratio("ours, from memory", "timm's, freed memory kept")
    return [found.ratio("ours, from memory", "timm's factories", 1.0)]


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=ResourceWarning)
    sys.exit(main())
