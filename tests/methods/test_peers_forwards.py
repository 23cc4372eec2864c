"""Methods of forward passes, against grad-cam, torchcam and captum, and RISE against its own definition."""

from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam import ablation_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_peers import MEMORY, SMALL, Case, Plain, Residual, assert_same, close, draw_images, make, randomize
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import find_classifier

pytestmark = pytest.mark.slow

# grad-cam rounds scores to float32. With this for its numpy, the same lines work in float64.
DOUBLE = SimpleNamespace(**{**vars(np), "float32": np.float64})


@pytest.mark.parametrize("build", [Plain, Residual])
def test_cam_of_torchcam(build):
    case = Case(randomize(build()), "", draw_images(2, 36, 28), torch.tensor([[0, 3, 1], [2, 1, 4]]))
    layer = "blocks" if build is Residual else "features"
    passed = forward(find_classifier(case.network, "peer"), case.images, memory=MEMORY)
    ours = find_method("cam").maps(passed, case.classes).numpy()
    theirs = []
    with torchcam.methods.CAM(case.network, layer, "fc") as peer, torch.no_grad():
        for _, _, image, chosen in case.each():
            case.network(image)
            theirs.append(peer(chosen, normalized=False)[0][0].numpy())
    # CAM needs no normalization to be compared: same weights, same activations.
    close(ours, np.stack(theirs).reshape(ours.shape))


def run_torchcam(case: Case, kind: type, noise: object = None, **options: object) -> np.ndarray:
    network, _ = case.peer()
    maps = []
    with kind(network, case.layer, **options) as peer, torch.no_grad():
        for _, _, image, chosen in case.each():
            if noise is not None:
                peer._distrib = noise()
            network(image)
            maps.append(peer(chosen, normalized=False)[0][0].numpy())
    return np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)


@pytest.mark.parametrize("name", [*SMALL, "squeezenet"])
def test_scorecam(name):
    assert_same(make(name).maps("scorecam"), run_torchcam(make(name), torchcam.methods.ScoreCAM))


class MaskNoise:
    """Hands torchcam the noise that the seed stands for: float64, all channels of a sample at once, in order."""

    def __init__(self, seed: int = 0, std: float = 2.0) -> None:
        self.generator, self.std = torch.Generator().manual_seed(seed), std

    def sample(self, size: torch.Size) -> Tensor:
        return torch.randn(size, generator=self.generator, dtype=torch.float64) * self.std


@pytest.mark.parametrize("name", SMALL)
def test_ss_cam(name):
    theirs = run_torchcam(make(name), torchcam.methods.SSCAM, lambda: MaskNoise(3, 0.5), num_samples=3)
    assert_same(make(name).maps("ss-cam:samples=3,std=0.5,seed=3"), theirs)


def test_ss_cam_with_the_usual_noise():
    assert_same(make("plain").maps("ss-cam"), run_torchcam(make("plain"), torchcam.methods.SSCAM, MaskNoise))


@pytest.mark.parametrize("name", SMALL)
def test_ss_cam_without_noise_is_scorecam(name):
    assert_same(make(name).maps("ss-cam:samples=2,std=0"), make(name).maps("scorecam"))


@pytest.mark.parametrize("name", SMALL)
def test_is_cam(name):
    assert_same(make(name).maps("is-cam"), run_torchcam(make(name), torchcam.methods.ISCAM))


@pytest.mark.parametrize("name", SMALL)
def test_is_cam_with_few_samples(name):
    theirs = run_torchcam(make(name), torchcam.methods.ISCAM, num_samples=4)
    assert_same(make(name).maps("is-cam:samples=4"), theirs)


@pytest.mark.parametrize("name", SMALL)
def test_is_cam_of_one_sample_is_scorecam(name):
    assert_same(make(name).maps("is-cam:samples=1"), make(name).maps("scorecam"))


@pytest.mark.parametrize("name", ["plain", "residual", "head", "squeezenet"])
def test_ablationcam_of_grad_cam(name, monkeypatch):
    # Only behind a ReLU: elsewhere grad-cam puts -1e7 in place of a channel, not zero.
    monkeypatch.setattr(ablation_cam, "np", DOUBLE)
    case = make(name)
    theirs = []
    for _, _, image, chosen in case.each():
        network, layer = case.peer()
        with pytorch_grad_cam.AblationCAM(network, [layer]) as peer, torch.no_grad():
            peer.activations_and_grads(image)
            activations = peer.activations_and_grads.activations[0].numpy()
            assert activations.min() == 0
            target = [ClassifierOutputTarget(chosen)]
            theirs.append(peer.get_cam_image(image, layer, target, activations, None, False)[0])
    ours = case.maps("ablationcam")
    assert_same(ours, np.maximum(np.stack(theirs).reshape(ours.shape), 0))


@pytest.mark.parametrize("name", SMALL)
def test_ablationcam_by_the_paper(name):
    # (y - y without the channel) / y, on every kind of layer and for scores of either sign.
    case = make(name)
    network, layer = case.peer()
    theirs = []
    for _, _, image, chosen in case.each():
        kept: list[Tensor] = []
        with torch.no_grad():
            hook = layer.register_forward_hook(lambda module, inputs, output, kept=kept: kept.append(output.clone()))
            score = network(image)[0, chosen]
            hook.remove()
            total = torch.zeros_like(kept[0][0, 0])
            for k in range(kept[0].shape[1]):
                ablated = kept[0].clone()
                ablated[:, k] = 0
                hook = layer.register_forward_hook(lambda module, inputs, output, ablated=ablated: ablated)
                total += (score - network(image)[0, chosen]) / score * kept[0][0, k]
                hook.remove()
        theirs.append(total.relu().numpy())
    ours = case.maps("ablationcam")
    assert_same(ours, np.stack(theirs).reshape(ours.shape))


