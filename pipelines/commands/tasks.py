"""`simpath tasks`: the 20 downstream sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipelines.bar import progress_bar
from pipelines.commands import FAILED
from pipelines.terminal import say
from pipelines.usage import UsageError, reading_options


def ls(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    every_field: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """List the 20 sets: split sizes, classes, group, whether the published controller was trained on them, licence.

    Behind the licence stands what states it; "not verified" where no text of the authors was found.

    Args:
        names: sets of which everything is shown: metrics, variants, source, citation, how to get them.
        every_field: print every field of these sets, or of all 20, as one JSON list.
    """
    from transfer.fetch import known_row
    from transfer.tasks import list_tasks

    with reading_options():
        wanted = [known_row(name).name for name in names]
    rows = [row for row in list_tasks() if row["name"] in wanted or not wanted]
    if every_field:
        say(json.dumps(rows, ensure_ascii=False))
    elif wanted:
        say("\n".join(line for row in rows for line in _described(row)))
    else:
        say(f"{'task':<16}{'group':<14}{'train':>7}{'test':>7}{'classes':>8}  {'':8}{'fetched':<9}licence")
        for row in rows:
            seen = "seen" if row["seen"] else "unseen"
            fetched = "yes" if row["public"] else "by hand"
            sizes = f"{row['train']:>7}{row['test']:>7}{row['classes']:>8}"
            say(f"{row['name']:<16}{row['group']:<14}{sizes}  {seen:<8}{fetched:<9}{_licence(row)}")
        say("metrics, variants, source, citation, how to get a set: simpath tasks list NAME; all of it: --json")
    return 0


def _described(row: Mapping[str, Any]) -> list[str]:
    """What the catalogue says of one set, for a terminal."""
    from transfer.table_files import METRICS

    sizes = {version["variant"]: f" ({version['train']} + {version['test']} images)" for version in row["known_sizes"]}
    facts = {
        "group": f"{row['group']}, {'seen' if row['seen'] else 'unseen'}",
        "images": f"{row['train']} + {row['test']} in {row['classes']} classes",
        "split": "given" if row["split"] == "given" else "made: 70/30 of each class",
        "grouped by": row["grouped_by"] or "nothing that is known",
        "metric": ", ".join([row["metric"], *(METRICS[name] for name in row["also_report"])]),
        "variants": ", ".join(f"{name}{sizes.get(name, '')}" for name in row["variants"]) or "one version only",
        "licence": _licence(row),
        "citation": row["citation"],
        "source": row["source"],
        "to get it": row["steps"],
    }
    return [row["name"], *(f"  {name:<11}{value}" for name, value in facts.items())]


def _licence(row: Mapping[str, Any]) -> str:
    return f"{row['license']}; {row['license_source'] or 'not verified'}"


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
        split: grouped shows how many images remain where leaves, lesions and patients are kept on one side; complete is
            then whether the published split of the same files is.
        variant: another version of the set: Flowers102 1020 or 2040, Omniglot 659 or 1623, Kaokore 1.0, 1.1 or 1.2,
            DTD fold 1 to 10.
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


def table(
    results: tyro.conf.Positional[tuple[str, ...]],
    out: Path,
    method: str | None = None,
    against: str | None = None,
) -> int:
    """Put finished results side by side: a row for each task, a column for each backbone.

    OUT gets table.csv, table.md and table.html: scores with 95 % intervals, paired significance, the metrics that are
    usual beside accuracy, means by group and over the seen and the unseen of the 20 sets, average ranks, and published
    numbers where protocol and network are those that were published. `simpath run` leaves such a table by itself.

    Args:
        results: NAME=DIR, a column and a folder that holds --out folders of `simpath evaluate` at any depth; DIR alone
            is named after the folder. Several results of one task in a column, or several DIR of one NAME, are seeds.
        out: directory of the table.
        method: the method of `simpath evaluate` whose results are meant, where the folders hold those of several.
        against: the column that the others are compared with; default: the last one.
    """
    from pipelines.tables import find_columns
    from transfer.table import build_table
    from transfer.table_files import to_markdown, write_tables

    with reading_options():
        if not results:
            raise UsageError("no results: give folders with the --out folders of `simpath evaluate`, as NAME=DIR")
        made = build_table(find_columns(results, method), against=against)
    files = write_tables(made, out)
    say(to_markdown(made))
    say(f"table  {', '.join(str(path) for path in files.values())}")
    return 0
