"""`simpath render` and `simpath inspect`: data sets."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import tyro

from pipelines.bar import progress_bar
from pipelines.batch import BatchConfig
from pipelines.commands import PARTIAL
from pipelines.locks import alone
from pipelines.place import NO_TLS, ONE_JOB, BadPlace, Place, TlsFiles
from pipelines.terminal import say
from pipelines.usage import UsageError, reading_options
from sim.assets import CatalogConfig
from sim.params import SimParams, SimRanges
from sim.shards import RenderConfig
from sim.wire import Device

NO_VARIATION, PUBLISHED_RANGES, DEFAULT_CATALOG = SimParams(), SimRanges(), CatalogConfig()


def render(
    out: str,
    num_images: int,
    params: SimParams = NO_VARIATION,
    ranges: SimRanges = PUBLISHED_RANGES,
    catalog: CatalogConfig = DEFAULT_CATALOG,
    assets: Path | None = None,
    hdris: Path | None = None,
    textures: Path | None = None,
    trust_assets: bool = False,
    strict: bool = False,
    models: Literal["all", "train", "heldout"] = "all",
    layout: Literal["single", "room"] = "single",
    passes: str = "",
    seed: int = 0,
    size: int = 224,
    samples: int = 2,
    denoiser: Literal["none", "oidn"] = "oidn",
    format: Literal["jpg", "webp", "png"] = "jpg",
    quality: int = 90,
    images_per_shard: int = 1000,
    shards: str | None = None,
    device: Device = "cpu",
    workers: int | None = None,
    cluster: str | None = None,
    batch: BatchConfig = ONE_JOB,
    tls: TlsFiles = NO_TLS,
) -> int:
    """Render a data set of object images into WebDataset shards.

    Run it again to continue after an interruption; more images later keep the shards that are full.

    Args:
        out: directory of the data set, or an address such as s3://bucket/folder.
        num_images: images in the data set; they are spread evenly over the classes.
        params: the eight simulation parameters; the first level of each is "off".
        ranges: bounds of the uniform distributions behind the "random" levels.
        catalog: which classes and models.
        assets: folder of your own models, <category>/<model>.glb and the like, instead of the procedural ones.
        hdris: folder of your own environment maps (.hdr, .exr) instead of the eight of Blender.
        textures: folder of PBR texture sets, named as ambientCG or Poly Haven do, instead of the 141 procedural
            materials of `materials: random`.
        trust_assets: read .fbx and .usd models too, with all that they refer to, wherever it lies.
        strict: a file of these folders that cannot be taken is an error; without, it is listed.
        models: all, or the half of each class's models to train on or to hold out.
        layout: one object before the environment, or several in a room.
        passes: label maps beside each picture, separated by commas: depth, normals, instance, class, part, edges,
            keypoints.
        seed: of every random draw.
        size: width and height in pixels.
        samples: paths per pixel: more is slower and less noisy. Two denoised ones are enough at 224 px; give 8 at
            64 px, and 16 and more without a denoiser.
        denoiser: Open Image Denoise after every image, on the CPU also where a GPU renders, or none.
        format: of the pictures.
        quality: of jpg and webp, 1 to 100.
        images_per_shard: images in one tar file.
        shards: render only the shards FIRST:LAST (LAST excluded), for several machines on one directory.
        device: where Blender renders; a GPU that is asked for and absent is an error.
        workers: Blender processes on this machine, each with a shard at a time, so no more than there are shards;
            default: one for each core, or each GPU.
        cluster: make each shard a job, on local; slurm, pbs, lsf, sge, oar, moab, htcondor; or a scheduler at
            tls://HOST:PORT, tcp://HOST:PORT. `out` is then a directory that all of its machines share.
        batch: what is asked of the batch system, only for `--cluster slurm` and the like.
        tls: credentials, only for `--cluster tls://HOST:PORT`.
    """
    from sim.assets import require_all_assets, skipped_assets
    from sim.dataset import render_dataset
    from sim.remote import render_to_url

    place = _place(cluster, workers, batch, tls)
    if place is not None and "://" in out:
        raise BadPlace(f"--cluster needs a directory that all of its machines share, not {out}")
    folders = {"assets": assets, "hdris": hdris, "textures": textures}
    changes: dict[str, Any] = {name: str(path.absolute()) for name, path in folders.items() if path is not None}
    if trust_assets:
        changes["trust_assets"] = True
    with reading_options():
        config = RenderConfig(
            params=params,
            ranges=ranges,
            catalog=dataclasses.replace(catalog, **changes),
            models=models,
            layout=layout,
            passes=tuple(name.strip() for name in passes.split(",") if name.strip()),
            seed=seed,
            size=size,
            samples=samples,
            denoiser=denoiser,
            format=format,
            quality=quality,
            images_per_shard=images_per_shard,
        )
    if strict:
        require_all_assets(config.catalog)
    missing: list[str] = []
    if place is not None:
        from pipelines.farm import render_on_cluster

        summary = render_on_cluster(
            config, out=Path(out), num_images=num_images, place=place, device=device, shards=_shard_range(shards)
        )
        missing = summary["missing"]
    elif "://" in out:
        if shards is not None:
            raise ValueError(f"--shards is for a directory, not for {out}")
        with progress_bar("render", "images") as progress, tempfile.TemporaryDirectory() as staging:
            summary = render_to_url(
                config,
                out,
                staging=Path(staging),
                num_images=num_images,
                workers=workers,
                device=device,
                progress=progress,
            )
    else:
        # machines that share the directory have shards of their own, each with a lock
        alone_here = alone(Path(out)) if shards is None else nullcontext()
        with alone_here, progress_bar("render", "images") as progress:
            summary = render_dataset(
                config,
                out=Path(out),
                num_images=num_images,
                workers=workers,
                device=device,
                shards=_shard_range(shards),
                progress=progress,
            )
    say("\n".join(_closing_lines(out, summary, skipped_assets(config.catalog), missing)))
    return PARTIAL if summary["failed"] or missing else 0


def _closing_lines(out: str, summary: dict[str, Any], skipped: dict[str, str], missing: list[str]) -> list[str]:
    """What there is, what was rendered now, and everything that is not there with its reason."""
    images, shards, rendered = summary["images"], summary["shards"], summary["rendered"]
    rate = f"{summary['images_per_second']} images/s" if rendered else "all there already"
    lines = [f"{out}: {images} images in {shards} shards, {rendered} rendered now, {rate}"]
    if skipped:
        lines.append(f"files that were not taken: {len(skipped)}")
    lines += [f"not taken: {name}: {reason}" for name, reason in skipped.items()]
    for failure in summary["failed"]:
        lines.append(f"missing: image {failure['index']} (model {failure['model']}): {failure['reason']}")
    lines += [f"missing: {reason}" for reason in missing]
    if not summary["complete"]:
        lines.append("the other shards of the set are not there yet; whoever finds all of them writes index.json")
    return lines


def _place(cluster: str | None, workers: int | None, batch: BatchConfig, tls: TlsFiles) -> Place | None:
    """Where shards are jobs; None for Blender processes of this one. Raises BadPlace for options that do not fit."""
    if workers is not None and workers < 1:
        raise BadPlace(f"workers is {workers}; allowed: 1 and up")
    if cluster is None:
        if (batch, tls) != (ONE_JOB, NO_TLS):
            raise BadPlace("--batch and --tls options are for --cluster, which was not given")
        return None
    if cluster != "local" and workers is not None:
        raise BadPlace(f"workers is for this machine, not for the cluster {cluster}, which takes what its cores allow")
    return Place(cluster, cores=workers, batch=batch, tls=tls)


def _shard_range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise UsageError(f"--shards is {text!r}; allowed: FIRST:LAST, for example 0:8")
    return int(first), int(last)


def inspect(data: tyro.conf.Positional[Path], rows: int = 6, columns: int = 8) -> int:
    """Verify every shard of a data set, print counts and histograms, write DATA/contact_sheet.png.

    Args:
        data: directory of the data set.
        rows: of the contact sheet.
        columns: of the contact sheet.
    """
    from sim.histograms import format_histogram, parameter_histograms
    from sim.inspection import contact_sheet, verify_dataset

    with progress_bar("verify", "shards") as progress:
        found = verify_dataset(data, progress)
    say(f"{data}: {found.num_images} images in {found.num_shards} shards, {found.num_bytes / 1e6:.1f} MB, all intact")
    params = found.config["params"]
    say("parameters  " + "  ".join(f"{name}={value}" for name, value in params.items()))
    width = max(len(name) for name in found.class_counts)
    for name, count in found.class_counts.items():
        say(f"  {name:<{width}}  {count}")
    for name, histogram in parameter_histograms(data).items():
        if name != "class":
            say(format_histogram(name, histogram))
    sheet = data / "contact_sheet.png"
    contact_sheet(data, sheet, rows, columns)
    say(f"pictures    {sheet}")
    return 0
