from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.augment import (
    Augmentation,
    Mixer,
    augment,
    crop_box,
    decode,
    mirror_pairs,
    normalize,
    resize,
    seeded_globals,
)

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 48), dtype=np.uint8))


def pixels(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8))


def encoded(kind: str, **options: int) -> bytearray:
    buffer = io.BytesIO()
    smooth = Image.fromarray(PIXELS.permute(1, 2, 0).numpy()).resize((20, 16)).resize((48, 40))
    smooth.save(buffer, kind, **options)
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_both_decoders_see_the_same_picture(kind: str) -> None:
    fast, slow = decode(encoded(kind), "torchvision"), decode(encoded(kind), "pillow")
    assert fast.shape == slow.shape == (3, 40, 48)
    assert (fast.int() - slow.int()).abs().max() <= 3


@pytest.mark.parametrize("decoder", ["torchvision", "pillow"])
@pytest.mark.parametrize("content", [b"", b"not an image", bytes(encoded("JPEG")[:200]), bytes(encoded("PNG")[:300])])
def test_broken_images_are_refused(decoder: str, content: bytes) -> None:
    with pytest.raises(ValueError, match="does not decode"):
        decode(bytearray(content), decoder)  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", ["torchvision", "pillow"])
@pytest.mark.parametrize("kind", ["EPS", "TGA"])
def test_only_plain_formats_are_decoded(decoder: str, kind: str) -> None:
    """Pillow would start Ghostscript for PostScript."""
    with pytest.raises(ValueError, match=r"does not decode.*(cannot identify|Unsupported image file)"):
        decode(bytearray(encoded(kind)), decoder)  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", ["torchvision", "pillow"])
def test_an_animation_is_refused(decoder: str) -> None:
    buffer, colors = io.BytesIO(), ("red", "blue", "green")
    first, *more = (Image.new("RGB", (16, 16), color) for color in colors)
    first.save(buffer, "GIF", save_all=True, append_images=more)
    with pytest.raises(ValueError, match=r"does not decode: (it holds 3 frames|cannot identify)"):
        decode(bytearray(buffer.getvalue()), decoder)  # type: ignore[arg-type]


def test_an_image_of_gigantic_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 48 // 2 - 1)
    with pytest.raises(ValueError, match=r"does not decode: Image size .* decompression bomb"):
        decode(encoded("JPEG"), "pillow")


def test_a_gray_image_gets_three_channels() -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 7).save(buffer, "PNG")
    assert decode(bytearray(buffer.getvalue()), "torchvision").shape == (3, 8, 8)
    assert decode(bytearray(buffer.getvalue()), "pillow").shape == (3, 8, 8)


def test_crops_follow_the_distribution_of_torchvision() -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image, rng = torch.zeros(3, 60, 80), np.random.default_rng(0)
    theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)])
    ours = np.array([crop_box(60, 80, (0.08, 1.0), (3 / 4, 4 / 3), rng) for _ in range(4000)])
    # standard errors of the means are about 0.3 px
    assert np.abs(theirs.mean(0) - ours.mean(0)).max() < 1.5
    assert np.abs(theirs.std(0) - ours.std(0)).max() < 1.5


def test_a_crop_that_never_fits_is_the_largest_centred_one() -> None:
    rng = np.random.default_rng(0)
    assert crop_box(100, 10, (1.0, 1.0), (3 / 4, 4 / 3), rng) == (43, 0, 13, 10)
    assert crop_box(10, 100, (1.0, 1.0), (3 / 4, 4 / 3), rng) == (0, 43, 10, 13)


