"""Refinements of methods, against grad-cam."""

import copy
from typing import Any

import cv2
import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
from test_peers import Case, assert_same, draw_images, make, minmax, randomize
from torch import Tensor, nn

from wsol.methods import find_method, forward, with_target
from wsol.methods._finer_target import FinerTarget
from wsol.methods.eigencam import compute_principal_map
from wsol.models import find_classifier

pytestmark = pytest.mark.slow

METHODS = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "gradcam-elementwise": pytorch_grad_cam.GradCAMElementWise,
}
CLIPPED = {"gradcam", "xgradcam", "layercam"}


class Full(nn.Module):
    """A network whose feature maps are as large as its images, so that nothing is resized."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 9, 3, padding=1), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(3)
        self.classifier = nn.Sequential(nn.Linear(81, 16), nn.Tanh(), nn.Linear(16, 6))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(images)), 1))


def full() -> Case:
    network = randomize(Full())
    with torch.no_grad():
        network.classifier[2].weight.mul_(1e5)  # so that their epsilons have no say
    return Case(network, "features.3", draw_images(2, 24, 20), torch.tensor([[0, 3, 1], [2, 1, 5]]))


def run(case: Case, kind: type, target: Any = ClassifierOutputTarget, **options: bool) -> np.ndarray:
    """Their maps, one image and one class at a time: positive, scaled to [0, 1], of the size of the image."""
    network, layer = case.peer()
    with kind(network, [layer]) as peer:
        maps = [peer(image, [target(chosen)], **options)[0] for *_, image, chosen in case.each()]
    return np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)


@pytest.mark.parametrize("name", METHODS)
def test_aug_smooth(name):
    # Their ReLU comes ahead of the mean; hirescam has none of its own.
    theirs = run(full(), METHODS[name], aug_smooth=True)
    if name == "hirescam":
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(full().maps(f"{name}:aug_smooth=true"), theirs, rtol=0, atol=1e-2)
        return
    np.testing.assert_allclose(full().maps(f"{name}:aug_smooth=true"), theirs, rtol=0, atol=1e-5)
    assert np.ptp(theirs) > 0.3


@pytest.mark.parametrize("network", ["head", "signed"])
@pytest.mark.parametrize("name", METHODS)
def test_eigen_smooth(name, network):
    case = make(network)
    ours, theirs = case.maps(f"{name}:eigen_smooth=true"), run(case, METHODS[name], eigen_smooth=True)
    method, passed = find_method(name), forward(find_classifier(case.network, "peer", case.layer), case.images)
    components = [compute_principal_map(each[:, 0]) for each in method.weigh(passed, case.classes)]
    component = torch.stack(components, 1).numpy()
    # Negative values are cut as the method's own formula does; theirs always are.
    np.testing.assert_array_equal(ours, np.maximum(component, 0) if name in CLIPPED else component)
    # Their sign is that of the solver: the map is what is left of ours, or of its negative.
    for i, j in np.ndindex(*case.classes.shape):
        candidates = [enlarge(np.maximum(sign * component[i, j], 0), case) for sign in (1, -1)]
        difference = [np.abs(candidate - theirs[i, j]).max() for candidate in candidates]
        assert min(difference) < 1e-5, difference


def enlarge(score_map: np.ndarray, case: Case) -> np.ndarray:
    """As they do: to [0, 1], to the size of the image, to [0, 1]."""
    return minmax(cv2.resize(np.float32(minmax(score_map)), (case.images.shape[3], case.images.shape[2])))


@pytest.mark.parametrize("network", ["head", "residual"])
@pytest.mark.parametrize(("name", "alpha"), [("gradcam", 1.0), ("gradcam", 0.6), ("layercam", 1.0)])
def test_finer_cam(name, alpha, network):
    case = make(network)
    peer_network, layer = case.peer()
    with pytorch_grad_cam.FinerCAM(peer_network, [layer], base_method=METHODS[name]) as peer:
        maps = [peer(image, alpha=alpha, target_idx=chosen)[0] for *_, image, chosen in case.each()]
    theirs = np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)
    ours = case.maps(f"{name}:target=finer,finer_alpha={alpha}")
    if name == "gradcam":
        np.testing.assert_array_equal(case.maps(f"finercam:alpha={alpha}"), ours)
    resized = np.stack([enlarge(each, case) for each in ours.reshape(-1, *ours.shape[2:])])
    assert_same(resized.reshape(theirs.shape), theirs)


def test_finer_target_of_scores_alone():
    # The target itself, and its gradient with respect to the scores, through the probabilities too.
    case = make("head")
    with torch.no_grad():
        logits = case.network(case.images)
    target, pairs = FinerTarget(0.8, 2).fix(logits, case.classes)
    leaf = logits.clone().requires_grad_()
    target(leaf, pairs).sum().backward()
    theirs = logits.clone().requires_grad_()
    for i, row in enumerate(case.classes.tolist()):
        for j, chosen in enumerate(row):
            closest = target.closest[pairs[i, j]].tolist()
            number = FinerWeightedTarget(chosen, closest, 0.8)(theirs[i])
            torch.testing.assert_close(target(logits, pairs)[i, j], number.detach(), rtol=1e-12, atol=0)
            number.backward()
    torch.testing.assert_close(leaf.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["gradcam", "layercam"])
def test_a_target_of_ones_own(name):
    case = make("head")

    class LogProbability:
        def __init__(self, chosen: int) -> None:
            self.chosen = chosen

        def __call__(self, scores: Tensor) -> Tensor:
            return scores.log_softmax(-1)[self.chosen]

    def log_probability(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.log_softmax(1).gather(1, classes)

    method = with_target(name, log_probability)
    theirs = run(case, METHODS[name], LogProbability)
    ours = Case(copy.deepcopy(case.network), case.layer, case.images, case.classes).maps(method)
    resized = np.stack([enlarge(each, case) for each in ours.reshape(-1, *ours.shape[2:])])
    assert_same(resized.reshape(theirs.shape), theirs)
