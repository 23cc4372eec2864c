"""Curves of networks whose curves are known, against the authors' definitions, and against torchcam and grad-cam."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from torch import nn

from wsol.perturbation.result import Cost, ImageResult, summarize
from wsol.perturbation.scores import (
    ImageScores,
    area_under,
    blur,
    rank_pixels,
    score_image,
    step_counts,
    summarize_image,
)
from wsol.perturbation.settings import Settings

ALL = ["deletion", "insertion", "drop"]


def none() -> NDArray[np.float32]:
    raise AssertionError


def score(probability: Any, image: torch.Tensor, score_map: NDArray[np.float32], steps: int, at_once: int = 4) -> Any:
    return score_image(probability, image, score_map, ALL, steps, none, at_once)


def test_ranks_are_descending_and_equal_pixels_in_raster_order() -> None:
    np.testing.assert_array_equal(rank_pixels(np.array([[1, 3, 2], [3, 1, 0]], np.float32)), [[3, 0, 2], [1, 4, 5]])


def test_counts_of_the_steps() -> None:
    assert step_counts(224 * 224, 224).tolist() == [224 * i for i in range(225)]
    assert step_counts(10, 4).tolist() == [0, 2, 5, 7, 10]
    assert step_counts(3, 5).tolist() == [0, 0, 1, 1, 2, 3]


def test_the_area_under_a_curve() -> None:
    assert area_under(np.array([1.0, 0.5, 0.0])) == 0.5
    assert area_under(np.array([1.0, 0.0, 0.0])) == 0.25
    curve = np.random.default_rng(0).random(9)
    assert area_under(curve) == pytest.approx((curve.sum() - curve[0] / 2 - curve[-1] / 2) / 8)  # RISE's program


@pytest.mark.parametrize("at_once", [1, 3])
def test_all_images_have_the_strides_of_a_batch(at_once: int) -> None:
    """With others the convolutions of some CPUs round differently."""
    seen = set()

    def probability(images: torch.Tensor) -> torch.Tensor:
        seen.add(images.stride())
        return images.sum((1, 2, 3))

    image = torch.ones(2, 4, 4, 3).permute(0, 3, 1, 2)[0]
    score(probability, image, np.ones((4, 4), np.float32), 4, at_once)
    assert seen == {(4 * 4 * 3, 1, 4 * 3, 3)}


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_network_that_is_linear_in_the_pixels(at_once: int) -> None:
    """Each pixel adds its weight: deleted from the largest to the smallest, the curve is known."""
    weights = torch.arange(16.0, 0, -1).reshape(4, 4) / 136  # in all 1
    image = torch.ones(3, 4, 4)

    def probability(images: torch.Tensor) -> torch.Tensor:
        return (images.mean(1) * weights).sum((1, 2)).double()

    score_map = weights.numpy() * 136 / 16
    found = score(probability, image, score_map, 4, at_once)
    left = np.array([136, 78, 36, 10, 0]) / 136  # without 16 to 13, 12 to 9, 8 to 5, 4 to 1
    np.testing.assert_allclose(found.deletion, left, atol=1e-7)
    blurred = blur(image).mean(0)
    order = [slice(4 * i, 4 * i + 4) for i in range(4)]
    gained = [((1 - blurred) * weights).reshape(-1)[part].sum().item() for part in order]
    start = (blurred * weights).sum().item()
    np.testing.assert_allclose(found.insertion, start + np.cumsum([0, *gained]), atol=1e-6)
    expected = sum(i * i for i in range(1, 17)) / 16 / 136
    assert found.masked == pytest.approx(expected, abs=1e-6)
    metrics = summarize_image(found)
    assert metrics["deletion"] == pytest.approx((0.5 * 136 + 78 + 36 + 10) / 136 / 4)
    assert metrics["average_drop"] == pytest.approx(1 - expected)
    assert metrics["increase"] == 0
    assert "road" not in metrics


def test_a_drop_is_relative() -> None:
    image, score_map = torch.full((3, 2, 2), 0.5), np.array([[1, 0], [0, 0]], np.float32)
    found = score(lambda images: images.mean((1, 2, 3)).double(), image, score_map, 1)
    assert (found.original, found.masked) == (0.5, 0.125)
    assert summarize_image(found)["average_drop"] == 0.75


def test_an_increase_is_no_drop() -> None:
    image, score_map = torch.ones(3, 2, 2), np.array([[1, 0], [0, 0]], np.float32)
    found = score(lambda images: 1 - images.mean((1, 2, 3)).double() / 2, image, score_map, 1)
    metrics = summarize_image(found)
    assert (found.original, found.masked) == (0.5, 0.875)
    assert (metrics["average_drop"], metrics["increase"]) == (0, 1)
    never = score(lambda images: 0 * images.mean((1, 2, 3)).double(), image, score_map, 1)
    assert (summarize_image(never)["average_drop"], summarize_image(never)["increase"]) == (0, 0)


def test_the_blur_of_the_published_program() -> None:
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = gaussian_filter(impulse, 5)
    image = np.random.default_rng(0).random((3, 20, 25)).astype(np.float32)
    expected = np.stack([convolve2d(channel, kernel, "same") for channel in image])  # zero outside
    np.testing.assert_allclose(blur(torch.from_numpy(image)).numpy(), expected, atol=1e-6)


class Extractor:
    """The map of an extractor of torchcam, given."""

    def __init__(self, model: nn.Module, score_map: torch.Tensor) -> None:
        self.model, self.score_map = model, score_map

    def __call__(self, *_: Any, **__: Any) -> list[torch.Tensor]:
        return [self.score_map[None]]

    def fuse_cams(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return maps[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


@pytest.mark.slow
def test_torchcam_and_pytorch_grad_cam_agree() -> None:
    torchcam = pytest.importorskip("torchcam.metrics")
    cam_mult_image = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)).eval()
    rng = np.random.default_rng(0)
    for _ in range(4):
        image = torch.from_numpy(rng.normal(size=(3, 16, 16)).astype(np.float32))
        score_map = rng.permutation(256).reshape(16, 16).astype(np.float32) / 255
        with torch.no_grad():
            chosen = int(network(image[None]).argmax())

        def probability(images: torch.Tensor, chosen: int = chosen) -> torch.Tensor:
            with torch.no_grad():
                return network(images).softmax(1)[:, chosen].double()

        found = summarize_image(score(probability, image, score_map, 32))
        extractor = Extractor(network, torch.from_numpy(score_map))
        confidence = torchcam.ClassificationMetric(extractor, lambda logits: logits.softmax(-1))
        confidence.update(image[None], chosen)
        theirs = confidence.summary()
        assert found["average_drop"] == pytest.approx(theirs["avg_drop"], abs=1e-6)  # it adds 1e-7 to the denominator
        assert found["increase"] == theirs["conf_increase"]
        targets = [lambda output, chosen=chosen: output.softmax(-1)[chosen]]
        increase = cam_mult_image.IncreaseInConfidence()(image[None], score_map[None], targets, network)
        assert found["increase"] == increase.item()
        if hasattr(torchcam, "DeletionInsertionMetric"):
            curves = torchcam.DeletionInsertionMetric(
                extractor, lambda logits: logits.softmax(-1), steps=32, baseline=blur(image)
            )
            curves.update(image[None], chosen)
            assert found["insertion"] == pytest.approx(curves.summary()["insertion_auc"], abs=1e-6)
            zeros = torchcam.DeletionInsertionMetric(extractor, lambda logits: logits.softmax(-1), steps=32)
            zeros.update(image[None], chosen)
            assert found["deletion"] == pytest.approx(zeros.summary()["deletion_auc"], abs=1e-6)


def test_the_interval_of_an_increase_that_no_image_has() -> None:
    """Wilson's upper end for 0 of n is z^2 / (n + z^2), where all resamples are 0."""
    rows = [ImageResult(str(i), 0, 0, False, ImageScores(0.5, 0.1 + i / 100)) for i in range(20)]
    found = summarize("", Settings(["drop"]), rows, {}, [], Cost(1, 2, "cpu"), bootstrap=1000).metrics
    increase = found.set_index("metric").loc["increase"]
    assert (increase["value"], increase["ci_low"]) == (0, 0)
    assert increase["ci_high"] == pytest.approx(100 * 1.959964**2 / (20 + 1.959964**2), abs=1e-3)
