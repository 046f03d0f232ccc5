"""Folders for credentials: one for each run, whatever other runs use the same directory."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from pipelines.credentials import private_folder, write_private

HOLDS = """
import sys
from pathlib import Path
from pipelines.credentials import private_folder
with private_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def hold(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a folder of its own in `parent`."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert other.stdout is not None
    return other, Path(other.stdout.readline().strip())


def test_nobody_else_can_read_what_is_kept_there(tmp_path: Path) -> None:
    with private_folder(tmp_path) as folder:
        write_private(folder, {"key.pem": "secret"})
        assert (folder / "key.pem").read_text() == "secret"
        assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_removes_what_a_dead_one_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    killed, left = hold(tmp_path)
    killed.kill()
    killed.communicate()
    elsewhere = tmp_path / f".tls-another-machine-{killed.pid}-x"
    elsewhere.mkdir()
    assert left.is_dir()
    living, kept = hold(tmp_path)
    assert not left.exists()
    with private_folder(tmp_path) as first, private_folder(tmp_path) as second:
        assert first != second
        assert set(tmp_path.iterdir()) == {first, second, kept, elsewhere}
    assert set(tmp_path.iterdir()) == {kept, elsewhere}
    living.communicate(input="")
    assert living.returncode == 0
    assert set(tmp_path.iterdir()) == {elsewhere}
