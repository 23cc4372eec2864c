"""ROAD's imputation: by hand, by its properties, and against pytorch-grad-cam."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsol.perturbation import imputation
from wsol.perturbation.imputation import impute, impute_all, removed_pixels
from wsol.perturbation.scores import rank_pixels, score_image, summarize_image
from wsol.perturbation.settings import PERCENTILES


def removed_at(shape: tuple[int, int], *pixels: tuple[int, int]) -> NDArray[np.bool_]:
    removed = np.zeros(shape, bool)
    for pixel in pixels:
        removed[pixel] = True
    return removed


def test_one_pixel_is_the_weighted_mean_of_its_neighbors() -> None:
    image = np.array([[[1.0, 2, 3], [4, 99, 5], [6, 7, 8]]])
    found = impute(image, removed_at((3, 3), (1, 1)))
    assert found[0, 1, 1] == pytest.approx((2 + 4 + 5 + 7) / 6 + (1 + 3 + 6 + 8) / 12)
    found[0, 1, 1] = 99
    np.testing.assert_array_equal(found, image)


def test_at_the_border_the_weights_add_up_to_one() -> None:
    image = np.array([[[99.0, 2, 3], [4, 9, 5], [6, 7, 8]]])
    found = impute(image, removed_at((3, 3), (0, 0)))
    assert found[0, 0, 0] == pytest.approx((2 / 6 + 4 / 6 + 9 / 12) / (5 / 12))


def test_removed_neighbors_are_unknowns_of_one_system() -> None:
    image = np.array([[[12.0, 0, 0, 24]]])  # two pixels between two: x = (12 + y) / 2, y = (x + 24) / 2
    np.testing.assert_allclose(impute(image, removed_at((1, 4), (0, 1), (0, 2)))[0, 0], [12, 16, 20, 24])


def test_an_even_image_is_reproduced() -> None:
    y, x = np.mgrid[:12, :17]
    ramp, flat = 3.0 * y - 2.0 * x, np.full((12, 17), 7.0)
    removed = np.zeros((12, 17), bool)
    removed[2:9, 3:15] = True
    np.testing.assert_allclose(impute(np.stack([ramp, flat]), removed), np.stack([ramp, flat]), atol=1e-10)
    removed = ~removed_at((12, 17), (5, 5))
    np.testing.assert_allclose(impute(flat[None], removed), flat[None], atol=1e-10)
    np.testing.assert_array_equal(impute(ramp[None], np.zeros((12, 17), bool)), ramp[None])


def test_the_pixels_of_a_percentile() -> None:
    score_map = np.random.default_rng(0).permutation(221).reshape(13, 17).astype(np.float32)
    most, least = removed_pixels(rank_pixels(score_map))
    for i, percentile in enumerate(PERCENTILES):
        np.testing.assert_array_equal(most[i], score_map >= np.percentile(score_map, percentile))
        np.testing.assert_array_equal(least[i], -score_map >= np.percentile(-score_map, percentile))


def test_the_noise_depends_on_seed_and_image_alone() -> None:
    image = np.random.default_rng(0).random((3, 8, 9)).astype(np.float32)
    ranks = rank_pixels(image[0])
    call = partial(impute_all, image, ranks, (0.2, 0.1, 0.5))
    first = call("a", 0)
    np.testing.assert_array_equal(first, call("a", 0))
    assert not np.array_equal(first, call("a", 1))
    assert not np.array_equal(first, call("b", 0))
    removed = np.concatenate(removed_pixels(ranks))
    np.testing.assert_array_equal(
        np.where(removed[:, None], 0, first), np.where(removed[:, None], 0, np.broadcast_to(image, first.shape))
    )
    exact = np.stack([impute(image.astype(np.float64), each) for each in removed])
    spread = [(first - exact)[:, channel][removed].std() for channel in range(3)]
    assert spread == pytest.approx([0.05, 0.1, 0.02], rel=0.15)  # 0.01 of pixels in [0, 1]


def test_pytorch_grad_cam_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, which it draws from torch's global generator."""
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    rng = np.random.default_rng(1)
    image = torch.from_numpy(rng.random((3, 14, 14), np.float32))
    removed = rng.random((14, 14)) < 0.6
    theirs = road.NoisyLinearImputer(noise=0)(image, torch.from_numpy((~removed).astype(np.float32)))
    np.testing.assert_allclose(impute(image.double().numpy(), removed), theirs, atol=1e-6)

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(5))
    with torch.no_grad():
        chosen = int(network(image[None]).argmax())
    score_map = rng.permutation(196).reshape(14, 14).astype(np.float32) / 195
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0, road.neighbors_weights))
    combined = road.ROADCombined([*PERCENTILES])
    targets = [lambda output: output.softmax(-1)[chosen]]
    expected = combined(image[None], score_map[None], targets, network)
    monkeypatch.setattr(imputation, "NOISE", 0.0)

    def probability(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(images).softmax(1)[:, chosen].double()

    imputed = impute_all(image.numpy(), rank_pixels(score_map), (1, 1, 1), "a", 0)
    scores = score_image(probability, image, score_map, ["road"], 1, lambda: imputed, 5)
    assert summarize_image(scores)["road"] == pytest.approx(float(expected.item()), abs=1e-6)
