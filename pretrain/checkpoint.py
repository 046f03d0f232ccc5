"""Weights on disk: the final backbone as safetensors, the run's checkpoints as tensors-only torch files.

No file is ever unpickled: backbones are read by safetensors, checkpoints by `torch.load(weights_only=True)`. Everything
is written under a temporary name and moved into place.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.augment import MEAN, STD
from pretrain.model import build_backbone, is_torchvision, remove_classifier

FORMAT = "simpath.backbone.1"
CHECKPOINT = re.compile(r"step-(\d{8})\.pt")


@dataclass(frozen=True)
class BackboneInfo:
    """Where a backbone came from and what it expects."""

    source: str
    """As the user named it."""
    arch: str
    num_features: int
    digest: str
    """sha256 of the weights file; of the name for random weights."""
    size: int | None
    """Pixels it was trained at; None: not recorded (random or torchvision)."""
    classes: tuple[str, ...]
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, flushes the file to disk and moves it into place.

    Raises:
        OSError: the disk is full (named with `path`, whatever `write` raises then), or cannot be written for another
            reason that `write` tells.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        number = _system_error(error, temporary)
        full = number in (errno.ENOSPC, errno.EDQUOT)
        # an OSError of another kind has its own words, and perhaps another file that it is about
        if number is None or (isinstance(error, OSError) and not full):
            raise
        why = f"the disk is full: {path.name} could not be written" if full else os.strerror(number)
        raise OSError(number, why, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _system_error(error: Exception, temporary: Path) -> int | None:
    """The errno behind a failed write, None where there is none.

    safetensors puts it into the text of an exception of its own ("… (os error 28)"). torch.save loses it ("unexpected
    pos 640 vs 598"), so the disk is asked once more while the half-written file still fills it.
    """
    if isinstance(error, OSError):
        return error.errno
    if told := re.search(r"\(os error (\d+)\)", str(error)):
        return int(told[1])
    if isinstance(error, RuntimeError) and temporary.exists():
        try:
            with temporary.open("ab") as file:
                file.write(bytes(1 << 16))
                os.fsync(file.fileno())
        except OSError as again:
            return again.errno
    return None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, lambda name: name.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def save_backbone(path: Path, model: nn.Module, header: Mapping[str, str]) -> None:
    """Weights with the model's own keys (torchvision's for its ResNets); `header` must hold arch and num_classes."""
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    content = save(weights)
    # safetensors writes the metadata in a random order: put in by hand, equal weights give equal bytes
    length = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + length])
    text = json.dumps({"__metadata__": {"format": FORMAT, **header}, **tensors}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(name: Path) -> None:
        with name.open("wb") as file:
            file.writelines((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]))

    write_atomic(path, write)


def read_backbone(path: Path, *, what: str = "backbone") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and header of a safetensors file, which messages call `what`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a pickle, not safetensors, or without our header.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{what} {path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        with path.open("rb") as file:
            start = file.read(4)
        # after the other attempt: a safetensors file begins with the length of its header, which may have these bytes
        if start.startswith((b"PK\x03\x04", b"\x80")):
            raise ValueError(f"{what} {path} is a pickle (torch.save); only safetensors files are loaded") from None
        raise ValueError(f"{what} {path} is not a safetensors file: {error}") from None
    if "arch" not in header or "num_classes" not in header:
        raise ValueError(f"{what} {path} does not name its architecture in the header; it is not one of simpath's")
    return weights, header


def load_backbone(
    name_or_path: str | Path, *, device: str = "cpu", arch: str | None = None
) -> tuple[nn.Module, BackboneInfo]:
    """A backbone in eval mode whose output is the pooled features (B, F).

    Args:
        name_or_path: a `backbone.safetensors`, `random:<arch>[:seed]` (seed 0 unless told) or `torchvision:<arch>`
            (ImageNet weights, version 1, from torch's hub cache; nothing is downloaded) or `torchvision:<arch>:FILE`.
        arch: refuse anything else.

    Raises:
        FileNotFoundError: no such file, or no cached torchvision weights.
        ValueError: unknown or other architecture, a pickle, weights that do not fit.
    """
    name = str(name_or_path)
    kind, _, rest = name.partition(":")
    if kind == "random" and rest:
        model, info = _random_backbone(name, rest)
    elif kind == "torchvision" and rest:
        model, info = _torchvision_backbone(name, rest)
    else:
        model, info = _file_backbone(Path(name))
    if arch is not None and info.arch != arch:
        raise ValueError(f"backbone {name} is a {info.arch}, not a {arch}")
    return model.eval().to(device).to(memory_format=torch.channels_last), info


def _random_backbone(name: str, rest: str) -> tuple[nn.Module, BackboneInfo]:
    arch, _, seed = rest.partition(":")
    if seed and not seed.isdecimal():
        raise ValueError(f"backbone {name!r}: the seed {seed!r} is no number; allowed: random:<arch>[:seed]")
    model = build_backbone(arch, num_classes=1, seed=int(seed or 0))
    width = remove_classifier(model, arch)
    digest = hashlib.sha256(f"random:{arch}:{int(seed or 0)}".encode()).hexdigest()
    return model, BackboneInfo(name, arch, width, digest, None, ())


def imagenet_weights(arch: str) -> tuple[Path, str]:
    """Where torch's hub cache has, or would have, torchvision's ImageNet weights (version 1), and their address.

    Raises:
        ValueError: torchvision has no such model, or no such weights of it.
    """
    import torchvision

    if not is_torchvision(arch):
        raise ValueError(f"torchvision has no model {arch!r}, for example resnet50")
    weights = getattr(torchvision.models.get_model_weights(arch), "IMAGENET1K_V1", None)
    if weights is None:
        raise ValueError(f"torchvision has no ImageNet weights of {arch}")
    url: str = weights.url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], url


def _torchvision_backbone(name: str, rest: str) -> tuple[nn.Module, BackboneInfo]:
    import torchvision

    arch, _, file = rest.partition(":")
    try:
        cached, url = imagenet_weights(arch)
    except ValueError as error:
        raise ValueError(f"backbone {name!r}: {error}") from error
    path = Path(file) if file else cached
    if not path.is_file():
        raise FileNotFoundError(f"backbone {name}: {path} is not there; download it once from {url}")
    digest = sha256_file(path)
    promised = cached.stem.rpartition("-")[2] if path.name == cached.name else ""
    if not digest.startswith(promised):
        raise ValueError(f"backbone {name}: {path} is damaged (its sha256 does not begin with {promised})")
    model = torchvision.models.get_model(arch)
    try:  # not `load_weights`: torchvision's older files lack num_batches_tracked, which load_state_dict makes up for
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises pickle, zip, runtime and EOF errors for other files
        reason = str(error).splitlines()[0]
        raise ValueError(f"backbone {name}: {path} holds no weights of torchvision's {arch} ({reason})") from None
    return model, BackboneInfo(name, arch, remove_classifier(model, arch), digest, None, ())


def _file_backbone(path: Path) -> tuple[nn.Module, BackboneInfo]:
    weights, header = read_backbone(path)
    arch = header["arch"]
    model = build_backbone(arch, num_classes=int(header["num_classes"]), seed=0)
    load_weights(model, weights, f"backbone {path}", arch)
    info = BackboneInfo(
        source=str(path),
        arch=arch,
        num_features=remove_classifier(model, arch),
        digest=sha256_file(path),
        size=int(header["size"]) if "size" in header else None,
        classes=tuple(json.loads(header.get("classes", "[]"))),
    )
    return model, info


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], what: str, arch: str) -> None:
    """`load_state_dict`, strict, with one line instead of torch's page.

    Raises:
        ValueError: keys or shapes differ; names the first one.
    """
    own = model.state_dict()
    for key in [*own, *weights]:
        if key not in weights or key not in own or weights[key].shape != own[key].shape:
            found = tuple(weights[key].shape) if key in weights else "nothing"
            wanted = tuple(own[key].shape) if key in own else "nothing"
            raise ValueError(f"{what} does not fit a {arch}: {key} is {found}, expected {wanted}")
    model.load_state_dict(weights)


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_checkpoint(directory: Path, step: int, state: Mapping[str, Any], *, keep: int) -> Path:
    """Writes `step-<step>.pt` and removes all but the newest `keep`."""
    path = directory / f"step-{step:08d}.pt"
    write_atomic(path, lambda name: torch.save(dict(state), name))
    for old in checkpoints(directory)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if CHECKPOINT.fullmatch(path.name))


def remove_checkpoints(directory: Path) -> None:
    for path in checkpoints(directory):
        path.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain values only.

    Raises:
        ValueError: damaged, or holding anything but tensors and plain values.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises pickle, zip, runtime and EOF errors for damaged files
        raise ValueError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    return state
