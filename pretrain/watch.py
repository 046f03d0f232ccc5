"""What a run says while it goes: metrics.jsonl, TensorBoard, progress."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pretrain.data import Progress

if TYPE_CHECKING:
    from pretrain.loader import Batch
    from pretrain.step import StepResult

METRICS_NAME = "metrics.jsonl"
MAX_STEP_LINES = 20_000
"""Longer runs write every second, third, ... step, so that the file stays under about 4 MB."""
SAY_EVERY_S = 1.0
NO_SUMS = {"steps": 0, "loss": 0.0, "labelled": 0, "accuracy": 0.0}
"""Of an epoch that has not begun: steps and the sum of their losses, those with an accuracy and their sum."""


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`, oldest first: kind "step" and kind "epoch" (means over the epoch, val_accuracy)."""
    path = out / METRICS_NAME
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # a run that was killed may leave half a line at the end
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Watch:
    """Counts, measures and writes. Ranks other than the first pass `out=None` and write nothing."""

    def __init__(
        self,
        out: Path | None,
        *,
        start: int,
        total: int,
        batch_size: int,
        progress: Progress | None,
        tensorboard: bool,
        sums: Mapping[str, float] = NO_SUMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` and `sums` are those of the checkpoint that is resumed."""
        self._total, self._batch_size, self._progress = total, batch_size, progress
        self._every = -(-total // MAX_STEP_LINES)
        self._file: IO[str] | None = None
        self._board: Any = None
        self._epoch: dict[str, Any] = {}
        self.sums = dict(sums)
        """Of the epoch that has begun; belongs into a checkpoint."""
        self._clock = clock
        if out is not None:
            self._open(out, start, tensorboard)
        self._start = self._marked = start
        self._begun = self._marked_at = self._epoch_at = clock()
        self._waited = self._epoch_waited = self._waited_all = 0.0
        self._epoch_step = start
        self._step = start

    def _open(self, out: Path, start: int, tensorboard: bool) -> None:
        """Keeps the lines up to the step of the resume: what came after it is done again."""
        from pretrain.checkpoint import write_atomic

        # an epoch that has sums is not over, though all its steps may be done
        last = {"step": start, "epoch": start - self.sums["steps"]}
        kept = [line for line in read_metrics(out) if line["step"] <= last[line["kind"]]]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        path = out / METRICS_NAME
        write_atomic(path, lambda name: name.write_text(text, encoding="utf-8"))
        self._epoch = next((line for line in reversed(kept) if line["kind"] == "epoch"), {})
        self._file = path.open("a", encoding="utf-8")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Passes batches on and measures the time that the consumer waits for them."""
        source = iter(batches)
        while True:
            asked = self._clock()
            batch = next(source, None)
            waited = self._clock() - asked
            self._waited += waited
            self._epoch_waited += waited
            self._waited_all += waited
            if batch is None:
                return
            yield batch

    def step(self, step: int, epoch: int, result: StepResult) -> None:
        """Call after each step; `step` counts finished steps. One that was told before is passed over."""
        if step <= self._step:
            return
        self._step = step
        self.sums["steps"] += 1
        self.sums["loss"] += result.loss
        if result.accuracy is not None:
            self.sums["labelled"] += 1
            self.sums["accuracy"] += result.accuracy
        if step % self._every == 0:
            line = {
                "kind": "step",
                "step": step,
                "epoch": epoch,
                "loss": result.loss,
                "accuracy": result.accuracy,
                "learning_rate": result.learning_rate,
            }
            self._write(line)
            self._plot(step, {"loss": result.loss, "learning_rate": result.learning_rate})
        now = self._clock()
        if self._progress and (now - self._marked_at >= SAY_EVERY_S or step == self._total):
            took = now - self._marked_at
            rate = (step - self._marked) * self._batch_size / took
            left = (self._total - step) * self._batch_size / rate
            note = (
                f"epoch {epoch}, loss {result.loss:.3f}, lr {result.learning_rate:.2e}, {rate:.0f} images/s, "
                f"{100 * self._waited / took:.0f} % waiting for data, {left:.0f} s left"
            )
            self._progress(step, self._total, note)
            self._marked, self._marked_at, self._waited = step, now, 0.0

    def epoch(self, step: int, epoch: int, validate: Callable[[], float] | None) -> float | None:
        """Call at the end of each epoch; returns what `validate` does, whose time is not counted as training."""
        ended = self._clock()
        val_accuracy = None if validate is None else validate()
        took, steps = ended - self._epoch_at, step - self._epoch_step
        sums = self.sums
        self._epoch = {
            "kind": "epoch",
            "step": step,
            "epoch": epoch,
            "loss": sums["loss"] / sums["steps"],
            "accuracy": sums["accuracy"] / sums["labelled"] if sums["labelled"] else None,
            "val_accuracy": val_accuracy,
            # none in this process: the run was stopped in the validation, and this is its second try
            "images_per_s": round(steps * self._batch_size / took, 1) if steps else None,
            "data_wait_share": round(self._epoch_waited / took, 4) if steps else None,
        }
        self._write(self._epoch)
        shown = ("accuracy", "val_accuracy", "images_per_s", "data_wait_share")
        self._plot(step, {name: self._epoch[name] for name in shown if self._epoch[name] is not None})
        self.flush()
        self.sums = dict(NO_SUMS)
        now = self._clock()
        self._begun += now - ended
        self._marked_at += now - ended
        self._epoch_at, self._epoch_waited, self._epoch_step = now, 0.0, step
        return val_accuracy

    def flush(self) -> None:
        """Call before each checkpoint: a run that is killed and resumed from it has every line up to its step."""
        if self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._board:
            self._board.flush()

    def final(self) -> dict[str, Any]:
        """Last epoch's loss and accuracies, and the speed of this process's part of the run."""
        took = self._clock() - self._begun
        done = (self._step - self._start) * self._batch_size
        return {
            "loss": self._epoch.get("loss"),
            "accuracy": self._epoch.get("accuracy"),
            "val_accuracy": self._epoch.get("val_accuracy"),
            "images_per_s": round(done / took, 1) if done else None,
            "data_wait_share": round(self._waited_all / took, 4) if done else None,
        }

    def close(self) -> None:
        if self._file:
            self._file.close()
        if self._board:
            self._board.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(line) + "\n")

    def _plot(self, step: int, values: dict[str, float]) -> None:
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
