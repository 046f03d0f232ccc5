"""The 20 sets as published: their sizes and recipes, written out a second time; licences; versions."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from scipy.io import savemat
from torchvision import datasets

from transfer.catalogue import TASKS, TaskRow
from transfer.fetch import public_files, verify_task
from transfer.readers import READERS
from transfer.recipes import RECIPES, Recipe, recipe_for
from transfer.tasks import list_tasks, load_task

# Reference datasets.md, 2.2: group, seen, train, test, classes. Omniglot has the classes that are really there, and FMD
# its photos alone (the slides count its masks too: 1400 and 600).
SIZES = {
    "CropDisease": ("Natural", True, 43456, 10849, 38),
    "Flowers102": ("Natural", True, 1020, 6149, 102),
    "DeepWeeds": ("Natural", True, 12252, 5257, 9),
    "CUB": ("Natural", False, 5994, 5794, 200),
    "EuroSAT": ("Satellite", True, 18900, 8100, 10),
    "Resisc45": ("Satellite", True, 22005, 9495, 45),
    "AID": ("Satellite", False, 6993, 3007, 30),
    "CactusAerial": ("Satellite", False, 17500, 4000, 2),
    "Omniglot": ("Symbolic", True, 9226, 3954, 659),
    "SVHN": ("Symbolic", True, 73257, 26032, 10),
    "USPS": ("Symbolic", False, 7291, 2007, 10),
    "ISIC": ("Medical", True, 7007, 3008, 7),
    "ChestX": ("Medical", True, 18090, 7758, 7),
    "ChestXPneumonia": ("Medical", False, 5216, 624, 2),
    "Kaokore": ("Illustrative", True, 6568, 821, 8),
    "Sketch": ("Illustrative", True, 35000, 15889, 1000),
    "PACS-C": ("Illustrative", False, 2107, 237, 7),
    "PACS-S": ("Illustrative", False, 3531, 398, 7),
    "DTD": ("Texture", True, 3760, 1880, 47),
    "FMD": ("Texture", False, 700, 300, 10),
}
# Reference task2sim.md, 3: learning rate, batch size, weight decay of the linear probe and of full fine-tuning.
TUNED = {
    "AID": ((0.01, 128, 1e-5), (0.01, 128, 0)),
    "CUB": ((0.01, 32, 0), (0.01, 128, 1e-5)),
    "CactusAerial": ((0.01, 128, 0), (0.01, 128, 1e-5)),
    "ChestX": ((0.001, 128, 0), (0.001, 128, 1e-5)),
    "ChestXPneumonia": ((0.01, 128, 0), (0.001, 32, 0)),
    "CropDisease": ((0.01, 128, 0), (0.01, 128, 0)),
    "DTD": ((0.01, 128, 0), (0.01, 128, 0)),
    "DeepWeeds": ((0.01, 128, 0), (0.01, 128, 0)),
    "EuroSAT": ((0.01, 128, 0), (0.01, 128, 1e-5)),
    "Sketch": ((0.01, 32, 1e-5), (0.01, 128, 0)),
    "FMD": ((0.01, 32, 1e-5), (0.001, 32, 1e-5)),
    "Flowers102": ((0.01, 32, 0), (0.01, 128, 0)),
    "ISIC": ((0.01, 128, 0), (0.001, 32, 0)),
    "Kaokore": ((0.001, 128, 0), (0.001, 128, 0)),
    "Omniglot": ((0.01, 32, 1e-5), (0.1, 128, 1e-5)),
    "PACS-C": ((0.001, 32, 0), (0.01, 128, 0)),
    "PACS-S": ((0.01, 128, 1e-5), (0.01, 128, 0)),
    "Resisc45": ((0.01, 128, 0), (0.01, 128, 0)),
    "SVHN": ((0.01, 128, 0), (0.01, 128, 0)),
    "USPS": ((0.01, 32, 1e-5), (0.01, 32, 0)),
}
UNVERIFIED = {"Flowers102", "Resisc45", "AID", "CactusAerial", "USPS", "PACS-C", "PACS-S"}
SECOND_HAND = {"CUB", "SVHN", "ISIC", "ChestX", "ChestXPneumonia"}


def test_the_catalogue_holds_the_published_sizes() -> None:
    assert len(SIZES) == 20 == len(TASKS)
    assert {row.name: (row.group, row.seen, row.train, row.test, row.classes) for row in TASKS} == SIZES
    assert sum(row.seen for row in TASKS) == 12
    assert Counter(row.split for row in TASKS) == {"made": 9, "given": 11}


def test_the_recipes_are_the_forty_published_ones() -> None:
    assert len(TUNED) == 20 and TUNED.keys() == SIZES.keys() == RECIPES.keys()
    for task, (head, whole) in TUNED.items():
        assert recipe_for(task, "head") == Recipe(*head) and recipe_for(task, "all") == Recipe(*whole)


def test_every_named_set_has_a_reader() -> None:
    assert READERS.keys() == SIZES.keys()


def test_the_list_has_every_field_of_every_row_and_can_be_stored() -> None:
    rows = list_tasks()
    assert len(rows) == 20
    assert all(set(row) == {field.name for field in fields(TaskRow)} and row["metric"] == "accuracy" for row in rows)
    assert {name for row in rows for name in row["also_report"]} == {"mean_per_class", "macro_auc"}
    kaokore = next(row for row in json.loads(json.dumps(rows)) if row["name"] == "Kaokore")
    assert [version["variant"] for version in kaokore["known_sizes"]] == ["1.0", "1.2"]


def test_a_licence_says_where_it_is_stated_or_that_nobody_looked() -> None:
    rows = {row["name"]: row for row in list_tasks()}
    sources = {name: row["license_source"] for name, row in rows.items()}
    assert len(sources) == 20
    assert {name for name, source in sources.items() if not source} == UNVERIFIED
    assert {name for name, source in sources.items() if "quoted by" in source or "a copy" in source} == SECOND_HAND
    assert rows["Sketch"]["license"].startswith("MIT") and rows["EuroSAT"]["license"] == "MIT"


@pytest.mark.parametrize("name", SIZES)
def test_a_variant_that_a_set_does_not_have_is_refused(tmp_path: Path, name: str) -> None:
    row = next(row for row in TASKS if row.name == name)
    (tmp_path / name).mkdir()
    allowed = f"allowed: {', '.join(row.variants)}$" if row.variants else "there is one version only$"
    with pytest.raises(ValueError, match=f"task {name}: variant foo; {allowed}"):
        load_task(f"{name}:foo", root=tmp_path)
    with pytest.raises(ValueError, match=f"task {name}: variant foo; {allowed}"):
        load_task(name, root=tmp_path, variant="foo")
    with pytest.raises(ValueError, match=f"task {name}: variant foo; {allowed}"):
        verify_task(name, tmp_path, variant="foo")


def test_variants_are_those_of_the_reference() -> None:
    assert {row.name: row.variants for row in TASKS if row.variants} == {
        "Flowers102": ("1020", "2040"),
        "Omniglot": ("659", "1623"),
        "Kaokore": ("1.0", "1.1", "1.2"),
        "DTD": ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10"),
    }


def test_a_variant_is_neither_passed_over_nor_contradicted(tmp_path: Path) -> None:
    (tmp_path / "Flowers102").mkdir()
    with pytest.raises(ValueError, match="variant 1020 contradicts its name"):
        load_task("Flowers102:2040", root=tmp_path, variant="1020")
    for name in ("digits", str(tmp_path), "EuroSAT"):
        with pytest.raises(ValueError, match="variant 2 is for the named sets, with --root ROOT"):
            load_task(name, variant="2")


def touch(folder: Path, names: list[str]) -> None:
    """Empty files: verifying counts, it does not decode."""
    for parent in sorted({(folder / name).parent for name in names}):
        parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_flowers_are_verified_with_one_training_part_and_with_two(tmp_path: Path) -> None:
    folder = tmp_path / "Flowers102"
    touch(folder, [f"jpg/image_{n:05d}.jpg" for n in range(1, 8190)])
    savemat(folder / "imagelabels.mat", {"labels": [[n % 102 + 1 for n in range(8189)]]})
    parts = {"trnid": [list(range(1, 1021))], "valid": [list(range(1021, 2041))], "tstid": [list(range(2041, 8190))]}
    savemat(folder / "setid.mat", parts)
    assert verify_task("Flowers102", tmp_path, variant="1020").ok
    both = verify_task("Flowers102", tmp_path, variant="2040")
    assert both.ok and (both.train, both.test) == (2040, 6149)
    assert "training and validation parts together, as Task2Sim's released loader" in both.notes
    parts["trnid"], parts["valid"] = [list(range(1, 2041))], [[]]  # as a loader that joined them may write the file
    savemat(folder / "setid.mat", parts)
    joined = verify_task("Flowers102", tmp_path)
    assert joined.problems == (
        "2040 + 6149 images, published are 1020 + 6149: training and validation parts together, as Task2Sim's released "
        "loader",
    )


def test_omniglot_is_verified_with_its_evaluation_alphabets_and_with_all(tmp_path: Path) -> None:
    folder = tmp_path / "Omniglot"
    touch(tmp_path / "character", [f"{i:02d}.png" for i in range(20)])
    for part, characters in (("evaluation", 659), ("background", 964)):
        (folder / f"images_{part}" / part).mkdir(parents=True)
        for c in range(characters):  # one folder under 1,623 names: as many files take a minute
            (folder / f"images_{part}" / part / f"{c:04d}").symlink_to(tmp_path / "character")
    task = verify_task("Omniglot", tmp_path)
    assert task.ok and (task.train, task.test, task.classes) == (9226, 3954, 659)
    whole = verify_task("Omniglot", tmp_path, variant="1623")
    assert whole.ok and (whole.train, whole.test, whole.classes) == (22722, 9738, 1623)
    assert "all 1,623 characters" in whole.notes[0]
    (folder / "images_background").rename(folder / "elsewhere")
    missing = verify_task("Omniglot", tmp_path, variant="1623")
    assert "variant 1623 needs" in missing.problems[0]
    assert missing.problems[0].endswith("images_background too (`simpath tasks download` fetches it)")


def test_the_older_cub_is_told_from_the_task(tmp_path: Path) -> None:
    touch(tmp_path / "CUB", ["lists/train.txt", "lists/test.txt", "images/001.Black_footed_Albatross/a.jpg"])
    found = verify_task("CUB", tmp_path)
    assert not found.ok and "holds CUB-200-2010 (lists/); the task is CUB_200_2011" in found.problems[0]


def test_no_known_size_is_beyond_reach() -> None:
    """Versions that the readers cannot give would only look as if verifying knew them."""
    assert {row.name: len(row.known_sizes) for row in TASKS if row.known_sizes} == {
        "Flowers102": 1,
        "Omniglot": 1,
        "Kaokore": 2,
    }


def test_both_parts_of_omniglot_are_fetched() -> None:
    assert {file for _, file, _ in public_files("Omniglot")} == {"images_background.zip", "images_evaluation.zip"}


def test_the_address_of_eurosat_is_that_of_the_installed_torchvision() -> None:
    ((url, _, md5),) = public_files("EuroSAT")
    code = inspect.getsource(datasets.EuroSAT.download)
    assert url in code and md5 in code
