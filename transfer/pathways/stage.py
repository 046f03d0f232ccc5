"""The stage: a method, a backbone and a task in, scores over several seeds out.

Protocol: hyper-parameters are chosen on a validation part of the training images (the task's own, else `validation`
of them, stratified, grouped where the task knows groups) with the first seed; then every seed trains on all training
images with the chosen values and classifies the test images once. Nothing is chosen on test images.

Files left in `out`: runs/<run>/result.json (finished runs are not repeated), predictions.safetensors (label (N,);
prediction, correct (S, N); policy (S, N, L); correct.<name> (S, N) of the comparisons), names.csv (test images in
that order), for BlockDrop easy_and_hard.png, if asked networks/seed=SEED.safetensors, and summary.json, written last.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretrain.memory import freed_memory_is_kept
from transfer.pathways.config import BlockDropConfig, LesionConfig, PathwayConfig, method_name

if TYPE_CHECKING:
    from torch import nn

    from transfer.data import ImageSet, Task
    from transfer.pathways.learning import Learner, Predictions
    from transfer.pathways.methods import Candidate, Method, Report
    from transfer.pathways.pixels import Pixels
    from transfer.pathways.start import StartingPoint

Progress = Callable[[int, int, str], None]
REPORT_EVERY_S = 0.5


@freed_memory_is_kept()
def train_pathway(
    config: PathwayConfig,
    backbone: str | Path | nn.Module,
    task: str | Path | Task,
    *,
    out: Path,
    root: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    keep_networks: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and test one method on one task; returns the summary that it leaves in `out/summary.json`.

    Args:
        config: one of the dataclasses of `config.METHODS`; its type says which method.
        backbone: what `pretrain.checkpoint.load_backbone` takes (FILE, random:ARCH[:SEED], torchvision:ARCH),
            `random:cifar_resnet32` and the other cifar and decathlon names of `resnet.ARCHITECTURES`, a
            torchvision-style ResNet or a `GatedResNet`. The lesion study trains networks of its own, does not look at
            it and says so in its notes.
        task: a task name, a folder, `decathlon:<domain>`, or a Task.
        out: receives the files; finished runs are found there, an interrupted one continues from its last checkpoint.
            Standard fine-tuning of a CIFAR or Decathlon network leaves backbone.safetensors, the network of the first
            seed: this is how a network is pre-trained that other methods start from.
        root: where the files of named tasks lie.
        threads: torch's threads (default: leave as they are).
        keep_networks: also leave what every seed has trained in `out/networks`, for `trained.load_trained`. Where a
            finished run left none, they are trained again, to the same result.

    Raises:
        ValueError: a backbone that is no ResNet, too few training images, or `out` holds another run, or one on
            pictures that have changed since; networks to be kept that have no name of an architecture, or are those
            of the lesion study.
    """
    import torch

    from transfer.content import content_digest
    from transfer.data import Task as TaskType
    from transfer.pathways.start import starting_point
    from transfer.tasks import load_task

    if threads is not None:
        torch.set_num_threads(threads)
    if isinstance(task, TaskType):
        loaded = task
    else:
        loaded = load_task(task, root=root, seed=config.split_seed, split=config.split)
    start = starting_point(config, backbone, num_classes=len(loaded.classes), device=device)
    identity = {
        "method": method_name(config),
        "task": loaded.name,
        "index": loaded.digest(),
        "content": content_digest(loaded),
        "backbone": start.source,
        "config": json.loads(json.dumps(asdict(config))),
    }
    if isinstance(config, BlockDropConfig) and config.policy_backbone is not None:
        policy = starting_point(config, config.policy_backbone, num_classes=len(loaded.classes), device=device)
        identity["policy_backbone"] = policy.source  # the config has its name alone, and a file may be replaced
    if keep_networks:
        _refuse_to_keep(config, start)
    done = _finished(out, identity)
    if done is not None and (not keep_networks or all(_network_file(out, seed).is_file() for seed in config.seeds)):
        return done
    if isinstance(config, LesionConfig):
        from transfer.pathways.lesion import lesion_stage

        result = lesion_stage(config, loaded, out=out, device=device, progress=progress)
    else:
        result = _Run(config, start, loaded, out, device, keep_networks, progress).summary()
    summary = {**identity, **result}
    _write_json(out / "summary.json", summary)
    shutil.rmtree(out / "runs", ignore_errors=True)
    return summary


