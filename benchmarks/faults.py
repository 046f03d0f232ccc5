"""Random `kill -9` over all processes of a small real run, again and again; the artifacts must come out the same.

    python benchmarks/faults.py [--kills 100] [--seed 0] [--mean-s 6]

A run renders four shards with Blender, links two data sets and pre-trains a backbone on each. First it runs
undisturbed, then processes are killed at random moments: the client (which holds Dask's scheduler and nannies), the
worker, a stage's child, Blender. A client that ended before its work was done is started again, as a person would;
a run that completes is compared with the undisturbed one and begins anew in an empty store, until the kills are
used up. Every file must have the same bytes, but for records of times (metrics, summaries), and no process may be
left. Thirteen minutes on two idle cores. A killed training takes some five seconds to start again there: with kills
every three seconds it hardly comes to its next checkpoint.
"""

from __future__ import annotations

import os
import sys

if not sys.flags.safe_path:  # this folder's pretrain.py would hide the package of that name
    os.execv(sys.executable, [sys.executable, "-P", *sys.argv])  # nosec B606 # this script once more

import argparse
import collections
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from pipelines.artifact import Store
from pipelines.care import verify
from pipelines.cluster import open_cluster
from pipelines.flow import Flow
from pipelines.rendering import DatasetConfig
from pretrain.train import PretrainConfig
from sim.assets import CatalogConfig
from sim.params import SimParams
from sim.shards import RenderConfig

ROLES = ("client", "worker", "child", "blender")
# Files that record when and how fast something was done.
TIMED = {"metrics.jsonl", "summary.json"}
RUN_LIMIT_S = 1800


def run(store: Path) -> None:
    """The small run; the client process of this benchmark."""
    with open_cluster("local") as cluster, Flow(Store(store), cluster, run="faults") as flow:
        handles = []
        for params in (SimParams(), SimParams(object_rotation="random", materials="random")):
            render = RenderConfig(
                params=params,
                catalog=CatalogConfig(num_classes=4),
                size=32,
                samples=2,
                denoiser="none",
                images_per_shard=8,
            )
            config = DatasetConfig(render, num_images=16)
            shards = [flow.submit("render_shard", shard) for shard in config.shards()]
            data = flow.submit("dataset", config, {"shards": shards})
            training = PretrainConfig(
                arch="resnet18", size=32, epochs=4, warmup_epochs=1, batch_size=8, micro_batch=8, precision="fp32"
            )
            knobs = {"checkpoint_every_s": 1.0}
            handles.append(flow.submit("pretrain", training, {"data": data}, knobs=knobs))
        flow.wait(handles)


def contents(store: Path) -> dict[str, dict[str, str]]:
    """sha256 of every file of every artifact that promises its bytes, by digest and name."""
    return {
        artifact.digest: {
            name: entry["sha256"] for name, entry in artifact.metadata["files"].items() if Path(name).name not in TIMED
        }
        for artifact in Store(store).artifacts()
    }


class Client:
    """The run in a process of its own, and its family."""

    def __init__(self, store: Path, log: Path) -> None:
        self.family: set[psutil.Process] = set()
        with log.open("ab") as output:
            command = [sys.executable, "-P", __file__, "--client", str(store)]
            self.process = subprocess.Popen(  # nosec B603 # this file, arguments as a list
                command, stdout=output, stderr=output, start_new_session=True
            )

    def by_role(self) -> dict[str, list[psutil.Process]]:
        """Living processes that may be killed."""
        roles: dict[str, list[psutil.Process]] = collections.defaultdict(list)
        try:
            client = psutil.Process(self.process.pid)
            roles["client"].append(client)
            family = client.children(recursive=True)
        except psutil.NoSuchProcess:
            return roles
        self.family |= set(family)
        for process in family:
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "pipelines.child" in command:
                roles["child"].append(process)
            elif "sim.blender.worker" in command:
                roles["blender"].append(process)
            elif "spawn_main" in command:
                roles["worker"].append(process)
        return roles

    def orphans(self) -> list[psutil.Process]:
        """Members of the family that outlive the client by more than 20 seconds."""
        return list(psutil.wait_procs(list(self.family), timeout=20)[1])


def undisturbed(folder: Path) -> dict[str, dict[str, str]]:
    started = time.monotonic()
    client = Client(folder / "reference", folder / "client.log")
    if client.process.wait(RUN_LIMIT_S) != 0:
        raise RuntimeError(f"the undisturbed run failed:\n{(folder / 'client.log').read_text()[-2000:]}")
    found = contents(folder / "reference")
    print(f"undisturbed: {len(found)} artifacts in {time.monotonic() - started:.0f} s", flush=True)
    return found


def disturbed(folder: Path, reference: dict[str, dict[str, str]], kills: int, mean_s: float, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    done: collections.Counter[str] = collections.Counter()
    rounds = starts = wrong = orphans = 0
    store = folder / "round"
    client = Client(store, folder / "client.log")
    next_kill = time.monotonic() + rng.exponential(mean_s)
    while True:
        status = client.process.poll()
        if status is not None:
            orphans += len(client.orphans())
            if status == 0:
                rounds += 1
                problems = compare(store, reference)
                wrong += len(problems)
                print(f"round {rounds}: {sum(done.values())} kills so far, {len(problems)} differences", flush=True)
                print(*problems, sep="\n", end="\n" * bool(problems))
                if sum(done.values()) >= kills:
                    break
                shutil.rmtree(store)
            starts += 1
            client = Client(store, folder / "client.log")
        roles = client.by_role()
        # only while there is work to disturb: else it would mostly be the client that dies, while it starts
        if time.monotonic() >= next_kill and sum(done.values()) < kills and roles["child"]:
            role = str(rng.choice([role for role in ROLES if roles[role]]))
            victim = roles[role][int(rng.integers(len(roles[role])))]
            try:
                victim.kill()
                done[role] += 1
            except psutil.NoSuchProcess:
                pass  # it was faster
            next_kill = time.monotonic() + rng.exponential(mean_s)
        time.sleep(0.1)
    print(f"kills: {', '.join(f'{role} {done[role]}' for role in ROLES)}; clients started again: {starts}")
    print(f"completed runs: {rounds}; differing files: {wrong}; orphan processes: {orphans}")
    return wrong == 0 and orphans == 0


def compare(store: Path, reference: dict[str, dict[str, str]]) -> list[str]:
    """One line for everything that differs from the undisturbed run, is damaged, or was left half done."""
    found = contents(store)
    lines = [f"damaged: {line}" for line in verify(Store(store))]
    lines += [f"missing or extra artifact {digest[:12]}" for digest in sorted(set(found) ^ set(reference))]
    for digest in sorted(set(found) & set(reference)):
        names = sorted(set(found[digest]) | set(reference[digest]))
        stage = Store(store).load(digest).stage
        lines += [
            f"{stage} {digest[:12]}/{name} differs"
            for name in names
            if found[digest].get(name) != reference[digest].get(name)
        ]
    lines += [f"left behind: {path.name}" for path in (store / "partial").iterdir()]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--mean-s", type=float, default=6.0, help="mean time between two kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client is not None:
        run(arguments.client)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="simpath-faults-"))
    reference = undisturbed(folder)
    kept = disturbed(folder, reference, arguments.kills, arguments.mean_s, arguments.seed)
    if not kept:
        print(f"stores and logs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
