"""Bad input about clusters, batch jobs, stores, data sets and trainings: one clear line that names the thing."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.__main__ import main
from pretrain.recipes import RECIPES
from pretrain.train import pretrain
from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.scene import SceneSpec
from sim.shards import RenderConfig

RUN = "run small --tasks {here}/tasks --out {here}/out"
NOT_UNDERSTOOD = {
    f"{RUN} --cluster slrum": "cluster 'slrum'; allowed: local, slurm, pbs",
    f"{RUN} --cluster slurm --cores 4": "cores and workers are for the cluster local, not for slurm",
    f"{RUN} --batch.jobs 4": "batch options are for the clusters slurm, pbs",
    f"{RUN} --cluster tcp://h:1 --tls.ca ca.pem": "tls options are for a cluster tls://HOST:PORT, not for tcp://h:1",
    f"{RUN} --cluster slurm --batch.walltime 90": "walltime is '90'; allowed: [days-]hours:minutes:seconds",
    f"{RUN} --cluster slurm --batch.walltime 00:01:00": "walltime is '00:01:00'; allowed: 10 minutes and longer",
    f"{RUN} --cluster slurm --batch.memory plenty": "memory is 'plenty'; allowed: a number with KB, MB, GB or TB",
    f"{RUN} --cluster slurm --batch.gpus=-1": "gpus is -1; allowed: 0 and up",
    f"{RUN} --budget 1": "budget",
    "render --out {here}/set --num-images 4 --passes dpth": "dpth",
    "render --out {here}/set --num-images 4 --quality 500": "quality",
    "render --out {here}/set --num-images 4 --shards 2-8": "--shards is '2-8'; allowed: FIRST:LAST, for example 0:8",
    "render --out {here}/set --num-images 4 --workers 0": "workers is 0; allowed: 1 and up",
    "submit --system slrum --command true --script {here}/job.sh": "slurm",
}
REFUSED = {
    "status {here}/nowhere": "{here}/nowhere",
    "report {here}/nowhere": "{here}/nowhere",
    "store ls {here}/nowhere": "{here}/nowhere is no artifact store",
    "store du {here}/nowhere": "{here}/nowhere is no artifact store",
    "store gc {here}/nowhere": "{here}/nowhere is no artifact store",
    "store verify {here}/file": "{here}/file is no artifact store",
    "submit --command= --script {here}/job.sh": "nothing to submit: the command is empty",
    "submit --command true --script {here}/job.sh --batch.jobs 2": "batch.jobs is 2; submit makes one job",
    "submit --command true --script {here}/.hidden": "job name '.hidden'; allowed: letters, digits, dot, dash",
    f"{RUN}": "{here}/tasks",
}
TRAIN = "pretrain --recipe small --size 16 --epochs 3 --batch-size 6 --threads 1"
SAME = f"{TRAIN} --out {{here}}/trained"
HELD = "{here}/trained holds a run with another"
DAMAGED_OR_ANOTHERS = {
    "render --out {here}/foreign --num-images 4": "{here}/foreign holds shard-000000.tar, which was not made here",
    "render --out {here}/notes --num-images 4": "{here}/notes holds README.md, which was not made here",
    "render --out {here}/json --num-images 4": "{here}/json/shard-000000.json is no record of a rendered shard",
    "render --out {here}/set --num-images 12": "another configuration: catalog.num_classes is 3 there and 24 here",
    "inspect {here}/truncated": "{here}/truncated: shard-000001.tar has 2560 bytes instead of ",
    "inspect {here}/altered": "{here}/altered: shard-000001.tar was altered (its sha256 differs)",
    f"{TRAIN} --data {{here}}/truncated --out {{here}}/new": "shard-000001.tar: sha256 is ",
    f"{TRAIN} --data {{here}}/altered --out {{here}}/new": "shard-000001.tar: sha256 is ",
    f"{SAME} --data {{here}}/set --arch resnet18": f'{HELD} arch: "test_resnet", now "resnet18"; use another directory',
    f"{SAME} --data {{here}}/set --arch test_resnet --seed 3": f"{HELD} seed: 0, now 3; use another directory",
    f"{SAME} --data {{here}}/more --arch test_resnet": f"{HELD} data_digest: ",
    f"{TRAIN} --data {{here}}/set --out {{here}}/demo": "{here}/demo/summary.json is not of a pre-training",
    f"{TRAIN} --data {{here}}/set --out {{here}}/hub": "{here}/hub/config.json is not of a pre-training",
}

NO_GPU = {
    "demo --out {here}/out --device cuda": "PyTorch finds no GPU here; allowed: cpu",
    "run small --tasks {here} --out {here}/out --device cuda": "PyTorch finds no GPU here; allowed: cpu",
    "evaluate --backbone random:resnet18 --task digits --device cuda": "PyTorch finds no GPU here; allowed: cpu",
    "embed --task a --probe random:resnet18 --out {here}/v --device cuda": "PyTorch finds no GPU here; allowed: cpu",
    f"{TRAIN} --data {{here}}/set --out {{here}}/new --device cuda": "torch sees no GPU here; allowed: cpu",
}


def say(line: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and stderr of `simpath LINE`, in this process."""
    (here / "file").touch()
    there = files(here)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["simpath", *line.format(here=here).split()])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    output = capsys.readouterr()
    assert output.out == ""
    assert files(here) == there, "something was left, changed or removed"
    return int(str(ended.value.code)), output.err


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: the bytes of files, None for folders."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