class _Run:
    """The runs of one stage: selection on validation images, then one final run per seed."""

    def __init__(
        self,
        config: PathwayConfig,
        start: StartingPoint,
        task: Task,
        out: Path,
        device: str,
        keep_networks: bool,
        progress: Progress | None,
    ) -> None:
        from transfer.pathways.adaptive import method_of
        from transfer.pathways.methods import Setting

        self.config, self.start, self.task, self.out = config, start, task, out
        self.setting = Setting(config, start.network, len(task.classes), device)
        self.method: Method = method_of(self.setting)
        self.keep_networks, self.progress = keep_networks, progress
        self.done_steps, self.total_steps, self.last_report_s = 0, 0, -math.inf

    def summary(self) -> dict[str, Any]:
        from transfer.pathways.parts import final_part, training_part

        began = time.monotonic()
        train, val_rows = training_part(self.config, self.task, self._pixels)
        test = self._pixels(self.task.test, "test")
        final = final_part(self.config, train, val_rows)
        self.total_steps = self.method.steps(len(train) - len(val_rows), len(final))
        candidate, table = self._select(train, val_rows)
        results, predictions, reports = [], [], []
        for seed in self.config.seeds:
            result, prediction, report = self._final(candidate, final, test, seed)
            results.append(result)
            predictions.append(prediction)
            reports.append(report)
        if self.progress is not None:  # what an earlier run had finished counts too
            self.progress(self.total_steps, self.total_steps, f"{method_name(self.config)}: trained and tested")
        numbers = self._save_predictions(test, predictions, reports)
        notes = list(self.task.notes)
        if isinstance(self.config, BlockDropConfig):
            from transfer.pathways.pictures import easy_and_hard

            policy = predictions[0].policy
            assert policy is not None
            kept = policy.sum(dim=1).numpy()
            sheet = self.out / "easy_and_hard.png"
            notes += [note for note in [easy_and_hard(test.images, kept, self.task.classes, out=sheet)] if note]
        return {
            **numbers,
            "classes": list(self.task.classes),
            "n_train": len(final),
            "n_validation": len(val_rows),
            "n_test": len(test),
            "seeds": list(self.config.seeds),
            "chosen": candidate,
            "selection": table,
            "skipped": [*train.skipped, *test.skipped],
            "also_report": list(self.task.also_report),
            "split": self.task.split,
            "notes": notes,
            "metrics": {
                name: float(np.mean([result[name] for result in results]))
                for name in ("accuracy", "mean_per_class", "macro_auc")
            },
            "per_seed": results,
            "seconds": round(time.monotonic() - began, 1),
        }

    def _pixels(self, images: ImageSet, part: str) -> Pixels:
        from transfer.pathways.parts import decode_part

        note, start = f"{part} images of {self.task.name}", self.start
        return decode_part(self.config, images, mean=start.mean, std=start.std, note=note, progress=self.progress)

    def _tick(self, run: str) -> Callable[[str], None]:
        def tick(note: str) -> None:
            self.done_steps += 1
            now = time.monotonic()
            if self.progress is not None and now - self.last_report_s > REPORT_EVERY_S:
                self.last_report_s = now
                total = max(self.total_steps, self.done_steps)
                self.progress(self.done_steps, total, f"{method_name(self.config)} {run}: {note}")

        return tick

    def _select(self, train: Pixels, val_rows: np.ndarray) -> tuple[Candidate, list[dict[str, Any]]]:
        if not self.method.chooses():
            return self.method.candidates()[0], []
        held_out = np.zeros(len(train), dtype=bool)
        held_out[val_rows] = True
        fit_part, val = train.select(np.flatnonzero(~held_out)), train.select(val_rows)
        self._enter("selection/prepare")
        self.method.prepare(fit_part, val)
        table = []
        for candidate in self.method.candidates():
            label = "selection/" + ",".join(f"{name}={value:g}" for name, value in candidate.items())
            files = self._enter(label)
            if not (files / "result.json").exists():
                _write_json(files / "result.json", self._try(candidate, fit_part, val))
            table.append(_read_json(files / "result.json"))
        best = max(range(len(table)), key=lambda index: table[index]["worth"])
        return self.method.candidates()[best], table

    def _try(self, candidate: Candidate, fit_part: Pixels, val: Pixels) -> dict[str, Any]:
        from transfer.pathways.learning import Diverged

        seed = self.config.seeds[0]
        try:
            learner = self.method.train(candidate, fit_part, seed=seed)
        except Diverged:
            return {**candidate, "accuracy": None, "worth": -1.0}  # worse than any candidate that learns at all
        predictions = self.setting.predict(learner, val, seed=seed)
        worth = self.method.worth(learner, val, predictions)
        facts = self.method.facts(learner, val, predictions)
        return {**candidate, "accuracy": predictions.accuracy, **facts, "worth": worth}

    def _enter(self, label: str) -> Path:
        files = self.out / "runs" / label
        files.mkdir(parents=True, exist_ok=True)
        self.setting.files = files
        self.setting.tick = self._tick(label)
        return files

    def _final(
        self, candidate: Candidate, train: Pixels, test: Pixels, seed: int
    ) -> tuple[dict[str, Any], Predictions, Report]:
        from transfer.metrics import classification_metrics
        from transfer.pathways.learning import read_predictions, write_predictions
        from transfer.pathways.methods import Report

        files = self._enter(f"final/seed={seed}")
        saved = files / "predictions.safetensors"
        kept = not self.keep_networks or _network_file(self.out, seed).is_file()
        if not (kept and (files / "result.json").exists()):
            learner = self.method.train(candidate, train, seed=seed)
            predictions = self.setting.predict(learner, test, seed=seed)
            report = self.method.report(learner, test, predictions, seed=seed)
            write_predictions(saved, {"": predictions, **report.others})
            self._keep_backbone(learner, test, seed)
            if self.keep_networks:
                self._keep_network(learner, test, seed)
            metrics = classification_metrics(predictions.probabilities, predictions.labels)
            others = {f"accuracy_{name}": other.accuracy for name, other in report.others.items()}
            _write_json(files / "result.json", {"seed": seed, **metrics, **others, **report.numbers})
            for checkpoint in (self.out / "runs" / "final").rglob("*.pt"):
                checkpoint.unlink()
        result = _read_json(files / "result.json")
        stored = read_predictions(saved)
        predictions = stored.pop("")
        return result, predictions, Report(others=stored)

    def _keep_network(self, learner: Learner, pixels: Pixels, seed: int) -> None:
        from transfer.pathways.trained import Trained, save_trained

        assert self.start.arch is not None
        about = (self.task.name, tuple(self.task.classes), pixels.mean, pixels.std, seed)
        trained = Trained(learner, self.config, self.start.arch, *about)
        save_trained(_network_file(self.out, seed), trained, policy_arch=self.method.policy_arch)

    def _keep_backbone(self, learner: Learner, pixels: Pixels, seed: int) -> None:
        from transfer.pathways.baselines import FineTuning
        from transfer.pathways.start import is_small_image, save_gated

        arch = self.start.arch
        if method_name(self.config) == "standard" and is_small_image(arch) and seed == self.config.seeds[0]:
            assert isinstance(learner, FineTuning) and arch is not None
            path = self.out / "backbone.safetensors"
            save_gated(path, learner.network, arch, mean=pixels.mean, std=pixels.std)

    def _save_predictions(self, test: Pixels, predictions: list[Predictions], reports: list[Report]) -> dict[str, Any]:
        import torch
        from safetensors.torch import save_file

        from pretrain.checkpoint import write_atomic
        from transfer.intervals import accuracy

        correct = torch.stack([prediction.correct for prediction in predictions])
        tensors = {
            "label": test.labels,
            "prediction": torch.stack([prediction.probabilities.argmax(1) for prediction in predictions]),
            "correct": correct.to(torch.uint8),
        }
        if predictions[0].policy is not None:
            tensors["policy"] = torch.stack([p.policy for p in predictions if p.policy is not None]).to(torch.uint8)
        others = {}
        for name in reports[0].others:
            other = torch.stack([report.others[name].correct for report in reports])
            tensors[f"correct.{name}"] = other.to(torch.uint8)
            others[name] = {
                "score": 100 * float(other.double().mean()),
                "ci95": list(accuracy(other.numpy(), seed=0).ci95),
            }
        write_atomic(self.out / "predictions.safetensors", lambda path: save_file(tensors, path))
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows([["name", "class"], *zip(test.images.names, test.images.labels.tolist(), strict=True)])
        named = text.getvalue().encode("utf-8", "backslashreplace")
        write_atomic(self.out / "names.csv", lambda path: path.write_bytes(named))
        return {
            "metric": "accuracy",
            "score": 100 * float(correct.double().mean()),
            "ci95": list(accuracy(correct.numpy(), seed=0).ci95),
            "scores": [prediction.accuracy for prediction in predictions],
            "others": others,
        }