@pytest.mark.parametrize("policy", ["", "rand-m9-mstd0.5-inc1"])
def test_a_view_depends_on_seed_epoch_and_sample_only(policy: str) -> None:
    how = Augmentation(24, rand_augment=policy, grayscale=0.3)

    def view(seed: int = 0, epoch: int = 0, sample: int = 0) -> torch.Tensor:
        return augment(PIXELS, how, seed=seed, epoch=epoch, sample=sample)

    first = view()
    random.seed(5)
    np.random.default_rng(5)
    torch.manual_seed(5)
    assert view().shape == (3, 24, 24)
    assert view().dtype == torch.uint8
    assert torch.equal(view(), first)
    for other in (view(seed=1), view(epoch=1), view(sample=1)):
        assert not torch.equal(other, first)


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "rand-m10-inc1"])
def test_every_level_of_the_policy_can_be_drawn(policy: str) -> None:
    """At level 10, which 2 % of the recipe's draws reach, timm asks Pillow to keep no bit of a pixel."""
    how = Augmentation(24, rand_augment=policy)
    views = [augment(PIXELS, how, seed=0, epoch=0, sample=sample) for sample in range(600)]
    assert len({bytes(view.numpy().tobytes()) for view in views}) == 600
    assert all(view.any() for view in views)


def test_half_of_the_views_are_flipped() -> None:
    how = Augmentation(40, crop_scale=(1.0, 1.0), crop_ratio=(1.2, 1.2))
    plain = resize(PIXELS, 40, "bicubic")
    flipped = 0
    for sample in range(400):
        view = augment(PIXELS, how, seed=0, epoch=0, sample=sample)
        assert torch.equal(view, plain) or torch.equal(view, plain.flip(-1))
        flipped += not torch.equal(view, plain)
    assert 160 <= flipped <= 240


def test_gray_views_have_equal_channels() -> None:
    view = augment(PIXELS, Augmentation(24, grayscale=1.0), seed=0, epoch=0, sample=0)
    assert torch.equal(view[0], view[1])
    assert torch.equal(view[0], view[2])


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    assert resize(PIXELS[:, :40, :40], 40, "bilinear").data_ptr() == PIXELS.data_ptr()


def test_global_generators_are_put_back() -> None:
    random.seed(3)
    before, numpy_before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with seeded_globals(np.random.default_rng(0)):
        first = (random.random(), float(np.random.rand()))  # noqa: NPY002
    with seeded_globals(np.random.default_rng(0)):
        second = (random.random(), float(np.random.rand()))  # noqa: NPY002
    assert first == second
    assert random.getstate() == before
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def test_normalized_pixels_have_the_units_of_imagenet() -> None:
    batch = normalize(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8))
    wanted = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(batch[0, :, 0, 0], wanted)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_mirrored_pairs_are_neighbours() -> None:
    order = mirror_pairs(torch.arange(6)).tolist()
    assert order == [0, 2, 4, 5, 3, 1]
    assert {frozenset((order[i], order[5 - i])) for i in range(3)} == {
        frozenset(pair) for pair in ((0, 1), (2, 3), (4, 5))
    }


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_shares_of_a_batch_are_mixed_as_the_whole(mixup: float, cutmix: float) -> None:
    mixer = Mixer(mixup=mixup, cutmix=cutmix, label_smoothing=0.1, num_classes=5, seed=0)
    images, labels = pixels(12), torch.arange(12) % 5
    for step in range(6):
        whole, targets = mixer(images, labels, step)
        order = mirror_pairs(torch.arange(12))
        for part in (slice(0, 4), slice(4, 12)):
            some, some_targets = mixer(images[part], labels[part], step)
            positions = mirror_pairs(torch.arange(12)[part])
            rows = [order.tolist().index(position) for position in positions.tolist()]
            torch.testing.assert_close(some, whole[rows])
            torch.testing.assert_close(some_targets, targets[rows])
        assert whole.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(targets.sum(1), torch.ones(12))


def test_mixing_differs_from_step_to_step() -> None:
    mixer = Mixer(mixup=0.8, cutmix=1.0, label_smoothing=0.0, num_classes=2, seed=0)
    labels = torch.tensor([0, 1])
    shares = {round(float(mixer(pixels(2), labels, step)[1][0, 0]), 6) for step in range(20)}
    assert len(shares) >= 15
