from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from pretrain.checkpoint import (
    checkpoints,
    load_backbone,
    load_checkpoint,
    read_backbone,
    save_backbone,
    save_checkpoint,
    write_atomic,
)
from pretrain.model import build_backbone

HEADER = {"arch": "resnet18", "num_classes": "3", "classes": '["a", "b", "c"]', "size": "64"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, build_backbone("resnet18", num_classes=3, seed=1), HEADER)
    return path


def test_a_saved_backbone_gives_the_features_of_the_model(saved: Path) -> None:
    model = build_backbone("resnet18", num_classes=3, seed=1).eval()
    model.fc = torch.nn.Identity()
    backbone, info = load_backbone(saved)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images), model(images))
    assert (info.arch, info.num_features, info.size, info.classes) == ("resnet18", 512, 64, ("a", "b", "c"))
    assert info.digest == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert not backbone.training


def test_torchvision_loads_the_keys_as_they_are(saved: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(saved)
    head = {key: weights.pop(key) for key in ("fc.weight", "fc.bias")}
    assert head["fc.weight"].shape == (3, 512)
    missing, unexpected = torchvision.models.resnet18().load_state_dict(weights, strict=False)
    assert sorted(missing) == ["fc.bias", "fc.weight"]
    assert unexpected == []


def test_equal_weights_give_equal_bytes(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_backbone(again, build_backbone("resnet18", num_classes=3, seed=1), HEADER)
    assert again.read_bytes() == saved.read_bytes()


def test_another_architecture_is_refused_by_name(saved: Path) -> None:
    with pytest.raises(ValueError, match="is a resnet18, not a resnet50"):
        load_backbone(saved, arch="resnet50")


def test_weights_that_do_not_fit_the_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    save_backbone(path, build_backbone("resnet18", num_classes=3, seed=1), {**HEADER, "arch": "resnet50"})
    with pytest.raises(ValueError, match=r"does not fit a resnet50: layer1\.0\.conv1\.weight is"):
        load_backbone(path)


def test_a_file_whose_headers_length_begins_as_a_pickle_does_is_read(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    first_bytes = set()
    for more in range(0, 256, 8):
        save_backbone(path, torch.nn.Linear(2, 1), {**HEADER, "more": "x" * more})
        first_bytes.add(path.read_bytes()[0])
        assert read_backbone(path)[1]["arch"] == "resnet18"
    assert 0x80 in first_bytes


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is a pickle"):
        load_backbone(path)
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="is a pickle"):
        load_backbone(path)


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "backbone.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_backbone(path)
    path.write_bytes(b"some text that is longer than eight bytes")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_backbone(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="does not name its architecture"):
        load_backbone(path)


def test_a_cut_backbone_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_backbone(saved)


def test_random_weights_are_named_by_architecture_and_seed() -> None:
    first, info = load_backbone("random:resnet18")
    same, same_info = load_backbone("random:resnet18:0")
    other, other_info = load_backbone("random:resnet18:1")
    assert info.digest == same_info.digest != other_info.digest
    assert torch.equal(first.state_dict()["conv1.weight"], same.state_dict()["conv1.weight"])
    assert not torch.equal(first.state_dict()["conv1.weight"], other.state_dict()["conv1.weight"])
    assert info.num_features == 512
    with pytest.raises(ValueError, match="seed 'x' is no number"):
        load_backbone("random:resnet18:x")
    with pytest.raises(ValueError, match="known neither"):
        load_backbone("random:resnet19")


def test_torchvision_weights_come_from_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"resnet18-f37072fd\.pth is not there; download it once from https://"):
        load_backbone("torchvision:resnet18")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"other")
    with pytest.raises(ValueError, match="is damaged"):
        load_backbone("torchvision:resnet18")
    with pytest.raises(ValueError, match="torchvision has no model"):
        load_backbone("torchvision:resnet19")


def test_torchvision_weights_may_be_a_file_that_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = torchvision.models.resnet18().state_dict()
    torch.save(weights, tmp_path / "mine:1.pth")
    model, info = load_backbone(f"torchvision:resnet18:{tmp_path / 'mine:1.pth'}")
    assert info.arch == "resnet18" and info.num_features == 512
    assert torch.equal(model.state_dict()["conv1.weight"], weights["conv1.weight"])
    with pytest.raises(ValueError, match=r"mine:1\.pth holds no weights of torchvision's resnet34"):
        load_backbone(f"torchvision:resnet34:{tmp_path / 'mine:1.pth'}")
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"other")
    with pytest.raises(ValueError, match="is damaged"):
        load_backbone(f"torchvision:resnet18:{tmp_path / 'resnet18-f37072fd.pth'}")
    with pytest.raises(FileNotFoundError, match="absent is not there"):
        load_backbone(f"torchvision:resnet18:{tmp_path / 'absent'}")


def test_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    for step in (9, 10, 11, 100):
        save_checkpoint(tmp_path, step, {"step": step, "weights": torch.ones(2)}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000011.pt", "step-00000100.pt"]
    assert load_checkpoint(checkpoints(tmp_path)[-1])["step"] == 100
    assert checkpoints(tmp_path / "absent") == []


def test_a_checkpoint_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.pt"
    torch.save({"step": Path("x")}, path)
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(name: Path) -> None:
        name.write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_atomic(path, fail)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_an_error_of_a_write_keeps_its_own_words_unless_it_is_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        write_atomic(tmp_path / "copy.txt", lambda name: name.write_bytes((tmp_path / "absent.txt").read_bytes()))
    with pytest.raises(RuntimeError, match="a layer of another kind"):
        write_atomic(tmp_path / "weights.pt", _fail_with(RuntimeError("a layer of another kind")))
    with pytest.raises(PermissionError, match=r"weights\.safetensors"):
        write_atomic(tmp_path / "weights.safetensors", _fail_with(Exception("I/O error: denied (os error 13)")))
    with pytest.raises(OSError, match=r"the disk is full: weights\.pt could not be written"):
        write_atomic(tmp_path / "weights.pt", _fail_with(OSError(errno.EDQUOT, "Disk quota exceeded")))
    assert list(tmp_path.iterdir()) == []


def _fail_with(error: Exception) -> Callable[[Path], None]:
    def fail(name: Path) -> None:
        name.write_text("half")
        raise error

    return fail
