"""`simpath tasks`: the 20 downstream sets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from pipelines.bar import progress_bar
from pipelines.commands import FAILED
from pipelines.terminal import say


def ls() -> int:
    """List the 20 sets: split sizes, classes, group, whether the published controller was trained on them, licence."""
    from transfer.tasks import list_tasks

    say(f"{'task':<16}{'group':<14}{'train':>7}{'test':>7}{'classes':>8}  {'':8}{'fetched':<9}licence")
    for row in list_tasks():
        seen = "seen" if row["seen"] else "unseen"
        fetched = "yes" if row["public"] else "by hand"
        sizes = f"{row['train']:>7}{row['test']:>7}{row['classes']:>8}"
        say(f"{row['name']:<16}{row['group']:<14}{sizes}  {seen:<8}{fetched:<9}{row['license']}")
    return 0


def verify(
    name: tyro.conf.Positional[str],
    root: Path,
    split: Literal["published", "grouped"] = "published",
    variant: str = "",
) -> int:
    """Count the files and classes of a set under ROOT/NAME against the published sizes.

    Args:
        name: of the set, as `simpath tasks list` spells it.
        root: folder with one folder for each set.
        split: grouped shows how many images remain where leaves, lesions and patients are kept on one side.
        variant: another version of the set: Flowers102 1020 or 2040, Kaokore 1.0, 1.1 or 1.2, DTD fold 1 to 10.
            `simpath evaluate` takes it as --task NAME:VARIANT.
    """
    from transfer.fetch import verify_task

    found = verify_task(name, root, split=split, variant=variant)
    say(found.describe())
    return 0 if found.ok else FAILED


def download(name: tyro.conf.Positional[str], root: Path) -> int:
    """Fetch a public set into ROOT/NAME, or say how to get it; archives that lie there are unpacked.

    Args:
        name: of the set, as `simpath tasks list` spells it.
        root: folder with one folder for each set.
    """
    from transfer.fetch import download_task

    with progress_bar("download", "bytes") as progress:
        text = download_task(name, root, progress=progress)
    say(text)
    return 0
