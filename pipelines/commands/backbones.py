"""`simpath evaluate` and `embed`: backbones."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.bar import progress_bar
from pipelines.doctor import require_device
from pipelines.locks import alone
from pipelines.scores import result_line, result_text
from pipelines.terminal import say
from pipelines.usage import UsageError, reading_options
from transfer.catalogue import task_row
from transfer.features import FeatureConfig
from transfer.pathways.config import METHODS, BlockDropOptions, LesionOptions, SpotTuneOptions
from transfer.pathways.options import (
    NO_BLOCKDROP,
    NO_LESION,
    NO_SPOTTUNE,
    NO_TRAINING,
    Options,
    TrainingOptions,
    configure,
)
from transfer.score import ScoreConfig

CROSS_VALIDATED = 5000
"""Training images up to which the probe's regularisation is chosen by cross-validation, five times as dear."""

Method = Literal[
    "knn",
    "linear",
    "linear_sgd",
    "finetune",
    "feature_extractor",
    "standard",
    "last1",
    "last2",
    "last3",
    "l2sp",
    "stochastic",
    "random_policy",
    "spottune",
    "spottune_global",
    "blockdrop",
    "lesion",
]


def evaluate(
    backbone: str,
    task: str,
    root: Path | None = None,
    out: Path | None = None,
    method: Method = "linear",
    k: int | None = None,
    size: int | None = None,
    resize: int | None = None,
    stage: int | None = None,
    pool: Literal["avg", "gem"] | None = None,
    epochs: int | None = None,
    seeds: tuple[int, ...] | None = None,
    split: Literal["published", "grouped"] = "published",
    selection: Literal["cv", "val"] | None = None,
    sweep: Literal["short", "full"] | None = None,
    split_seed: int = 0,
    precision: Literal["bf16", "fp32"] | None = None,
    max_unreadable: float | None = None,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    keep_networks: bool = False,
    training: TrainingOptions = NO_TRAINING,
    spottune: SpotTuneOptions = NO_SPOTTUNE,
    blockdrop: BlockDropOptions = NO_BLOCKDROP,
    lesion: LesionOptions = NO_LESION,
) -> int:
    """Score a backbone on a downstream task, once on its test split.

    The last line is one JSON object {task, method, metric, score, ci95, n_train, n_test, seeds}, scores in percent.
    Above it stand the metrics that are usual for the task beside accuracy, and images that could not be read. `simpath
    tasks table` puts the results of several backbones side by side.

    Args:
        backbone: a backbone.safetensors, or random:ARCH[:SEED], or torchvision:ARCH; lesion trains networks of its own
            and looks at none, whatever stands here.
        task: a task's name (see `simpath tasks list`; NAME:VARIANT is another version, as Flowers102:2040),
            decathlon:DOMAIN of the Visual Decathlon under ROOT/decathlon, a folder of class folders, with train/ and
            test/ or without, a CSV list (columns image and label, perhaps split and group; white space around labels
            and groups does not count), or WebDataset shards.
        root: where the files of named tasks lie, each under ROOT/NAME.
        out: keep features, predictions and checkpoints there and continue from them; default: nowhere. The methods with
            a validation part, and lesion, also leave a page of all of them, OUT/report.html.
        method: on frozen features knn (cosine-weighted), linear (logistic regression; of 45 regularisations the best by
            cross-validation up to 5,000 training images, beyond on 30 % of them), linear_sgd (the published probe) and
            feature_extractor; trained: finetune (the published recipe), and with hyper-parameters chosen on a
            validation part standard, last1 to last3 (blocks), l2sp, stochastic, random_policy, spottune,
            spottune_global and blockdrop; lesion deletes blocks at test time.
        k: neighbours of knn; default: 5.
        size: input side in pixels, 64 for backbones that were pre-trained at 64; default: 224, lesion 32.
        resize: short side before the centre crop; default: 8/7 of `size`, the usual 256 for 224.
        stage: 1 to 4: knn and linear see the pooled output of that stage of a ResNet instead of its last features.
        pool: with --stage: how it is pooled over the image, by average (the default) or generalised mean, which suits
            line drawings.
        epochs: of the trained methods; default: the method's.
        seeds: of the trained methods, one network each; default: the method's.
        split: grouped keeps patients, lesions and leaves on one side, where the task knows them.
        selection: how linear chooses its regularisation, whatever the number of training images: by cross-validation
            or on a validation part.
        sweep: regularisations that linear tries: full, 45 of them, is the default; short, 15, is that of `simpath run`.
        split_seed: of the 70/30 split of your own data that brings none; that of the named sets is fixed.
        precision: of the forward pass; default: bf16 for linear_sgd and finetune, else fp32. On CPUs without AVX-512
            fp32 is many times faster.
        max_unreadable: share of a split's images that may be broken and skipped, more is an error; default: 0.02; of
            knn, linear, linear_sgd and finetune.
        seed: of knn and linear: folds and validation part; of linear_sgd and finetune: the network, as
            --seeds.
        device: where the network runs.
        threads: CPU threads; default: all cores.
        keep_networks: leave what the methods with a validation part have trained, a file for each seed in
            OUT/METHOD/networks, for `simpath classify`.
        training: of the methods with a validation part, and of lesion.
        spottune: of spottune, spottune_global and random_policy.
        blockdrop: of blockdrop.
        lesion: of lesion.
    """
    require_device(device)
    options = Options(training, spottune, blockdrop, lesion)
    # an option that the method does not have is refused before any work
    with reading_options():
        options.values(method)
        _refuse_ignored(method, epochs, seeds)
        _refuse_pathway(method, seed, max_unreadable, precision, training)
        if keep_networks and (method not in METHODS or method == "lesion"):
            having = ", ".join(name for name in METHODS if name != "lesion")
            raise UsageError(f"--keep-networks is no option of {method}; it belongs to {having}")
        if method != "linear" and (selection or sweep):
            raise UsageError(f"--selection and --sweep are options of linear alone, not of {method}")
        if method not in ("knn", "linear") and stage is not None:
            raise UsageError(f"--stage is an option of knn and linear alone, not of {method}")
        if pool is not None and stage is None:
            raise UsageError("--pool is an option of --stage, which is missing")
        if keep_networks and out is None:
            raise UsageError("--keep-networks leaves files in --out, which is missing")
        if method != "knn" and k is not None:
            raise UsageError(f"--k is an option of knn alone, not of {method}")
    if split_seed:
        _refuse_split_seed(task, root)
    side = 224 if size is None else size
    short_side = side * 8 // 7 if resize is None else resize
    places: dict[str, Any] = {"root": root, "device": device, "threads": threads}
    with nullcontext() if out is None else alone(out), tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch)
        with progress_bar(method, "images" if method in ("knn", "linear") else "steps") as progress:
            if method in ("knn", "linear"):
                from transfer.features import extract_features
                from transfer.score import final

                with reading_options():
                    features = FeatureConfig(
                        size=side,
                        resize=short_side,
                        stage=stage,
                        split=split,
                        split_seed=split_seed,
                        **_given(pool=pool, precision=precision, max_unreadable=max_unreadable),
                    )
                    score = ScoreConfig(
                        method="knn" if method == "knn" else "linear",
                        sweep=sweep or "full",
                        seed=seed,
                        **_given(k=k),
                    )
                about = extract_features(features, backbone, task, out=folder / "features", progress=progress, **places)
                small = about["n_train"] + about["n_val"] <= CROSS_VALIDATED
                score = dataclasses.replace(score, selection=selection or ("cv" if small else "val"))
                result = final(score, folder / "features", out=folder / method, threads=threads)
            elif method in ("linear_sgd", "finetune"):
                from transfer.finetune import TuneConfig, tune

                if seeds is not None and len(seeds) != 1:
                    raise UsageError(f"--seeds has {len(seeds)} values; {method} trains one network, give one")
                if seeds is not None and seed:
                    raise UsageError(f"--seed and --seeds both name the seed of {method}; give one of them")
                with reading_options():
                    tuned = TuneConfig(
                        trained="all" if method == "finetune" else "head",
                        size=side,
                        resize=short_side,
                        split=split,
                        split_seed=split_seed,
                        seed=seed if seeds is None else seeds[0],
                        **_given(epochs=epochs, precision=precision, max_unreadable=max_unreadable),
                    )
                result = tune(tuned, backbone, task, out=folder / method, progress=progress, **places)
            else:
                from transfer.pathways.stage import train_pathway

                with reading_options():
                    pathway = configure(
                        method,
                        options,
                        task=task,
                        root=root,
                        size=size,
                        resize=resize,
                        split=split,
                        split_seed=split_seed,
                        precision=precision,
                        epochs=epochs,
                        seeds=seeds,
                    )
                result = train_pathway(
                    pathway,
                    backbone,
                    task,
                    out=folder / method,
                    keep_networks=keep_networks,
                    progress=progress,
                    **places,
                )
        no_page: Exception | None = None
        if out is not None and method in METHODS:
            from pipelines.pathways import write_pathways_report

            try:
                say(f"page  {write_pathways_report(out, below=True)}")
            except (ValueError, OSError) as error:  # of another result in OUT: this one is said first
                no_page = error
    for line in result_text(result):
        say(line)
    say(json.dumps(result_line(method, result, split_seed=split_seed), ensure_ascii=False))
    if no_page is not None:
        raise no_page
    return 0


