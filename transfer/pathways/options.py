"""Options of the command line for the pathway methods, and how they become a method's configuration.

The validation part chooses among learning rates, L2 penalties, weights of L2-SP's pull and BlockDrop's penalties;
everything else is fixed by the method or by whoever gives the option, SpotTune's policy learning rate and Global-k's
two weights among them.

No torch here: the command line shows these without waiting for it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transfer.pathways.config import (
    METHODS,
    BlockDropOptions,
    LesionOptions,
    PathwayConfig,
    SpotTuneConfig,
    SpotTuneOptions,
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Settings of every method that trains; what is not given keeps the value of the method."""

    preset: Literal["method", "decathlon"] = "method"
    """decathlon: SpotTune's published settings of the domain in --task decathlon:DOMAIN (72 px, 110 epochs, batches of
    128, learning rate 0.1), whatever the method; other options still change them."""
    batch_size: int | None = None
    """Images per step; default 32, lesion 64."""
    learning_rates: tuple[float, ...] | None = None
    """Candidates, chosen among on the validation part; default 0.01 0.003, lesion 0.1 0.03."""
    weight_decay: float | None = None
    """Default 5e-4."""
    milestones: tuple[float, ...] | None = None
    """Shares of the epochs after which the learning rate falls to a tenth; default 0.5 0.75."""
    augment: Literal["none", "crop", "crop_flip"] | None = None
    """Training view; default crop."""
    precision: Literal["fp32", "bf16"] | None = None
    """Of the forward pass; default fp32."""
    freeze_bn: bool = False
    """Keep every batch norm of the pre-trained network as it came."""
    freeze_stem: bool = False
    """Keep the layers before the first block as they came."""
    validation: float | None = None
    """Share of the training images held out for choosing, where the task brings no such part; default 0.3."""
    train_splits: Literal["train+val", "train"] | None = None
    """What the final networks train on: all training images, or without the validation part; default train+val."""
    l2_penalties: tuple[float, ...] | None = None
    """Of feature_extractor: candidates of lambda, chosen among on the validation part; default 1e4, 1e3 ... 1e-2."""
    l2_sp_weights: tuple[float, ...] | None = None
    """Of l2sp: candidates of the pull's weight, chosen among on the validation part; default 0.1 0.01 0.001."""
    tuned_share: float | None = None
    """Of stochastic: share of the blocks that are fine-tuned; fixed, default 0.5."""


_OF_SGD = frozenset(
    ("batch_size", "learning_rates", "weight_decay", "milestones", "augment", "freeze_bn", "freeze_stem")
)
_OF_GLOBAL_K = frozenset(("global_k_weight", "global_k_entropy"))
WITHOUT_EFFECT: dict[str, frozenset[str]] = {
    "feature_extractor": _OF_SGD,  # solved to convergence on fixed features
    "random_policy": frozenset(field.name for field in dataclasses.fields(SpotTuneOptions)) - {"lr_bug_compat"},
    "spottune_global": frozenset(("sample_at_eval",)),  # all images share one set of blocks
    "lesion": frozenset(("freeze_bn", "freeze_stem")),  # nothing was pre-trained
}
"""Options whose fields a method's configuration inherits and never reads: refused."""

NO_TRAINING, NO_SPOTTUNE = TrainingOptions(), SpotTuneOptions()
NO_BLOCKDROP, NO_LESION = BlockDropOptions(), LesionOptions()


@dataclass(frozen=True)
class Options:
    """The four groups as they were given."""

    training: TrainingOptions = NO_TRAINING
    spottune: SpotTuneOptions = NO_SPOTTUNE
    blockdrop: BlockDropOptions = NO_BLOCKDROP
    lesion: LesionOptions = NO_LESION

    def values(self, method: str) -> dict[str, Any]:
        """What was given, by field of the method's configuration.

        Raises:
            ValueError: an option that the method does not have.
        """
        found: dict[str, Any] = {}
        for group in dataclasses.fields(self):
            options = getattr(self, group.name)
            kind = PathwayConfig if group.name == "training" else type(options)
            for option in dataclasses.fields(options):
                value = getattr(options, option.name)
                if value == option.default:
                    continue
                having = [name for name, config in METHODS.items() if _has(name, config, kind, option.name)]
                if method not in having:
                    flag = f"--{group.name}.{option.name.replace('_', '-')}"
                    raise ValueError(f"{flag} is no option of {method}; it belongs to {', '.join(having)}")
                found[option.name] = value
        alone = sorted(_OF_GLOBAL_K & set(found)) if method == "spottune" and "global_k" not in found else []
        if alone:
            raise ValueError(f"--spottune.{alone[0].replace('_', '-')} needs --spottune.global-k")
        return found


def _has(method: str, config: type[PathwayConfig], kind: type, option: str) -> bool:
    """Whether this option of the group that configures `kind` changes anything about the method."""
    fields = {field.name for field in dataclasses.fields(config)} | {"preset"}
    return issubclass(config, kind) and option in fields and option not in WITHOUT_EFFECT.get(method, ())


def configure(method: str, options: Options, *, task: str, root: Path | None, **given: Any) -> PathwayConfig:
    """The configuration of a pathway method.

    Args:
        given: further fields of `PathwayConfig`; None leaves one to the preset, or to the method.

    Raises:
        ValueError: an option that the method does not have, a value that is not allowed, a preset without its task.
    """
    values = options.values(method)
    kind = METHODS[method]
    if method == "feature_extractor" and given.get("epochs") is not None:
        raise ValueError("--epochs is no option of feature_extractor, which solves for its head and has none")
    if values.pop("preset", "method") == "decathlon":
        values = {**_decathlon(kind, task, root), **values}
    return kind(**{**values, **{name: value for name, value in given.items() if value is not None}})


def _decathlon(kind: type[PathwayConfig], task: str, root: Path | None) -> dict[str, Any]:
    from transfer.pathways.decathlon import spottune_settings

    name, _, domain = task.partition(":")
    if name != "decathlon" or root is None:
        raise ValueError(f"--training.preset decathlon needs --task decathlon:DOMAIN and --root; the task is {task}")
    published = spottune_settings(domain, root=root)
    shared = SpotTuneConfig if issubclass(kind, SpotTuneConfig) else PathwayConfig
    names = (field.name for field in dataclasses.fields(shared))
    # How many blocks images share is the method's own, not the preset's: published settings are those without sharing.
    return {name: getattr(published, name) for name in names if not name.startswith("global_k")}