class Flat:
    """Flat colours instead of Blender."""

    version = "flat 1"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec in specs:
            yield spec, np.full((16, 16, 3), spec.index * 20, np.uint8)


def flat(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    return nullcontext(Flat())


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, one of them also truncated and with a changed byte, a finished training, and others' folders."""
    here = tmp_path_factory.mktemp("damaged")
    config = RenderConfig(catalog=CatalogConfig(num_classes=3, models_per_class=2), size=16, images_per_shard=6)
    for name, num_images in {"set": 12, "more": 13}.items():
        render_dataset(config, out=here / name, num_images=num_images, workers=1, factory=flat)
    content = (here / "set" / "shard-000001.tar").read_bytes()
    middle = len(content) // 2
    bad = {"truncated": content[:2560], "altered": content[:middle] + b"!" + content[middle + 1 :]}
    for name, changed in bad.items():
        shutil.copytree(here / "set", here / name)
        (here / name / "shard-000001.tar").write_bytes(changed)
    recipe = dataclasses.replace(RECIPES["small"], arch="test_resnet", size=16, epochs=3, batch_size=6)
    pretrain(recipe, here / "set", out=here / "trained", threads=1, tensorboard=False, keep_checkpoints=0)
    others = {"foreign/shard-000000.tar": "", "notes/README.md": "# Mine", "json/shard-000000.json": "{}"}
    others |= {"demo/summary.json": '{"backbone": "a"}', "hub/config.json": '{"model_type": "resnet"}'}
    for name, text in others.items():
        (here / name).parent.mkdir()
        (here / name).write_text(text)
    return here


@pytest.mark.parametrize(("line", "message"), NOT_UNDERSTOOD.items(), ids=range(len(NOT_UNDERSTOOD)))
def test_what_cannot_be_meant_is_a_usage_error(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, errors = say(line, tmp_path, monkeypatch, capsys)
    assert status == 2
    assert message in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors


@pytest.mark.parametrize(("line", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_is_not_there_or_does_not_fit_is_one_line(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, errors = say(line, tmp_path, monkeypatch, capsys)
    assert status == 1
    assert message.format(here=tmp_path) in errors
    assert errors.startswith("simpath: ") and len(errors.splitlines()) == 1


@pytest.mark.parametrize(("line", "message"), DAMAGED_OR_ANOTHERS.items(), ids=range(len(DAMAGED_OR_ANOTHERS)))
def test_what_is_damaged_or_anothers_is_one_line_after_the_progress_and_stays_as_it_is(
    line: str, message: str, damaged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, errors = say(line, damaged, monkeypatch, capsys)
    *progress, last = errors.splitlines()
    assert status == 1
    assert last.startswith("simpath: ") and message.format(here=damaged) in last
    assert all(said.startswith(("verify: ", "pre-train: ")) for said in progress)


@pytest.mark.parametrize(("line", "message"), NO_GPU.items(), ids=range(len(NO_GPU)))
def test_a_gpu_that_is_not_there_is_one_line_and_leaves_nothing(
    line: str, message: str, damaged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    status, errors = say(line, damaged, monkeypatch, capsys)
    assert status == 1
    assert errors == f"simpath: device cuda was asked for, but {message}\n"
