"""BagCAMs, ShapleyCAM, EigenGradCAM, KPCA-CAM, FEM and NWC on features that can be worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from wsol.methods import Forward, find_method, forward
from wsol.models import find_classifier

FEATURES = torch.tensor([[[[4.0, 0.0], [2.0, 2.0]], [[0.0, 1.0], [0.0, 3.0]]]])  # means 2 and 1
WEIGHTS = torch.tensor([[3.0, -1.0], [-1.0, 1.0], [1.0, -2.0], [0.5, -3.0]])  # scores 5, -1, 0, -2
CLASSES = torch.tensor([[0, 1, 2, 3]])


class Given(nn.Module):
    """A network whose features are the first two channels of the image, averaged over quarters."""

    def __init__(self, squared: bool = False) -> None:
        super().__init__()
        self.conv, self.fc, self.squared = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, 4, bias=False), squared
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:2, :, None, None])
            self.fc.weight.copy_(WEIGHTS)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.fc((maps**2 if self.squared else maps).mean((2, 3)))


def run(features: Tensor = FEATURES, squared: bool = False) -> Forward:
    network = Given(squared).double().eval().requires_grad_(False)
    images = torch.cat([features, torch.zeros_like(features[:, :1])], 1).double()
    return forward(find_classifier(network, "given", "conv", side=images.shape[2]), images)


def maps(name: str, features: Tensor = FEATURES, classes: Tensor = CLASSES) -> Tensor:
    return find_method(name).maps(run(features), classes)[0].float()


def test_nwc_leaves_out_negative_weights() -> None:
    first, second = FEATURES[0]
    torch.testing.assert_close(maps("nwc"), torch.stack([3 * first, second, first, 0.5 * first]))


def test_bagcams_of_positive_negative_and_zero_scores() -> None:
    """p = w A / (4 |y|), since the gradient is w / 4; a weight is 1 + mean p."""
    first, second = FEATURES[0]
    found = maps("bagcams")
    # y = 5: p is 3 A / 20 with mean 0.3, and -B / 20 with mean -0.05: its products are negative.
    torch.testing.assert_close(found[0], 1.3 * 3 / 20 * first)
    # y = -1: p is -A / 4 with mean -0.5, and B / 4 with mean 0.25. Only what raises the score is left.
    torch.testing.assert_close(found[1], 1.25 / 4 * second)
    # y = 0: p is proportional to A and to -2 B, with the same mean; the 1 does not count, and both are positive.
    torch.testing.assert_close(found[2] / found[2].sum(), (first + 2 * second) / (8 + 8))
    # y = -2: p is A / 16 with mean 0.125, and -3 B / 8 with mean -0.375: negative.
    torch.testing.assert_close(found[3], 1.125 / 16 * first)
    assert maps("bagcams", torch.zeros(1, 2, 2, 2)).abs().max() == 0


def test_shapleycam_of_squares() -> None:
    """y = w mean A^2: gradient w A / 2, Hessian w / 2 on the diagonal, so that g - H A / 2 is w A / 4."""
    found = find_method("shapleycam").maps(run(squared=True), CLASSES)[0].float()
    first, second = FEATURES[0]
    expected = torch.stack([w[0] * 2 / 4 * first + w[1] * 1 / 4 * second for w in WEIGHTS]).relu()
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, find_method("gradcam").maps(run(squared=True), CLASSES)[0].float())


@pytest.mark.parametrize("name", ["shapleycam", "bagcams", "eigengradcam"])
def test_another_target_than_the_class_score(name: str) -> None:
    """The square of a score: its gradient is that of the score times 2 y."""

    def square(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.gather(1, classes) ** 2

    passed, classes = run(), torch.tensor([[0, 3]])
    found = find_method(name).maps(replace(passed, target=square), classes)[0].float()
    first, second = FEATURES[0]
    for score, w, score_map in zip((5, -2), WEIGHTS[[0, 3]], found, strict=True):
        products = torch.stack([w[0] * first, w[1] * second]) * 2 * score / 4
        if name == "bagcams":
            products = products / score**2
            expected = (products * (1 + products.mean((1, 2), keepdim=True))).relu().sum(0)
        elif name == "shapleycam":  # H = 2 g g', so that H A = 2 (g A) g with g A = y, which is half of the product
            expected = (products.sum(0) - products.sum(0) / 2).relu()
        else:
            rows = products.flatten(1).T - products.mean((1, 2))
            expected = (rows @ torch.linalg.svd(rows)[2][0]).reshape(2, 2)
            expected = expected * torch.sign((expected * products.sum(0)).sum())
        torch.testing.assert_close(score_map, expected, rtol=1e-4, atol=1e-5)


def test_eigengradcam_agrees_with_hirescam() -> None:
    for name in ("eigengradcam", "eigengradcam:centered=false"):
        found, summed = maps(name), maps("hirescam")
        if "false" not in name:
            summed = summed - summed.mean((1, 2), keepdim=True)
        assert ((found * summed).sum((1, 2)) > 0).all()
        assert maps(name, torch.zeros(1, 2, 2, 2)).abs().max() == 0


def test_fem() -> None:
    """One high place of nine: mean 1, standard deviation sqrt(8); 9 is above 1 + 2 sqrt(8) = 6.66."""
    features = torch.zeros(1, 2, 3, 3)
    features[0, 0, 1, 2], features[0, 1] = 9, 5
    found = maps("fem", features)
    expected = torch.zeros(3, 3)
    expected[1, 2] = 1  # the mean; the second channel has no contrast
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], expected)
    assert maps("fem:z=3", features).abs().max() == 0  # 1 + 3 sqrt(8) = 9.49
    torch.testing.assert_close(maps("fem:binary=false", features)[0], features[0, 0] / 9)


def test_kpca_cam_of_two_kinds_of_places() -> None:
    """Places of two kinds have one component: one value each, of opposite signs, in proportion to their numbers."""
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0, 0, 0], features[0, 1, 0, 0] = 4, 2
    found = maps("kpca-cam", features)[0]
    assert found[0, 0] > 0
    torch.testing.assert_close(found, torch.tensor([[1.0, -1 / 3], [-1 / 3, -1 / 3]]) * found[0, 0])
    flat = torch.full((1, 2, 2, 2), 0.1) * torch.tensor([3.0, 7.0])[:, None, None]
    assert maps("kpca-cam", flat).abs().max() == 0
