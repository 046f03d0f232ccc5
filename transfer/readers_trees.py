"""Readers of the sets that are kept as class folders."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from transfer.data import FileSource, ImageSet, Task, class_folders, image_files, image_set, read_text
from transfer.layouts import (
    Request,
    class_tree,
    given_split,
    listed_images,
    made_split,
    sorted_names,
    text_lines,
    train_test_tree,
)


def read_crop_disease(request: Request) -> Task:
    """Kaggle (`[dataset/]train`, `test`) or the git repository (`raw/color/<class>`, made 80/20).

    Leaves (`leaf-map.json` of the repository, may be put beside the Kaggle files too) are groups. The trap: the
    repository also holds train/ and test/ of an older experiment with numbers for classes, in `SVM/` or
    `data_distribution_for_SVM/`, so Kaggle's folders are named exactly.
    """
    leaves = _leaf_map(request.folder)
    try:
        train = request.locate(
            "train", "dataset/train", "*/dataset/train", "plant-disease/train", "archive/train", what="train/"
        )
    except FileNotFoundError:
        color = request.locate(
            "raw/color",
            "*/raw/color",
            "color",
            "plantvillage*dataset/color",
            "PlantVillage",
            what="train/ or raw/color/",
        )
        classes, images = class_tree(request, color)
        return made_split(
            request,
            classes,
            _with_leaves(images, classes, leaves),
            fraction=0.8,
            notes=["made 80/20 from raw/color; the published split is the Kaggle copy's train/ and test/"],
        )
    test = request.locate(f"{train.parent.relative_to(request.folder)}/test", what="test/")
    if request.split == "grouped":
        # The given split tears most leaves apart, so the grouped one is dealt anew from both parts.
        classes, images = _join_trees(request, train, test)
        return made_split(request, classes, _with_leaves(images, classes, leaves), fraction=0.8)
    return train_test_tree(request, train, test)


def _join_trees(request: Request, train: Path, test: Path) -> tuple[list[str], ImageSet]:
    classes, first = class_tree(request, train)
    second = class_tree(request, test, classes=classes)[1]
    names = (*first.names, *second.names)
    labels = np.concatenate([first.labels, second.labels])
    return classes, image_set(names, labels, FileSource(request.folder, names))


def _leaf_map(folder: Path) -> dict[str, list[str]]:
    for candidate in ("leaf-map.json", "leaf_grouping/leaf-map.json", "*/leaf-map.json"):
        for path in sorted(folder.glob(candidate)):
            try:
                found = json.loads(read_text(path))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path} is no JSON ({error})") from error
            if not isinstance(found, dict) or not all(_is_list_of_text(entries) for entries in found.values()):
                raise ValueError(f"{path}: expected an object that gives each picture a list of its leaves")
            return found
    return {}


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _with_leaves(images: ImageSet, classes: list[str], leaves: dict[str, list[str]]) -> ImageSet:
    """Groups from the map: `<uuid>___RS_HL 1234.JPG` is key `rs_hl 1234`, its values are `<class>:::<leaf>`."""
    if not leaves:
        return images
    groups = []
    for name, label in zip(images.names, images.labels, strict=True):
        key = Path(name).stem.lower().rpartition("___")[2].strip()
        entries = leaves.get(key, [])
        own = [entry for entry in entries if entry.startswith(f"{classes[label]}:::")]
        groups.append((own or entries or [name])[0])  # an image that the map lacks is a group of its own
    return ImageSet(images.names, images.labels, images.source, images.rows, np.asarray(groups))


def read_eurosat(request: Request) -> Task:
    """RGB version: `2750/<Class>` as zipped, `EuroSAT[_RGB]/<Class>`, torchvision's `eurosat/2750`, or right here."""
    folder = request.locate(
        "2750", "eurosat/2750", "EuroSAT/2750", "EuroSAT_RGB", "EuroSAT", "*/2750", ".", what="class folders"
    )
    return made_split(request, *class_tree(request, folder))


def read_resisc45(request: Request) -> Task:
    """`[NWPU-RESISC45/]<class>/<class>_nnn.jpg`; a flat folder of such names (unpacked without folders) works too."""
    folder = request.locate("NWPU-RESISC45", "*/NWPU-RESISC45", ".", what="NWPU-RESISC45/")
    if any(image_files(path) for path in class_folders(folder)):
        return made_split(request, *class_tree(request, folder))
    names = [path.name for path in image_files(folder)]
    kinds = [Path(name).stem.rpartition("_")[0] for name in names]
    classes = sorted_names(set(kinds))
    images = listed_images(request, folder, names, [classes.index(kind) for kind in kinds])
    return made_split(request, classes, images, notes=["classes read from the names of files without folders"])


def read_aid(request: Request) -> Task:
    """`[AID/[AID/]]<Class>/*.jpg`."""
    folder = request.locate("AID/AID", "AID", "AID_dataset/AID", ".", what="class folders")
    return made_split(request, *class_tree(request, folder))


