"""Bad input about clusters, batch jobs and stores: one clear line that names the thing and what is allowed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from pipelines.__main__ import main

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
    "submit --system slrum --command true --script {here}/job.sh": "slurm",
}
REFUSED = {
    "status {here}/nowhere": "{here}/nowhere",
    "report {here}/nowhere": "{here}/nowhere",
    "store ls {here}/nowhere": "{here}/nowhere is no artifact store",
    "store du {here}/nowhere": "{here}/nowhere is no artifact store",
    "store gc {here}/nowhere": "{here}/nowhere is no artifact store",
    "store verify {here}/file": "{here}/file is no artifact store",
    "submit --command= --script {here}/job.sh": "nothing to submit: give the command after --",
    "submit --command true --script {here}/job.sh --batch.jobs 2": "batch.jobs is 2; submit makes one job",
    "submit --command true --script {here}/.hidden": "job name '.hidden'; allowed: letters, digits, dot, dash",
    f"{RUN}": "{here}/tasks",
}


def say(line: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and stderr of `simpath LINE`, in this process."""
    (here / "file").touch()
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
    assert sorted(path.name for path in here.iterdir()) == ["file"], "something was left"
    return int(str(ended.value.code)), output.err


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
