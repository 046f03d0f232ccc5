"""`simpath store` and `simpath doctor`: care for an artifact store, and for the machine."""

from __future__ import annotations

from pathlib import Path

import tyro

from pipelines.artifact import Store
from pipelines.bar import progress_bar
from pipelines.commands import FAILED
from pipelines.terminal import say


def doctor(store: Path | None = None) -> int:
    """Say what this machine has and lacks for each stage.

    Args:
        store: also check the disk and the file locks where this store lies (or will lie).
    """
    from pipelines.doctor import print_checks, run_checks

    return 0 if print_checks(run_checks(store), say) else FAILED


def ls(store: tyro.conf.Positional[Path]) -> int:
    """List the artifacts of a store.

    Args:
        store: directory of the store.
    """
    for artifact in _existing_store(store).artifacts():
        meta = artifact.metadata
        say(f"{artifact.digest[:12]}  {artifact.stage:<12}  {meta['bytes'] / 1e6:9.2f} MB  {meta['wall_s']:8.1f} s")
    return 0


def du(store: tyro.conf.Positional[Path]) -> int:
    """Say how much each stage's artifacts take.

    Args:
        store: directory of the store.
    """
    from pipelines.care import usage

    for row in usage(_existing_store(store)):
        say(f"{row.stage:<12}  {row.artifacts:6d} artifacts  {row.bytes / 1e6:10.2f} MB")
    return 0


def gc(store: tyro.conf.Positional[Path], dry_run: bool = False) -> int:
    """Remove what no named run needs.

    What was made for a run stays until `simpath store forget`, also when the run's directory is gone.

    Args:
        store: directory of the store.
        dry_run: only say what would go.
    """
    from pipelines.care import collect

    found = collect(_existing_store(store), dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    say(f"{verb} {found.artifacts} artifacts and {found.partials} partial ones, {found.bytes / 1e6:.2f} MB")
    return 0


def forget(store: tyro.conf.Positional[Path], run: tyro.conf.Positional[str]) -> int:
    """Forget a run that is no longer wanted, so that `simpath store gc` may remove what it alone needs.

    Args:
        store: directory of the store.
        run: name of the run; one that is not there lists those that are.
    """
    from pipelines.care import forget

    forget(_existing_store(store), run)
    say(f"forgot {run}; simpath store gc {store} frees what no other run needs")
    return 0


def verify(store: tyro.conf.Positional[Path]) -> int:
    """Read every byte of a store and compare with what was written.

    Args:
        store: directory of the store.
    """
    from pipelines.care import verify

    with progress_bar("verify", "artifacts") as progress:
        problems = verify(_existing_store(store), progress)
    for problem in problems:
        say(problem)
    say("all intact" if not problems else f"{len(problems)} damaged")
    return FAILED if problems else 0


def _existing_store(root: Path) -> Store:
    if not (root / "artifacts").is_dir():
        raise FileNotFoundError(f"{root} is no artifact store (it has no folder artifacts)")
    return Store(root)