def embed(
    task: str,
    probe: str,
    out: Path,
    root: Path | None = None,
    size: int = 224,
    resize: int | None = None,
    draws: int = 10_000,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
) -> int:
    """Compute the Task2Vec vector of a task: which filters of a probe network it is sensitive to.

    OUT gets vector.safetensors (9,600 numbers for a ResNet-18) and summary.json, which names the probe.

    Args:
        task: a task's name or a folder of class folders.
        probe: torchvision:resnet18 as published, or a backbone.safetensors of ours where that cannot be downloaded.
        out: directory of the result.
        root: where the files of named tasks lie, each under ROOT/NAME.
        size: input side in pixels.
        resize: short side before the centre crop; default: 8/7 of `size`.
        draws: images drawn for each epoch of the classifier and for the Fisher estimate.
        seed: of the draws.
        device: where the network runs.
        threads: CPU threads; default: all cores.
    """
    from transfer.embedding import EmbeddingConfig, embed_task

    require_device(device)
    config = EmbeddingConfig(size=size, resize=resize or size * 8 // 7, draws=draws, seed=seed)
    with alone(out), progress_bar("embed", "images") as progress:
        summary = embed_task(config, probe, task, out=out, root=root, device=device, threads=threads, progress=progress)
    say(f"{out / 'vector.safetensors'}: {summary['dim']} dimensions, task {summary['task']}, probe {summary['probe']}")
    return 0


def _refuse_ignored(method: Method, epochs: int | None, seeds: tuple[int, ...] | None) -> None:
    """Raises UsageError for --epochs or --seeds where nothing is trained that has them."""
    if method not in ("knn", "linear"):
        return
    trained = ", ".join(name for name in get_args(Method) if name not in ("knn", "linear"))
    for flag, value in (("--epochs", epochs), ("--seeds", seeds)):
        if value is not None:
            raise UsageError(f"{flag} is no option of {method}, which trains no network; it belongs to {trained}")


def _refuse_split_seed(task: str, root: Path | None) -> None:
    """Raises UsageError where the split is not made from a seed: of named sets, and of data that brings its own."""
    if root is not None and (task_row(task.partition(":")[0]) or task.startswith("decathlon:")):
        raise UsageError(f"--split-seed is for data of your own; the split of {task} is fixed")
    from transfer.tasks import load_task

    if load_task(task, root=root).split == "given":
        raise UsageError(f"--split-seed is for data without a split; {task} brings its own")


def _refuse_pathway(
    method: Method, seed: int, max_unreadable: float | None, precision: str | None, training: TrainingOptions
) -> None:
    """Raises UsageError for options that the methods with a validation part, and lesion, do not have."""
    if method not in METHODS:
        return
    if seed:
        raise UsageError(f"--seed is no option of {method}; its networks are named by --seeds")
    if max_unreadable is not None:
        raise UsageError(f"--max-unreadable is no option of {method}; it belongs to knn, linear, linear_sgd, finetune")
    if precision is not None and training.precision is not None:
        raise UsageError("--precision and --training.precision say the same; give one of them")


def _given(**values: Any) -> dict[str, Any]:
    """Those that were given; the others keep the configuration's defaults."""
    return {name: value for name, value in values.items() if value is not None}
