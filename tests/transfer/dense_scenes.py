"""Generated scenes with exact labels, written in the layouts that the readers expect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Maps = dict[str, np.ndarray]


def make_scene(seed: int, height: int = 32, width: int = 40) -> Maps:
    """A floor under a wall with two boxes: image, classes, normals (H, W, 3), depth in metres."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((height, width), np.int64)
    normals = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), 4.0, np.float32)
    normals[..., 2] = 1
    floor = height * 2 // 3
    classes[floor:], depth[floor:] = 1, np.linspace(4, 1, height - floor)[:, None]
    normals[floor:] = (0, 1, 0)
    for box in range(2):
        top, left = rng.integers(2, height // 2), rng.integers(2, width - 14)
        rows, columns = slice(top, top + 10), slice(left, left + 10)
        classes[rows, columns], depth[rows, columns] = 2 + box, rng.uniform(1, 3)
        normals[rows, columns] = ((0.6, 0, 0.8), (-0.6, 0, 0.8))[box]
    colors = np.array([(200, 190, 180), (120, 100, 80), (180, 40, 40), (40, 60, 180)])
    image = (colors[classes] * (1.2 - depth[..., None] / 8)).clip(0, 255).astype(np.uint8)
    return {"image": image, "classes": classes, "normals": normals, "depth": depth}


def normals_picture(normals: np.ndarray) -> np.ndarray:
    """(H, W, 3) unit vectors as bytes, 254 at most: 255 means no normal in NYUv2."""
    return ((normals + 1) / 2 * 255).round().clip(0, 254).astype(np.uint8)


def write_nyuv2(root: Path, *, train: int = 8, test: int = 4, depth: bool = True) -> None:
    """A folder in NYUv2's layout with a list file."""
    lists: dict[str, list[list[str | None]]] = {"train": [], "test": []}
    for number in range(train + test):
        scene = make_scene(number)
        names = [f"{kind}/{number}.{suffix}" for kind, suffix in (("rgb", "png"), ("seg", "png"), ("normals", "png"))]
        names += [f"depth/{number}.npy"] if depth else []
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene["image"]).save(root / names[0])
        Image.fromarray(scene["classes"].astype(np.uint8)).save(root / names[1])
        Image.fromarray(normals_picture(scene["normals"])).save(root / names[2])
        if depth:
            np.save(root / names[3], scene["depth"])
        lists["train" if number < train else "test"].append(list(names))
    (root / "nyu_v2.json").write_text(json.dumps(lists))


def write_nyuv2_arrays(root: Path, *, train: int = 8, test: int = 4, bytes_image: bool = False) -> None:
    """NYUv2 in mtan's layout with classes up to 12; the two top rows have no label. Test scenes are 100, 101 ..."""
    for part, count in (("train", train), ("val", test)):
        for number in range(count):
            scene = make_scene(number + (100 if part == "val" else 0))
            labels, depth, normals = scene["classes"] + 9.0, scene["depth"][..., None], scene["normals"].copy()
            labels[:2], depth[:2], normals[:2] = -1, 0, 0
            image = scene["image"] if bytes_image else scene["image"] / 255
            write_arrays(root / part, number, {"image": image, "label": labels, "depth": depth, "normal": normals})


def city_classes(classes: np.ndarray, count: int) -> np.ndarray:
    """A scene's four classes as one of CityScapes' label maps, up to its last class."""
    return {2: classes // 2, 7: classes + 3, 19: classes + 15}[count]


def write_cityscapes(root: Path, *, train: int = 6, test: int = 3) -> None:
    """CityScapes in mtan's layout; the two top rows have no class. Test scenes are 100, 101 ..."""
    for part, count in (("train", train), ("val", test)):
        for number in range(count):
            scene = make_scene(number + (100 if part == "val" else 0))
            maps = {"image": scene["image"] / 255, "depth": (0.5 / scene["depth"])[..., None]}
            for classes in (2, 7, 19):
                labels = city_classes(scene["classes"], classes).astype(np.float64)
                labels[:2] = -1
                maps[f"label_{classes}"] = labels
            write_arrays(root / part, number, maps)


def write_arrays(folder: Path, number: int, maps: Maps) -> None:
    """KIND/<number>.npy of one scene."""
    for kind, values in maps.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / kind / f"{number}.npy", values)


def taskonomy_pictures(number: int, side: int = 64) -> Maps:
    """Pixels of a scene by the folder in which Taskonomy's download has them."""
    scene = make_scene(number, side, side)
    heat = np.zeros((side, side), np.uint16)
    heat[10:20, 10:20] = 65535
    return {
        "rgb": scene["image"],
        "segment_semantic": scene["classes"].astype(np.uint8),
        "normal": normals_picture(scene["normals"]),
        "depth_zbuffer": (scene["depth"] * 512).astype(np.uint16),
        "keypoints2d": heat,
        "edge_texture": heat // 100,
    }


def write_taskonomy(root: Path, *, train: int = 4, val: int = 2, test: int = 2) -> None:
    """A folder in Tiny-Taskonomy's layout with a list file, 64 pixels wide."""
    kinds = ("rgb", "segmentation", "normals", "depth", "keypoints", "edges")
    lists: dict[str, list[list[str | None]]] = {"train": [], "val": [], "test": []}
    for number in range(train + val + test):
        names = [f"{kind}/{number}.png" for kind in kinds]
        for name, pixels in zip(names, taskonomy_pictures(number).values(), strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name)
        part = "train" if number < train else "val" if number < train + val else "test"
        lists[part].append(list(names))
    (root / "taskonomy.json").write_text(json.dumps(lists))
    np.save(root / "semseg_prior.npy", np.linspace(0.5, 1.5, 17))


def write_buildings(root: Path, buildings: Sequence[str], *, layout: str, views: int = 2) -> None:
    """Taskonomy's folders; view v of the b-th building is scene 10 b + v.

    Args:
        layout: where a picture lies, with the fields building and domain.
    """
    for row, building in enumerate(buildings):
        for view in range(views):
            for domain, pixels in taskonomy_pictures(10 * row + view).items():
                # the download's own spelling: this folder has an underscore that its files have not
                name = f"point_{view}_view_0_domain_{domain.replace('segment_semantic', 'segmentsemantic')}.png"
                folder = root / layout.format(building=building, domain=domain)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / name)
