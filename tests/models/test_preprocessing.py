"""Tests of preprocessing that other libraries describe."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models import ResNet50_Weights, ViT_B_16_Weights
from torchvision.transforms import v2

from wsol.errors import InputError
from wsol.models import Preprocessing
from wsol.models.preprocessing import read_preprocessing

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
NORMALIZE, NORMALIZE_V2 = transforms.Normalize(MEAN, STD), v2.Normalize(list(MEAN), list(STD))
FLOAT = v2.ToDtype(torch.float32, scale=True)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (
            transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE]),
            224,
        ),
        (transforms.Compose([transforms.Resize((96, 96)), transforms.ToTensor(), NORMALIZE]), 96),
        (transforms.Compose([transforms.Resize(96), transforms.ToTensor(), NORMALIZE]), None),
        (transforms.Compose([transforms.CenterCrop(96), transforms.Resize([64]), NORMALIZE]), None),
        (v2.Compose([v2.Resize([80]), v2.CenterCrop([64, 64]), v2.ToImage(), FLOAT, NORMALIZE_V2]), 64),
        (v2.Compose([v2.RGB(), v2.Compose([v2.ToImage(), FLOAT]), NORMALIZE_V2]), None),
        (nn.Sequential(transforms.CenterCrop(48), transforms.ConvertImageDtype(torch.float32), NORMALIZE), 48),
        (NORMALIZE, None),
        ({"mean": MEAN, "std": list(STD)}, None),
        ({"mean": MEAN, "std": STD, "input_size": (3, 288, 288), "crop_pct": 0.95, "interpolation": "bicubic"}, 288),
        (Preprocessing(MEAN, STD, 33), 33),
    ],
)
def test_mean_deviation_and_size_are_read(given: object, size: int | None) -> None:
    assert read_preprocessing(given) == Preprocessing(MEAN, STD, size)


@pytest.mark.parametrize(
    ("weights", "size"), [(ResNet50_Weights.IMAGENET1K_V2, 224), (ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1, 384)]
)
def test_presets_of_published_weights(weights: Any, size: int) -> None:
    found = read_preprocessing(weights.transforms())
    assert found == Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size)


def test_what_is_read_gives_the_pixels_of_the_transform() -> None:
    pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(pixels.numpy())
    for steps in ([transforms.ToTensor()], [transforms.ToTensor(), NORMALIZE], [v2.ToImage(), FLOAT, NORMALIZE_V2]):
        transform = transforms.Compose(steps)
        normalized = read_preprocessing(transform).normalize(pixels[None].numpy(), torch.device("cpu"))
        torch.testing.assert_close(normalized[0], torch.as_tensor(transform(image)), rtol=1e-6, atol=1e-6)


def test_a_view_of_one_image_is_a_batch_like_any_other() -> None:
    """With the strides of ``image[None]`` the convolutions of some CPUs round differently."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    views = [Preprocessing().normalize(each, torch.device("cpu")) for each in (pixels[None], pixels[None].copy())]
    assert views[0].stride() == views[1].stride() == (8 * 8 * 3, 1, 8 * 3, 3)


def test_configurations_and_transforms_of_timm() -> None:
    timm: Any = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224")
    config = timm.data.resolve_model_data_config(network)
    assert read_preprocessing(config) == Preprocessing((0.5,) * 3, (0.5,) * 3, 224)
    assert read_preprocessing(timm.data.create_transform(**config)) == Preprocessing((0.5,) * 3, (0.5,) * 3, 224)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            transforms.Compose([transforms.RandomResizedCrop(224), NORMALIZE]),
            "from RandomResizedCrop, which is neither",
        ),
        (transforms.Compose([transforms.Lambda(lambda image: image), NORMALIZE]), "cannot be read from Lambda"),
        (transforms.Compose([NORMALIZE, NORMALIZE]), "the transform normalizes twice"),
        (ResNet50_Weights.IMAGENET1K_V2.transforms, "cannot be read from partial"),
        (partial(print), "cannot be read from partial"),
        ("imagenet", "cannot be read from str, .* give a wsol.models.Preprocessing"),
        (224, "cannot be read from int"),
        (v2.Compose([v2.ToDtype(torch.float32), NORMALIZE_V2]), "ToDtype does not scale pixels to"),
        (transforms.Normalize((124, 117, 104), (58, 57, 57)), "cannot be used: .* divide them by 255"),
        (transforms.Normalize((0.5,), (0.5,)), "needs three means and three standard deviations"),
        (
            transforms.Compose([transforms.Resize((96, 64)), NORMALIZE]),
            "makes images of 96 x 64, but networks are shown",
        ),
        ({"mean": MEAN}, "has no std; give mean, std and perhaps input_size"),
        ({}, "has no mean"),
        ({"mean": MEAN, "std": STD, "input_size": 224}, r"has the input_size 224; give \(3, side, side\)"),
        ({"mean": MEAN, "std": STD, "input_size": (1, 28, 28)}, "has the input_size"),
        ({"mean": MEAN, "std": "0.5"}, "the preprocessing cannot be used"),
        ({"mean": MEAN, "std": (0.5, 0, 0.5)}, "standard deviations above 0"),
        ({"mean": MEAN, "std": STD, "input_size": (3, 0, 0)}, "the size 0, which must be from 1 to 4096"),
    ],
)
def test_what_cannot_be_read_is_refused(given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_preprocessing(given)
