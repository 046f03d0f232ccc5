"""The picture at the top of README.md: seven classes, each row under another choice of the simulation parameters.

python docs/pictures/settings.py        # renders 120 images of 224 px and writes settings.jpg beside this file
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sim.dataset import render_dataset
from sim.inspection import iterate_samples, read_index
from sim.params import TASK2SIM_SPACE, SimParams, all_on
from sim.shards import RenderConfig

ROWS = {
    "all off": SimParams(),
    "pose: rotation and distance": SimParams(object_rotation="random", object_distance="random"),
    "light: intensity, colour, direction": SimParams(
        light_intensity="random", light_color="random", light_direction="random"
    ),
    "materials and focus blur": SimParams(materials="random", focus_blur="random"),
    "all on": SimParams(**TASK2SIM_SPACE.to_levels(all_on())),  # type: ignore[arg-type]
}
CLASSES = ("chair", "scissors", "broadleaf_tree", "dog", "umbrella", "teapot", "airplane")
SEED = 1  # of these classes none fills the picture or leaves it
TILE, GAP, TITLE = 150, 6, 26


def main() -> None:
    height = len(ROWS) * (TITLE + TILE + GAP)
    sheet = Image.new("RGB", (GAP + len(CLASSES) * (TILE + GAP), height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    with tempfile.TemporaryDirectory() as folder:
        for row, (title, params) in enumerate(ROWS.items()):
            data = Path(folder) / str(row)
            render_dataset(RenderConfig(params=params, seed=SEED, images_per_shard=12), out=data, num_images=24)
            index = read_index(data)
            by_class = {index["classes"][int(sample["cls"])]: sample["jpg"] for sample in iterate_samples(data, index)}
            top = row * (TITLE + TILE + GAP)
            draw.text((GAP + 2, top + 4), title, fill="black", font=font)
            for column, name in enumerate(CLASSES):
                picture = Image.open(io.BytesIO(by_class[name])).resize((TILE, TILE), Image.Resampling.LANCZOS)
                sheet.paste(picture, (GAP + column * (TILE + GAP), top + TITLE))
    sheet.save(Path(__file__).with_name("settings.jpg"), quality=90)


if __name__ == "__main__":
    main()
