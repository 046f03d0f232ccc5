"""`tasks verify` and `tasks download`: is a set complete, which version is it, and how does one get it."""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfer.archives import SUFFIXES, unpack_archive
from transfer.catalogue import TASKS, TaskRow, task_row
from transfer.counts import class_problems, fewest_images, part_sizes, size_problems, whole_set
from transfer.data import FileSource, Task
from transfer.layouts import Request
from transfer.readers import READERS

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Verification:
    """What lies under ROOT/NAME, against the table."""

    name: str
    train: int
    test: int
    classes: int
    expected: tuple[int, int, int]
    """train, test, classes of the published version, or of the variant that was asked for."""
    problems: tuple[str, ...]
    """Empty: complete, and the published version or the variant that was asked for."""
    notes: tuple[str, ...]
    index_digest: str | None

    @property
    def ok(self) -> bool:
        return not self.problems

    def describe(self) -> str:
        """Lines for a terminal."""
        train, test, classes = self.expected
        lines = [
            f"{self.name}: {self.train} + {self.test} images in {self.classes} classes ({train} + {test} in {classes})"
        ]
        lines += [f"  problem: {problem}" for problem in self.problems]
        lines += [f"  note: {note}" for note in self.notes]
        if self.index_digest is not None:
            lines.append(f"  split: sha256 {self.index_digest} of its index (names, labels, parts)")
        return "\n".join([*lines, f"  {'complete' if self.ok else 'not the published set'}"])


def known_row(name: str) -> TaskRow:
    """Raises ValueError when there is no such task; names are spelt exactly."""
    row = task_row(name)
    if row is None:
        close = [known.name for known in TASKS if known.name.lower() == name.lower()]
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known.name for known in TASKS)}"
        raise ValueError(f"no task named {name}; {hint}")
    return row


def verify_task(name: str, root: str | Path, *, split: str = "published", variant: str = "") -> Verification:
    """Count files and classes under ROOT/NAME against the table; say what is missing and which version it is.

    Nothing is decoded. An absent folder or file is a problem in the result, not an exception. With `grouped` the sizes
    are those of the grouped split; what is compared with the table is the published split of the same files.

    Raises:
        ValueError: unknown task name, or a variant that the set does not have.
    """
    row = known_row(name)
    folder, expected = Path(root) / name, row.sizes(variant)
    request = Request(row, folder, split, 0, variant)
    if not folder.is_dir():
        return Verification(name, 0, 0, 0, expected, (f"{folder} is missing", f"to get it: {row.steps}"), (), None)
    try:
        task = READERS[name](request)
        whole = whole_set(request, task)
    except (OSError, ValueError) as error:
        return Verification(name, 0, 0, 0, expected, (str(error), f"to get it: {row.steps}"), (), None)
    problems, notes = size_problems(request, task, whole), list(task.notes)
    notes += [version.note for version in row.known_sizes if version.variant == variant and not problems]
    if not row.class_sizes and sum(part_sizes(whole)[:2]) != sum(expected[:2]):
        notes.append(fewest_images(whole))
    problems += class_problems(row, whole)
    problems += _missing_files(whole)
    for part, images in (("training", task.train), ("test", task.test)):
        empty = np.setdiff1d(np.arange(len(task.classes)), images.labels)
        if len(empty):
            problems.append(f"{len(empty)} classes without {part} images, first {task.classes[empty[0]]}")
    return Verification(name, *part_sizes(task), expected, tuple(problems), tuple(notes), task.digest())


def _missing_files(task: Task) -> list[str]:
    problems = []
    for part, images in (("training", task.train), ("validation", task.val), ("test", task.test)):
        if images is None or not isinstance(images.source, FileSource):
            continue
        absent = [name for name in images.names if not (images.source.root / name).is_file()]
        if absent:
            shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
            problems.append(f"{len(absent)} of {len(images)} listed {part} images are missing: {shown}")
    return problems


