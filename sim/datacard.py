"""README.md of a data set: what it is, how it was made, what may be done with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    lines = [
        f"- {count} {what}: {licence}"
        for what, table in (("models", licences), ("environments", environments))
        for licence, count in sorted(table.items())
    ]
    failed = ""
    if index["failed"]:
        failed = f"\n{len(index['failed'])} scenes could not be rendered; index.json names them.\n"
    size, suffix = config["size"], config["format"]
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

## Licences of what is shown

{chr(10).join(lines)}

Digest of the catalogue: `{index["catalog"]}`
"""


def _span(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) else f"{value:g}"