# The windows fit once, overlap, and stick out at the far border, where captum cuts them off.
@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 4), (9, 4), (7, 5), (32, 32)])
@pytest.mark.parametrize("name", ["plain", "head"])
def test_occlusion(name, window, stride):
    case = make(name)
    # captum ends in float32, and a window as large as the image leaves no contrast: so the values themselves.
    peer = captum.attr.Occlusion(case.network)
    theirs = [
        peer.attribute(image, (3, window, window), (3, stride, stride), target=chosen)[0, 0].numpy()
        for _, _, image, chosen in case.each()
    ]
    ours = case.maps(f"occlusion:window={window},stride={stride}")
    np.testing.assert_allclose(ours, np.stack(theirs).reshape(ours.shape), rtol=0, atol=1e-5)


def test_occlusion_of_an_image_that_is_not_square():
    case = make("residual")
    peer = captum.attr.Occlusion(case.network)
    theirs = [
        peer.attribute(image, (3, 9, 9), (3, 6, 6), target=chosen)[0, 0].numpy() for _, _, image, chosen in case.each()
    ]
    ours = case.maps("occlusion:window=9,stride=6")
    np.testing.assert_allclose(ours, np.stack(theirs).reshape(ours.shape), rtol=0, atol=1e-5)


class Lamps(nn.Module):
    """Three scores, each linear in the brightness of the image."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        # Convolutions of the image's own size, so that there is a layer to name and a map of 1 x 1.
        self.features = nn.Conv2d(3, len(weights), weights.shape[1:], bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.from_numpy(weights)[:, None].expand(-1, 3, -1, -1) / 3)

    def forward(self, images: Tensor) -> Tensor:
        return torch.flatten(self.features(images), 1)


def draw_masks(count: int, side: int, cells: int, keep: float, seed: int) -> np.ndarray:
    """Petsiuk et al. 2018, section 3.2, one mask at a time."""
    rng = np.random.default_rng(seed)
    cell = -(-side // cells)
    # Bilinear with pixel centers at halves; beyond the outer centers the outer value.
    at = np.clip((np.arange((cells + 1) * cell) + 0.5) * cells / ((cells + 1) * cell) - 0.5, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    masks = np.empty((count, side, side))
    for mask in masks:
        grid = (rng.random((cells, cells)) < keep).astype(float)
        top, left = rng.integers(0, cell, 2)
        mask[:] = (weights @ grid @ weights.T)[top : top + side, left : left + side]
    return masks


@pytest.fixture(scope="module")
def lamps() -> tuple[Case, np.ndarray]:
    side = 24
    weights = np.zeros((3, side, side))
    # Single pixels, where masks vary most and least if they are not shifted: the average over shifts is seen.
    weights[0, 3, 3] = 4
    weights[1, 14, 15] = 3
    weights[2, :, :] = 1 / side**2
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    network = Lamps(weights).double().eval()
    return Case(network, "features", images.expand(-1, 3, -1, -1).clone(), torch.tensor([[0, 1], [1, 2]])), weights


def scores_of(logits: np.ndarray) -> np.ndarray:
    """What RISE averages: the paper's confidence, which its code takes from a softmax over the classes."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize(("cells", "keep"), [(4, 0.5), (6, 0.3)])
def test_rise_has_the_papers_expectation(lamps, cells, keep):
    # The order of the draws is anyone's, so two independent samples of masks are compared by their averages.
    case, weights = lamps
    ours = case.maps(f"rise:masks=4000,cells={cells},keep={keep}")
    masks = draw_masks(8000, 24, cells, keep, seed=1)
    for i, row in enumerate(case.classes.tolist()):
        brightness = case.images[i, 0].numpy()
        logits = np.einsum("mhw,chw->mc", masks * brightness, weights)
        for j, chosen in enumerate(row):
            terms = scores_of(logits)[:, chosen, None, None] * masks / keep
            # Six standard errors of the difference of two averages, of 4000 and of 8000.
            error = terms.std(0) * (1 / 4000 + 1 / 8000) ** 0.5
            assert (np.abs(ours[i, j] - terms.mean(0)) < 6 * error).all()


def test_rise_finds_the_pixel(lamps):
    case, weights = lamps
    maps = case.maps("rise:masks=3000,cells=6")
    for i, row in enumerate(case.classes.tolist()):
        for j, chosen in enumerate(row):
            if chosen != 2:  # that one looks everywhere
                found = np.array(np.unravel_index(maps[i, j].argmax(), maps[i, j].shape))
                # Within a cell, which is what masks can tell apart.
                assert (np.abs(found - np.argwhere(weights[chosen])[0]) < 4).all()


def test_rise_of_a_constant_score_averages_the_masks():
    # Every class has the same score then: the maps are all one map, near its expectation, which is flat.
    case = make("plain")
    network = Plain().double().eval()
    with torch.no_grad():
        network.fc.weight.zero_()
        network.fc.bias.fill_(1)
    maps = Case(network, case.layer, case.images, case.classes).maps("rise:masks=1000,cells=5,keep=0.4")
    np.testing.assert_allclose(maps, np.broadcast_to(maps[:1, :1], maps.shape), rtol=1e-12)
    # The standard deviation of a mask over its mean is at most sqrt(0.6 / 0.4).
    assert np.abs(maps / maps.mean() - 1).max() < 6 * (0.6 / 0.4 / 1000) ** 0.5
    assert maps.mean() == pytest.approx(scores_of(np.ones(5))[0], rel=0.02)
