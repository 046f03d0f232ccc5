"""Where pathway methods start: weights of small-image networks on disk, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretrain.checkpoint import read_backbone, save_backbone
from pretrain.model import build_backbone
from transfer.pathways.config import SpotTuneConfig, StandardConfig
from transfer.pathways.resnet import GatedResNet, batch_norms, build_gated_resnet
from transfer.pathways.start import load_gated, save_gated, starting_point

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def trained(arch: str) -> GatedResNet:
    """A network no seed draws: every weight moved, norms with statistics."""
    network = build_gated_resnet(arch, num_classes=7, seed=3)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(0.01)
    return network


@pytest.mark.parametrize("arch", ["decathlon_resnet26", "cifar_resnet8"])
def test_a_saved_network_is_a_backbone_with_its_weights_and_colours(arch: str, tmp_path: Path) -> None:
    network, path = trained(arch), tmp_path / "backbone.safetensors"
    save_gated(path, network, arch, mean=MEAN, std=STD)
    start = starting_point(SpotTuneConfig(), path, num_classes=4)
    assert (start.arch, start.mean, start.std) == (arch, MEAN, STD)
    assert start.source.startswith(f"{arch} sha256:")
    found = start.network(0)
    states = found.state_dict()
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    assert len(own) > 40 and all(torch.equal(states[name], value) for name, value in own.items())
    assert found.head.out_features == 4 and not torch.equal(found.head.weight, start.network(1).head.weight)
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_a_gated_network_in_memory_is_a_backbone_and_stays_as_it_was() -> None:
    network = trained("decathlon_resnet8").requires_grad_(False)
    found = starting_point(StandardConfig(), network, num_classes=4).network(0)
    assert torch.equal(found.blocks[1].residual[0].weight, network.blocks[1].residual[0].weight)  # type: ignore[union-attr,index]
    assert all(parameter.requires_grad for parameter in found.parameters())
    storages = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    assert not storages & {parameter.untyped_storage().data_ptr() for parameter in found.parameters()}


@pytest.mark.parametrize("arch", ["decathlon_resnet8", "resnet18"])
def test_a_network_in_memory_is_named_by_its_weights(arch: str) -> None:
    def network() -> torch.nn.Module:
        return build_backbone(arch, num_classes=2, seed=0) if arch == "resnet18" else trained(arch)

    first, same, other = network(), network(), network()
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1
    moved = network()
    batch_norms(moved)[0].running_mean[0] += 1  # type: ignore[index]
    sources = [starting_point(StandardConfig(), net, num_classes=4).source for net in (first, same, other, moved)]
    assert sources[0] == sources[1] and len(set(sources)) == 3
    assert sources[0].startswith(f"{type(first).__name__} sha256:")


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    path, network = tmp_path / "backbone.safetensors", trained("decathlon_resnet8")
    save_gated(path, network, "decathlon_resnet26", mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"does not fit a decathlon_resnet26: blocks\..* expected") as found:
        load_gated(path)
    assert "\n" not in str(found.value)
    save_backbone(path, network, {"arch": "decathlon_resnet8", "num_classes": "7", "mean": "[0.1, 0.2]", "std": "[]"})
    with pytest.raises(ValueError, match="its header is broken: ValueError"):
        load_gated(path)
    save_backbone(path, network, {"arch": "decathlon_resnet8", "num_classes": "7"})
    with pytest.raises(ValueError, match="its header is broken: KeyError 'mean'"):
        load_gated(path)
    save_file(load_file(path), path)
    with pytest.raises(ValueError, match="does not name its architecture in the header"):
        starting_point(StandardConfig(), path, num_classes=4)
    with pytest.raises(FileNotFoundError, match="no such file"):
        starting_point(StandardConfig(), tmp_path / "absent", num_classes=4)


def test_a_file_of_another_family_is_left_to_the_reader_of_backbones(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, build_backbone("resnet18", num_classes=2, seed=0), {"arch": "resnet18", "num_classes": "2"})
    assert load_gated(path) is None and read_backbone(path)[1]["arch"] == "resnet18"
    start = starting_point(StandardConfig(), path, num_classes=4)
    assert start.arch == "resnet18" and start.network(0).num_blocks == 8
