"""What the scenes must have for an experiment, looked at before its first step.

In: a configuration and the parts of its data. Out: nothing, or one line that says what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from transfer.dense.config import MultitaskConfig
from transfer.dense.data import DenseData, SceneSet
from transfer.dense.losses import DenseTask

log = logging.getLogger(__name__)


def require_scenes(
    config: MultitaskConfig, scenes: DenseData, parts: tuple[SceneSet, SceneSet], tasks: Sequence[DenseTask]
) -> None:
    """See that the training scenes fill a batch, and that every part has labels for every task.

    A part is read up to the first labelled pixel of every task: one scene, where scenes have all labels.

    Args:
        parts: the training scenes for weights and for the policy. One with fewer scenes than a batch is taken whole in
            every step, which is logged.

    Raises:
        ValueError: fewer training scenes than a batch, or a part without a labelled pixel for a task.
    """
    if len(scenes.train) < config.batch_size:
        raise ValueError(
            f"batch_size is {config.batch_size}; allowed: up to {len(scenes.train)}, the number of training scenes"
        )
    sets = {"train": scenes.train, "validation": scenes.val, "test": scenes.test}
    if "adashare" in config.architectures:
        sets |= {"train_weights": parts[0], "train_policy": parts[1]}
        for name in ("train_weights", "train_policy"):
            if len(sets[name]) < config.batch_size:
                log.warning(
                    "%s has %d scenes: AdaShare's search takes batches of so many there, not of %d",
                    name,
                    len(sets[name]),
                    config.batch_size,
                )
    for name, part in sets.items():
        unlabelled = without_label(part, tasks)
        if unlabelled:
            raise ValueError(f"the {name} scenes have no labelled pixel for {', '.join(unlabelled)}")


def without_label(scenes: SceneSet, tasks: Sequence[DenseTask]) -> list[str]:
    """Names of the tasks that no pixel of these scenes has a label for."""
    lacking = {task.name: task for task in tasks}
    for index in range(len(scenes)):
        if not lacking:
            break
        for name, label in scenes.read(index).labels.items():
            if name in lacking and bool(lacking[name].valid(label[None]).any()):
                del lacking[name]
    return list(lacking)