def read_cactus(request: Request) -> Task:
    """Kaggle: `training_set/[training_set/]<class>` and the same with validation_set, which is the test part."""
    train = request.locate(
        "training_set/training_set", "*/training_set/training_set", "training_set", what="training_set/"
    )
    test = request.locate(
        "validation_set/validation_set", "*/validation_set/validation_set", "validation_set", what="validation_set/"
    )
    return train_test_tree(request, train, test)


def read_omniglot(request: Request) -> Task:
    """`images_evaluation/<alphabet>/<character>/*.png`, also inside torchvision's `omniglot-py/` or git's `python/`.

    A class is a character of an alphabet. `images_background/` (964 more characters) is not part of the task; variant
    `1623` reads both.
    """
    folder = request.locate(
        "images_evaluation", "omniglot-py/images_evaluation", "python/images_evaluation", "*/images_evaluation",
        what="images_evaluation/",
    )  # fmt: skip
    if request.variant == "1623":
        background = folder.with_name("images_background")
        if not background.is_dir():
            raise FileNotFoundError(
                f"task {request.row.name}: variant 1623 needs {background} too (`simpath tasks download` fetches it)"
            )
        classes = [f"{part.name}/{name}" for part in (background, folder) for name in _characters(part)]
        return made_split(request, *class_tree(request, folder.parent, classes=classes))
    notes = ["the 659 characters of the evaluation alphabets; 1,623 is the count of both parts"]
    return made_split(request, *class_tree(request, folder, classes=_characters(folder)), notes=notes)


def _characters(folder: Path) -> list[str]:
    return [f"{alphabet.name}/{path.name}" for alphabet in class_folders(folder) for path in class_folders(alphabet)]


def read_pneumonia(request: Request) -> Task:
    """Kaggle: `chest_xray/[chest_xray/]{train,test}/{NORMAL,PNEUMONIA}`; its `val` of 16 images is not used.

    Patients stand in the names: `person12_bacteria_34.jpeg`; normal ones `IM-0115-0001.jpeg`,
    `NORMAL2-IM-0588-0001-0002.jpeg` (one or two numbers of the image follow); the authors' copy `VIRUS-12-0001.jpeg`.
    """
    base = request.locate("chest_xray/chest_xray", "chest_xray", ".", what="chest_xray/")
    train, test = base / "train", base / "test"
    if not train.is_dir() or not test.is_dir():
        raise FileNotFoundError(f"task {request.row.name}: no train/ and test/ in {base}")
    classes, train_images = class_tree(request, train)
    test_images = class_tree(request, test, classes=classes)[1]
    notes = ["val/ (16 images) is not used; the balance of classes differs between train and test"]
    return given_split(request, classes, _with_patients(train_images), _with_patients(test_images), notes=notes)


def _with_patients(images: ImageSet) -> ImageSet:
    stems = [Path(name).stem for name in images.names]
    found = [re.match(r"person\d+(?=_)|(?:NORMAL2-)?IM-\d+(?=-)|.+(?=-)", stem) for stem in stems]
    patients = [stem if match is None else match[0] for stem, match in zip(stems, found, strict=True)]
    return ImageSet(images.names, images.labels, images.source, images.rows, np.asarray(patients))


def read_sketch(request: Request) -> Task:
    """ImageNet-Sketch: `[sketch/]<wnid>/*.JPEG`. Some pictures are turned or mirrored copies of others."""
    folder = request.locate(
        "sketch", "ImageNet-Sketch/sketch", "imagenet-sketch", "*/sketch", ".", what="class folders"
    )
    notes = ["holds turned and mirrored copies of one picture: train and test share some"]
    return made_split(request, *class_tree(request, folder), notes=notes)


def read_dtd(request: Request) -> Task:
    """`[dtd/]images/<class>`, `[dtd/]labels/{train,val,test}<fold>.txt`; fold 1 unless the variant names another."""
    base = request.locate("images", "dtd/images", "dtd/dtd/images", "*/images", what="images/").parent
    fold = request.variant or "1"
    names: dict[str, list[str]] = {}
    for part in ("train", "val", "test"):
        path = base / "labels" / f"{part}{fold}.txt"
        if not path.exists():
            raise FileNotFoundError(f"task {request.row.name}: {path} is missing")
        names[part] = text_lines(path)
    classes = sorted_names({name.split("/")[0] for part in names.values() for name in part})
    sets = {
        part: listed_images(request, base / "images", found, [classes.index(name.split("/")[0]) for name in found])
        for part, found in names.items()
    }
    notes = [f"official fold {fold}: train + val / test"]
    return replace(given_split(request, classes, sets["train"], sets["test"], notes=notes), val=sets["val"])


def read_fmd(request: Request) -> Task:
    """`image/<class>` only; `mask/` holds 1,000 masks with the same class names."""
    folder = request.locate("image", "FMD/image", "*/image", what="image/")
    return made_split(request, *class_tree(request, folder), notes=["mask/ is not read: 1,000 images, not 2,000"])
