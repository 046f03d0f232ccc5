"""The command line, `simpath` or `python -m pipelines`: typed functions through tyro, one for each command.

Heavy libraries are imported inside the commands, so that `--help` answers at once. Results go to stdout, progress and
errors to stderr. Exit status: 0 complete, 1 failed, 2 usage, 3 partial (what is missing is listed), 75 saved after
SIGTERM.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn

import tyro

from pipelines.presets import DEMO, DEMO_TASKS, PRESETS, tasks_under, with_budget
from pretrain.recipes import RECIPES
from sim.assets import CatalogConfig
from sim.params import SimParams, SimRanges
from sim.shards import RenderConfig
from sim.wire import Device
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig

NO_VARIATION, PUBLISHED_RANGES, DEFAULT_CATALOG = SimParams(), SimRanges(), CatalogConfig()
DESCRIPTION = "Render synthetic images, pre-train on them, learn which ones suit a task, measure the transfer."
EXIT_FAILED, EXIT_PARTIAL, EXIT_SAVED = 1, 3, 75

app = tyro.extras.SubcommandApp()
tasks_app = tyro.extras.SubcommandApp()
store_app = tyro.extras.SubcommandApp()


@app.command
def doctor(store: Path | None = None) -> int:
    """Say what this machine has and lacks for each stage.

    Args:
        store: also check the disk and the file locks where this store lies (or will lie).
    """
    from pipelines.doctor import print_checks, run_checks

    return 0 if print_checks(run_checks(store), print) else EXIT_FAILED


@app.command
def demo(
    out: Path = Path("demo"), store: Path | None = None, device: Literal["cpu", "cuda"] = "cpu", cluster: str = "local"
) -> int:
    """Run the whole flow at toy scale, with nothing to download.

    Renders five parameter settings, pre-trains a small ResNet on each, lets the controller choose, and evaluates on
    three small tasks. Ends with a table and OUT/report.html. Run it again to continue, or to finish from its store.

    Args:
        out: directory of the results.
        store: directory of the artifact store; default OUT/store.
        device: where networks train and Blender renders.
        cluster: `local`, or the address of a Dask scheduler (tcp://… or tls://…).
    """
    return _run("demo", DEMO, DEMO_TASKS, out, store, cluster, device)


@app.command
def run(
    preset: tyro.conf.Positional[Literal["small", "paper"]],
    tasks: Path,
    out: Path,
    budget: int | None = None,
    store: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    cluster: str = "local",
) -> int:
    """Run the whole experiment on your own tasks; resumable.

    OUT holds report.html, transfer.csv, trials.csv, summary.json, the chosen backbones, logs and the store.

    Args:
        preset: `small` takes about an hour on 2 cores; `paper` has the published sizes and wants a GPU cluster.
        tasks: a folder with one labelled image folder for each task.
        out: directory of the results.
        budget: settings to render at most; default: the preset's.
        store: directory of the artifact store; default OUT/store.
        device: where networks train and Blender renders.
        cluster: `local`, or the address of a Dask scheduler (tcp://… or tls://…).
    """
    config = PRESETS[preset] if budget is None else with_budget(PRESETS[preset], budget)
    return _run(preset, config, tasks_under(tasks), out, store, cluster, device)


def _run(name: str, config: Any, tasks: Any, out: Path, store: Path | None, cluster: str, device: str) -> int:
    from pipelines.run import run_experiment

    result = run_experiment(
        name,
        config,
        tasks,
        out=out,
        store=store,
        cluster=cluster,
        device=device,
        command=("simpath", *sys.argv[1:]),
    )
    print(result.text)
    return result.status


@app.command
def render(
    out: Path,
    num_images: int,
    params: SimParams = NO_VARIATION,
    ranges: SimRanges = PUBLISHED_RANGES,
    catalog: CatalogConfig = DEFAULT_CATALOG,
    models: Literal["all", "train", "heldout"] = "all",
    seed: int = 0,
    size: int = 224,
    samples: int = 16,
    denoiser: Literal["none", "oidn"] = "none",
    format: Literal["jpg", "webp", "png"] = "jpg",
    quality: int = 90,
    images_per_shard: int = 1000,
    shards: str | None = None,
    device: Device = "cpu",
    workers: int | None = None,
) -> int:
    """Render a data set of object images into WebDataset shards.

    Run it again to continue after an interruption; more images later keep the shards that are full.

    Args:
        out: directory of the data set.
        num_images: images in the data set; they are spread evenly over the classes.
        params: the eight simulation parameters; the first level of each is "off".
        ranges: bounds of the uniform distributions behind the "random" levels.
        catalog: which classes and models.
        models: all, or the half of each class's models to train on or to hold out.
        seed: of every random draw.
        size: width and height in pixels.
        samples: paths per pixel: more is slower and less noisy.
        denoiser: none, or Open Image Denoise after every image.
        format: of the pictures.
        quality: of jpg and webp, 1 to 100.
        images_per_shard: images in one tar file.
        shards: render only the shards FIRST:LAST (LAST excluded), for several machines on one directory.
        device: where Blender renders; a GPU that is asked for and absent is an error.
        workers: Blender processes; default: one for each core, or each GPU.
    """
    from pipelines.bar import progress_bar
    from sim.dataset import render_dataset

    config = RenderConfig(
        params=params,
        ranges=ranges,
        catalog=catalog,
        models=models,
        seed=seed,
        size=size,
        samples=samples,
        denoiser=denoiser,
        format=format,
        quality=quality,
        images_per_shard=images_per_shard,
    )
    with progress_bar("render", "images") as progress:
        summary = render_dataset(
            config,
            out=out,
            num_images=num_images,
            workers=workers,
            device=device,
            shards=_shard_range(shards),
            progress=progress,
        )
    rate = f"{summary['images_per_second']} images/s" if summary["rendered"] else "all there already"
    print(
        f"{out}: {summary['images']} images in {summary['shards']} shards, {summary['rendered']} rendered now, {rate}"
    )
    for failure in summary["failed"]:
        print(f"missing: image {failure['index']} (model {failure['model']}): {failure['reason']}")
    if not summary["complete"]:
        print("the other shards of the set are not there yet; whoever finds all of them writes index.json")
    return EXIT_PARTIAL if summary["failed"] else 0


def _shard_range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise ValueError(f"--shards is {text!r}; allowed: FIRST:LAST, for example 0:8")
    return int(first), int(last)


@app.command
def inspect(data: tyro.conf.Positional[Path], rows: int = 6, columns: int = 8) -> int:
    """Verify every shard of a data set, print its counts and write DATA/contact_sheet.png.

    Args:
        data: directory of the data set.
        rows: of the contact sheet.
        columns: of the contact sheet.
    """
    from pipelines.bar import progress_bar
    from sim.inspection import contact_sheet, verify_dataset

    with progress_bar("verify", "shards") as progress:
        found = verify_dataset(data, progress)
    print(f"{data}: {found.num_images} images in {found.num_shards} shards, {found.num_bytes / 1e6:.1f} MB, all intact")
    params = found.config["params"]
    print("parameters  " + "  ".join(f"{name}={value}" for name, value in params.items()))
    width = max(len(name) for name in found.class_counts)
    for name, count in found.class_counts.items():
        print(f"  {name:<{width}}  {count}")
    sheet = data / "contact_sheet.png"
    contact_sheet(data, sheet, rows, columns)
    print(f"pictures    {sheet}")
    return 0


@app.command
def pretrain(
    data: Path,
    out: Path,
    recipe: Literal["paper", "paper-sgd", "small", "demo"] = "paper",
    arch: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
    threads: int | None = None,
) -> int:
    """Pre-train a backbone from scratch on a rendered data set; resumable.

    OUT gets backbone.safetensors (torchvision's ResNet keys), metrics.jsonl and summary.json.

    Args:
        data: directory of the data set.
        out: directory of the results; run again with the same one to continue.
        recipe: `paper` is Task2Sim's (ResNet-50, 224 px, 100 epochs); `small` is for a few thousand images of 64 px.
        arch: another network than the recipe's, by torchvision's or timm's name.
        size: pixels of a training image; default: the recipe's.
        epochs: passes over the data; default: the recipe's.
        batch_size: images for each optimiser step; default: the recipe's.
        learning_rate: peak of the schedule; default: the recipe's.
        seed: of initialisation, order and augmentation.
        device: where to train.
        workers: processes that read and augment images; 0: in this one.
        threads: CPU threads of PyTorch; default: all cores.
    """
    from pipelines.bar import progress_bar
    from pretrain.train import pretrain as run_pretrain

    overrides: dict[str, Any] = {
        "seed": seed,
        "arch": arch,
        "size": size,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    config = dataclasses.replace(
        RECIPES[recipe], **{name: value for name, value in overrides.items() if value is not None}
    )
    with progress_bar("pre-train", "steps") as progress:
        summary = run_pretrain(
            config, data, out=out, device=device, workers=workers, threads=threads, progress=progress
        )
    print(json.dumps(summary, indent=1))
    print(f"backbone  {out / 'backbone.safetensors'}")
    return 0


@app.command
def evaluate(
    backbone: str,
    task: str,
    root: Path | None = None,
    out: Path | None = None,
    method: Literal["knn", "linear"] = "linear",
    k: int = 5,
    size: int = 224,
    resize: int | None = None,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
) -> int:
    """Score a backbone on a downstream task, once on its test split.

    The last line is one JSON object {task, method, metric, score, ci95, n_train, n_test, seeds}, scores in percent.

    Args:
        backbone: a backbone.safetensors, or random:ARCH[:SEED], or torchvision:ARCH.
        task: a task's name (see `simpath tasks list`) or a folder of class folders, with train/ and test/ or without.
        root: where the files of named tasks lie, each under ROOT/NAME.
        out: keep the features and predictions there; default: nowhere.
        method: knn is cosine-weighted, linear is logistic regression with cross-validated regularisation.
        k: neighbours of knn.
        size: input side in pixels, 64 for backbones that were pre-trained at 64.
        resize: short side before the centre crop; default: 8/7 of `size`, the usual 256 for 224.
        seed: of splits that the task does not bring, folds and bootstrap.
        device: where features are extracted.
        threads: CPU threads; default: all cores.
    """
    import tempfile

    from pipelines.bar import progress_bar
    from transfer.features import extract_features
    from transfer.score import final

    features = FeatureConfig(size=size, resize=resize or size * 8 // 7, split_seed=seed)
    score = ScoreConfig(method=method, k=k, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch)
        with progress_bar("features", "images") as progress:
            extract_features(
                features,
                backbone,
                task,
                out=folder / "features",
                root=root,
                device=device,
                threads=threads,
                progress=progress,
            )
        result = final(score, folder / "features", out=folder / method, threads=threads)
    for note in result["notes"]:
        print(f"note: {note}")
    print(
        json.dumps(
            {
                "task": result["task"],
                "method": result["method"],
                "metric": result["metric"],
                "score": round(result["score"], 2),
                "ci95": [round(bound, 2) for bound in result["ci95"]],
                "n_train": result["n_train"],
                "n_test": result["n_test"],
                "seeds": 1,
            },
            ensure_ascii=False,
        )
    )
    return 0


@app.command
def report(out: tyro.conf.Positional[Path]) -> int:
    """Write OUT/report.html anew from OUT/summary.json.

    Args:
        out: directory of a run.
    """
    from pipelines.report import write_report

    print(write_report(out))
    return 0


@store_app.command(name="ls")
def store_ls(store: tyro.conf.Positional[Path]) -> int:
    """List the artifacts of a store.

    Args:
        store: directory of the store.
    """
    for artifact in _existing_store(store).artifacts():
        meta = artifact.metadata
        print(f"{artifact.digest[:12]}  {artifact.stage:<12}  {meta['bytes'] / 1e6:9.2f} MB  {meta['wall_s']:8.1f} s")
    return 0


@store_app.command(name="du")
def store_du(store: tyro.conf.Positional[Path]) -> int:
    """Say how much each stage's artifacts take.

    Args:
        store: directory of the store.
    """
    from pipelines.care import usage

    for row in usage(_existing_store(store)):
        print(f"{row.stage:<12}  {row.artifacts:6d} artifacts  {row.bytes / 1e6:10.2f} MB")
    return 0


@store_app.command(name="gc")
def store_gc(store: tyro.conf.Positional[Path], dry_run: bool = False) -> int:
    """Remove what no named run needs.

    Args:
        store: directory of the store.
        dry_run: only say what would go.
    """
    from pipelines.care import collect

    found = collect(_existing_store(store), dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    print(f"{verb} {found.artifacts} artifacts and {found.partials} partial ones, {found.bytes / 1e6:.2f} MB")
    return 0


@store_app.command(name="verify")
def store_verify(store: tyro.conf.Positional[Path]) -> int:
    """Read every byte of a store and compare with what was written.

    Args:
        store: directory of the store.
    """
    from pipelines.bar import progress_bar
    from pipelines.care import verify

    with progress_bar("verify", "artifacts") as progress:
        problems = verify(_existing_store(store), progress)
    for problem in problems:
        print(problem)
    print("all intact" if not problems else f"{len(problems)} damaged")
    return EXIT_FAILED if problems else 0


def _existing_store(root: Path) -> Any:
    from pipelines.artifact import Store

    if not (root / "artifacts").is_dir():
        raise FileNotFoundError(f"{root} is no artifact store (it has no folder artifacts)")
    return Store(root)


app.command(store_app, name="store", help="Care for an artifact store: ls, du, gc, verify.")


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    # an exception unwinds the open `with` blocks, which save and stop what runs
    raise SystemExit(EXIT_SAVED)


def main() -> None:
    """Entry point of the console script. A deliberate error ends in one line on stderr and status 1."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = app.cli(prog="simpath", description=DESCRIPTION, config=())
    except (ValueError, OSError, RuntimeError) as error:
        print(f"simpath: {_one_line(error)}", file=sys.stderr)
        status = EXIT_FAILED
    except KeyboardInterrupt:
        print("simpath: interrupted; run the same command again to continue", file=sys.stderr)
        status = 130
    raise SystemExit(status)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return text or type(error).__name__


if __name__ == "__main__":
    main()