def download_task(name: str, root: str | Path, *, progress: Progress | None = None) -> str:
    """Fetch a public set into ROOT/NAME, or unpack the archives that lie there, or return the steps to get it.

    Addresses and checksums are torchvision's; unpacking is ours (transfer.archives).

    Returns:
        Text for the user: what was done, or the exact steps for a set behind a login or a form.

    Raises:
        ValueError: unknown task; a file whose checksum is wrong.
        OSError: no connection, no space.
    """
    row, folder = known_row(name), Path(root) / name
    if row.public:
        folder.mkdir(parents=True, exist_ok=True)
        for url, file_name, checksum in public_files(name):
            _download(url, folder / file_name, checksum, progress)
    unpacked = unpack_all(folder, progress=progress)
    if row.public or unpacked:
        done = f"; unpacked {', '.join(unpacked)}" if unpacked else ""
        return f"{name} lies in {folder}{done}. Check it: simpath tasks verify {name} --root {root}"
    return "\n".join(
        [
            f"{name} is not fetched automatically (source: {row.source}; licence: {row.license}; "
            f"{row.license_source or 'not verified'}).",
            f"ROOT is {root}. {row.steps}.",
            f"Archives put into {folder} are unpacked by this command.",
            f"Then: simpath tasks verify {name} --root {root}",
        ]
    )


def unpack_all(folder: Path, *, progress: Progress | None = None) -> list[str]:
    """Unpack every archive that lies in `folder`, once (a `.unpacked` file beside it remembers)."""
    done = []
    for archive in sorted(folder.glob("*")) if folder.is_dir() else []:
        marker = archive.with_name(f".{archive.name}.unpacked")
        if not archive.name.lower().endswith(SUFFIXES) or marker.exists():
            continue
        unpack_archive(archive, folder, progress=progress)
        marker.touch()
        done.append(archive.name)
    return done


def public_files(name: str) -> list[tuple[str, str, str]]:
    """(address, file name, md5) of a public set, from torchvision's own tables."""
    from torchvision import datasets

    if name == "Flowers102":
        prefix, files = datasets.Flowers102._download_url_prefix, datasets.Flowers102._file_dict
        return [(f"{prefix}{file}", file, md5) for file, md5 in files.values()]
    if name == "DTD":
        return [(datasets.DTD._URL, Path(datasets.DTD._URL).name, datasets.DTD._MD5)]
    if name in ("SVHN", "USPS"):
        lists: dict[str, Any] = getattr(datasets, name).split_list
        return [tuple(lists[part]) for part in ("train", "test")]
    if name == "Omniglot":
        prefix, zips = datasets.Omniglot.download_url_prefix, datasets.Omniglot.zips_md5
        return [(f"{prefix}/{file}.zip", f"{file}.zip", md5) for file, md5 in zips.items()]
    if name == "EuroSAT":
        # The address stands inside EuroSAT.download, not in a table; this is its value in torchvision 0.29.1.
        base = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd"
        return [(f"{base}/EuroSAT.zip", "EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387")]
    raise ValueError(f"{name} is not public")


def _download(url: str, target: Path, checksum: str, progress: Progress | None) -> None:
    """Stream to a temporary name, compare the md5 (torchvision's tables hold no other), move into place."""
    if target.is_file() and _md5(target) == checksum:
        return
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url}: only http and https are fetched")
    partial = target.with_name(f".{target.name}.part")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "simpath"})
        # http and https only, as checked above, and what comes is kept only with the right checksum
        with urllib.request.urlopen(request, timeout=60) as response, partial.open("wb") as file:  # nosec B310
            total, done, last = int(response.headers.get("Content-Length") or 0), 0, 0.0
            while block := response.read(1 << 20):
                file.write(block)
                done += len(block)
                if progress is not None and time.monotonic() - last > 1:
                    last = time.monotonic()
                    progress(done >> 20, total >> 20, f"MB of {target.name}")
        if _md5(partial) != checksum:
            raise ValueError(f"{url}: the file that came has another checksum than torchvision's table; nothing kept")
        partial.replace(target)
    except urllib.error.URLError as error:
        raise OSError(f"{url}: {error.reason}") from error
    finally:
        partial.unlink(missing_ok=True)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
