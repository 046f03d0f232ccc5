"""README.md of a data set: what it is, how it was made, what may be done with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.text import visible

if TYPE_CHECKING:
    from sim.assets import AssetCatalog


def data_card(index: Mapping[str, Any], catalog: AssetCatalog) -> str:
    """Markdown text from the content of index.json and the licences of the catalogue."""
    config = index["config"]
    parameters = "\n".join(f"| {name} | {level} |" for name, level in config["params"].items())
    ranges = "\n".join(f"| {name} | {_span(value)} |" for name, value in config["ranges"].items())
    counts = [count for count in index["class_counts"].values() if count]
    licences = Counter(asset.license for name in catalog.classes for asset in catalog.models(name, "all"))
    environments = Counter(asset.license for asset in catalog.hdris)
    textures = Counter(asset.license for asset in catalog.textures)
    lines = [
        f"- {count} {what}: {licence}"
        for what, table in (("models", licences), ("environments", environments), ("texture sets", textures))
        for licence, count in sorted(table.items())
    ]
    if catalog.textures:
        lines += [
            "",
            "Texture sets: " + ", ".join(visible(asset.material.partition(":")[2]) for asset in catalog.textures),
        ]
    failed = ""
    if index["failed"]:
        failed = f"\n{len(index['failed'])} scenes could not be rendered; index.json names them.\n"
    if index["skipped_assets"]:
        skipped = "\n".join(f"- {visible(name)}: {visible(reason)}" for name, reason in index["skipped_assets"].items())
        failed += f"\nFiles of the asset folder that were not taken:\n\n{skipped}\n"
    size, suffix = config["size"], config["format"]
    labels = _labels(config["passes"])
    return f"""# Rendered data set

{index["num_images"]} images of {size} x {size} pixels in {len(counts)} classes
({min(counts)} to {max(counts)} per class),
{len(index["shards"])} shards. Rendered with Cycles ({index["renderer"]}, {config["samples"]} samples, denoiser
{config["denoiser"]}), seed {config["seed"]}, models: {config["models"]}.
{failed}
## Simulation parameters

| parameter | level |
|---|---|
{parameters}

Bounds of the levels "random":

| bound | value |
|---|---|
{ranges}

## Files

`shard-*.tar` are WebDataset shards; a sample is `<index>.{suffix}`, `.cls` (class number) and `.json` (everything that
was drawn for the image: model, pose, light, camera, environment, materials). `index.json` lists the classes in the
order of their numbers, every shard with its sha256, and the complete configuration. `_info.json` is for timm's reader.

```python
import webdataset as wds
dataset = wds.WebDataset("shard-{{000000..{len(index["shards"]) - 1:06d}}}.tar", shardshuffle=False)
```

{labels}## Licences of what is shown

{chr(10).join(lines)}

Digest of the catalogue: `{index["catalog"]}`
"""


MEANINGS = {
    "depth": "millimetres along the optical axis, 16 bit; 0: nothing there",
    "normals": "(n + 1) / 2 * 255 in camera axes: x right, y up, z towards the camera; 0, 0, 0: nothing there",
    "instance": "0: no object, else the object's number in the image, as in the .json",
    "class": "16 bit; 0: environment, 1: floor, 2: walls, else 3 + class number",
    "part": "0: no object, else its material slot + 1",
    "edges": "strength of depth steps, creases and borders between objects, 255 is full",
    "keypoints": "heat map of the corners of those edges",
}


def _labels(passes: list[str]) -> str:
    if not passes:
        return ""
    rows = "\n".join(f"| `.{name}.png` | {MEANINGS[name]} |" for name in passes)
    return f"""## Label maps

Exact at the pixel centres, never blurred. The .json holds pose, 2-D and 3-D boxes and visibility of every object, and
the camera's focal length in pixels.

| file | content |
|---|---|
{rows}

"""


def _span(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) else f"{value:g}"