def _network_file(out: Path, seed: int) -> Path:
    return out / "networks" / f"seed={seed}.safetensors"


def _refuse_to_keep(config: PathwayConfig, start: StartingPoint) -> None:
    """Raises ValueError where what is trained could not be read again from a file."""
    if isinstance(config, LesionConfig):
        raise ValueError("the lesion study keeps no networks; every other method can")
    if start.arch is None:
        raise ValueError(f"networks that begin with {start.source} cannot be kept; allowed: a backbone with a name")


def _finished(out: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a finished run of the same identity; raises if `out` belongs to another one."""
    marker = out / "identity.json"
    known = _read_json(marker) if marker.exists() else identity
    if known != identity:
        different = [key for key, value in identity.items() if known.get(key) != value]
        raise ValueError(f"{out} holds a run of another {' and '.join(different)}; choose another directory")
    if (out / "summary.json").exists():
        return _read_json(out / "summary.json")
    out.mkdir(parents=True, exist_ok=True)
    _write_json(marker, identity)
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; remove its folder to train again") from None
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    from pretrain.checkpoint import write_atomic

    text = json.dumps(value, indent=1, ensure_ascii=False)
    write_atomic(path, lambda name: name.write_text(text + "\n", encoding="utf-8", errors="backslashreplace"))
