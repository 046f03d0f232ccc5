"""Training that is told to end: the step is finished, its state saved, and the run taken up to the same bits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import torch

from pretrain.checkpoint import load_checkpoint
from transfer.dense.config import MultitaskConfig, NetworkConfig, SharingConfig
from transfer.dense.data import Sampler, Scene, ViewConfig, scene_set
from transfer.dense.gradients import build_balancer
from transfer.dense.losses import DenseTask
from transfer.dense.sharing import build_network
from transfer.dense.training import WeightSteps, fit, held_signals

CONFIG = MultitaskConfig(
    tasks=("depth",),
    loss_weights=(1.0,),
    network=NetworkConfig(arch="resnet18", width=4, head_width=4, head_rates=(1,), dropout=0.3, init_std=None),
)
TASKS = (DenseTask("depth", 1),)


class Ended(BaseException):
    """What the command line's handler raises, here with the signal's number."""


class Source:
    """Random scenes; the process gets a signal while scene `read_at`, counted from 1, is read."""

    def __init__(self, signum: int | None = None, *, read_at: int = 0) -> None:
        self.signum, self.read_at, self.reads = signum, read_at, 0

    def read(self, row: int) -> Scene:
        self.reads += 1
        if self.signum is not None and self.reads == self.read_at:
            signal.raise_signal(self.signum)
        image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(row))
        return Scene(image, {"depth": image[:1] + 0.5})


def _steps() -> WeightSteps:
    network = build_network("hard", TASKS, CONFIG.network, SharingConfig(), seed=0)
    return WeightSteps(network, build_balancer("fixed", TASKS, CONFIG.balance, architecture="hard"), TASKS, CONFIG)


def _fit(steps: WeightSteps, source: Source, checkpoint: Path | None = None) -> None:
    sampler = Sampler(scene_set(source, list("abcdef")), ("depth",), ViewConfig(16, (1, 1), True, "metres"), 2, (0,))
    fit(steps, sampler, iterations=4, seed=(0,), checkpoint=checkpoint)


@pytest.fixture
def ending() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("ending")
def test_a_signal_in_the_middle_of_a_step_saves_the_finished_step(signum: int, tmp_path: Path) -> None:
    whole, checkpoint = _steps(), tmp_path / "checkpoint.pt"
    _fit(whole, Source())
    with pytest.raises(Ended) as ended:
        _fit(_steps(), Source(signum, read_at=3), checkpoint)  # two scenes a batch
    assert ended.value.args == (signum,)
    assert load_checkpoint(checkpoint)["iteration"] == 2
    resumed, rest = _steps(), Source()
    _fit(resumed, rest, checkpoint)
    assert rest.reads == 2 * 2
    expected = whole.network.state_dict()
    assert len(expected) > 20
    assert all(torch.equal(value, expected[name]) for name, value in resumed.network.state_dict().items())


@pytest.mark.usefixtures("ending")
def test_a_signal_that_ends_nothing_does_not_end_training() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    source = Source(signal.SIGTERM, read_at=3)
    _fit(_steps(), source)
    assert heard == [signal.SIGTERM] and source.reads == 4 * 2


@pytest.mark.usefixtures("ending")
def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_signals() as waits:
        signal.raise_signal(signal.SIGINT)
        assert not waits()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_other_threads_train_without_handlers() -> None:
    results: list[bool] = []

    def train() -> None:
        with held_signals() as waits:
            results.append(waits())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert results == [False]
