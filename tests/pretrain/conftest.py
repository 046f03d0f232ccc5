"""Small data set directories made on the spot: flat colours with noise, one colour per class. One thread for torch."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

MakeSet = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Other tests run beside this one; torch's threads spin when there are more of them than cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=90)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_index(directory: Path, classes: list[str], counts: dict[str, int]) -> None:
    rows = []
    for name, count in counts.items():
        content = (directory / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        rows.append({"name": name, "images": count, "bytes": len(content), "sha256": digest})
    index = {"shards": rows, "num_images": sum(counts.values()), "classes": classes}
    (directory / "index.json").write_text(json.dumps(index))


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """make_set(num=24, classes=2, size=16, per_shard=10, kind="JPEG", drop="", replace={}) -> directory."""

    def make(
        num: int = 24,
        classes: int = 2,
        size: int = 16,
        per_shard: int = 10,
        kind: str = "JPEG",
        name: str = "set",
        drop: str = "",
        replace: dict[str, bytes] | None = None,
    ) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        rng = np.random.default_rng(0)
        colors = rng.integers(0, 256, (classes, 3))
        counts: dict[str, int] = {}
        for first in range(0, num, per_shard):
            shard = f"shard-{first // per_shard:06d}.tar"
            last = min(num, first + per_shard)
            with tarfile.open(directory / shard, "w") as tar:
                for index in range(first, last):
                    noise = rng.integers(-20, 21, (size, size, 3))
                    pixels = np.clip(colors[index % classes] + noise, 0, 255).astype(np.uint8)
                    members = {
                        f"{index:08d}.{'jpg' if kind == 'JPEG' else kind.lower()}": encode(pixels, kind),
                        f"{index:08d}.cls": str(index % classes).encode(),
                        f"{index:08d}.json": b"{}",
                    }
                    for member, content in members.items():
                        if member != drop:
                            add(tar, member, (replace or {}).get(member, content))
            counts[shard] = last - first
        write_index(directory, [f"class{number}" for number in range(classes)], counts)
        return directory

    return make
