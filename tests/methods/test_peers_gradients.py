"""Methods of the gradient, against grad-cam, torchcam and captum.

The peers take one image and one class at a time. They are called through the pieces that hold their formulas, at the
layer's own resolution: what they do afterwards (upsampling, float32, [0, 1]) is not what is compared.
"""

from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam.utils import image as grad_cam_image
from pytorch_grad_cam.utils import svd_on_activations
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_peers import LARGE, SMALL, Case, Head, Plain, Residual, assert_same, draw_images, make, minmax, randomize
from torch import Tensor

pytestmark = pytest.mark.sample(5)

ALL = [*SMALL, *LARGE]
# grad-cam rounds to float32 in places. With this for its numpy, the same lines work in float64.
DOUBLE = SimpleNamespace(**{**vars(np), "float32": np.float64})


def run_grad_cam(case: Case, kind: type, scale: float = 1) -> np.ndarray:
    """The sums over channels that grad-cam has before it cuts and resizes them."""
    network, layer = case.peer()
    maps = []
    with kind(network, [layer]) as peer:
        for _, _, image, chosen in case.each():
            image = image.clone().requires_grad_()  # noqa: PLW2901
            torch.autograd.grad(peer.activations_and_grads(image)[0, chosen], image)
            activations = peer.activations_and_grads.activations[0].numpy() / scale
            gradients = peer.activations_and_grads.gradients[0].numpy() * scale
            target = [ClassifierOutputTarget(chosen)]
            maps.append(peer.get_cam_image(image, layer, target, activations, gradients, False)[0])
    return np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)


def run_torchcam(case: Case, kind: type) -> np.ndarray:
    network, _ = case.peer()
    maps = []
    with kind(network, case.layer) as peer:
        for _, _, image, chosen in case.each():
            scores = network(image.clone().requires_grad_())
            maps.append(peer(chosen, scores, normalized=False)[0][0].detach().numpy())
    return np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)


def run_captum(case: Case, attribute: type, **options: object) -> np.ndarray:
    """The largest absolute value over the three colors, at the image's resolution."""
    network, _ = case.peer()
    values = [
        attribute(network)
        .attribute(image.clone().requires_grad_(), target=chosen, **options)
        .detach()[0]
        .abs()
        .amax(0)
        .numpy()
        for _, _, image, chosen in case.each()
    ]
    return np.stack(values).reshape(*case.classes.shape, *values[0].shape)


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("gradcam", pytorch_grad_cam.GradCAM),
        ("xgradcam", pytorch_grad_cam.XGradCAM),
        ("layercam", pytorch_grad_cam.LayerCAM),
        ("gradcam-elementwise", pytorch_grad_cam.GradCAMElementWise),
    ],
)
def test_grad_cam_with_the_relu_of_the_papers(name, spec, kind):
    # XGrad-CAM's divisor (a sum of activations) has an epsilon of 1e-7 in grad-cam, far below the sums here.
    assert_same(make(name).maps(spec), relu(run_grad_cam(make(name), kind)))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("gradcam:relu=false", pytorch_grad_cam.GradCAM),
        ("hirescam", pytorch_grad_cam.HiResCAM),
        ("gradcam-elementwise:relu=false", pytorch_grad_cam.HiResCAM),
    ],
)
def test_grad_cam_without_relu(name, spec, kind):
    assert_same(make(name).maps(spec), run_grad_cam(make(name), kind))


@pytest.mark.parametrize("name", ALL)
def test_gradcam_plus_plus(name):
    # grad-cam adds 1e-6 to the denominator, which outweighs squared gradients as soon as they are averages over
    # positions. Its formula stays the same, but for that epsilon, if gradients grow as activations shrink: the factor
    # makes the epsilon 1e-18 and leaves Eq. 19 of the paper.
    # torchcam is of no help here: it divides a copy (boolean indexing), so that it has no denominator at all.
    theirs = run_grad_cam(make(name), pytorch_grad_cam.GradCAMPlusPlus, scale=1e6)
    assert_same(make(name).maps("gradcam++"), relu(theirs))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("gradcam", torchcam.methods.GradCAM),
        ("xgradcam", torchcam.methods.XGradCAM),
        ("layercam", torchcam.methods.LayerCAM),
    ],
)
def test_torchcam(name, spec, kind):
    assert_same(make(name).maps(spec), run_torchcam(make(name), kind))


def assert_same_but_for_the_sign(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The sign of a singular vector is any sign: grad-cam takes what comes, so maps may be each other's negative."""
    ours, theirs = minmax(ours), minmax(theirs)
    flipped = np.abs(ours - theirs).max((-2, -1)) > np.abs(ours - (1 - theirs)).max((-2, -1))
    assert_same(ours, np.where(flipped[..., None, None], 1 - theirs, theirs))


@pytest.mark.parametrize("name", ALL)
def test_eigencam_of_grad_cam(name, monkeypatch):
    # grad-cam takes the mean of each channel away before the decomposition.
    monkeypatch.setattr(svd_on_activations, "np", DOUBLE)
    assert_same_but_for_the_sign(
        make(name).maps("eigencam:centered=true"), run_grad_cam(make(name), pytorch_grad_cam.EigenCAM)
    )


@pytest.mark.parametrize("name", ALL)
def test_eigencam_by_the_paper(name, monkeypatch):
    # The paper decomposes the activations as they are. grad-cam's lines do so as well if the negative of the
    # activations stands next to them: means are zero then, and the singular vectors stay what they were.
    monkeypatch.setattr(svd_on_activations, "np", DOUBLE)
    case = make(name)
    network, layer = case.peer()
    kept: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, output: kept.append(output.detach().clone()))
    network(case.images)
    both = torch.cat([kept[0], -kept[0]], dim=-1).numpy()
    theirs = svd_on_activations.get_2d_projection(both)[:, None, :, : kept[0].shape[-1]]
    ours = case.maps("eigencam")
    assert_same_but_for_the_sign(ours, theirs.repeat(case.classes.shape[1], 1))
    # Where activations are not negative, neither is the first singular vector (Perron and Frobenius), with this sign.
    if (kept[0] >= 0).all():
        assert (ours >= 0).all()


@pytest.mark.parametrize("name", ALL)
def test_fullgrad(name, monkeypatch):
    # grad-cam gives this one upsampled only, and each channel is upsampled before the sum. It adds 1e-7 to the range of
    # each channel, more than some have; as every channel is brought to [0, 1], a larger score leaves the formula as it
    # is and that epsilon without a say.
    monkeypatch.setattr(grad_cam_image, "np", DOUBLE)
    case = make(name)
    network, _ = case.peer()
    with pytorch_grad_cam.FullGrad(network, []) as peer:
        theirs = [peer(x, [lambda scores, c=chosen: scores[c] * 1e6])[0] for _, _, x, chosen in case.each()]
    assert_same(case.maps("fullgrad"), np.stack(theirs).reshape(*case.classes.shape, *case.images.shape[2:]))


class Noise:
    """Hands torchcam the noise that the seed stands for: float64, one draw a sample, in order."""

    def __init__(self, seed: int, std: float) -> None:
        self.generator, self.std = torch.Generator().manual_seed(seed), std

    def sample(self, size: torch.Size) -> Tensor:
        return torch.randn(size, generator=self.generator, dtype=torch.float64) * self.std


def smooth_gradcam_plus_plus(case: Case, samples: int, std: float, seed: int) -> np.ndarray:
    """The paper's formula, one image and one class at a time.

    Averages of the gradient, its square and its cube over noisy images; activations of the clean one. The numerator is
    the average square, as Grad-CAM++ has it (and torchcam); the paper prints the average gradient there.
    """
    network, layer = case.peer()
    kept: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    maps = []
    for _, _, image, chosen in case.each():
        kept.clear()
        network(image)
        clean = kept[0].detach()[0]
        noise = Noise(seed, std)
        gradients = []
        for _ in range(samples):
            kept.clear()
            score = network(image + noise.sample(image.shape[1:]))[0, chosen]
            gradients.append(torch.autograd.grad(score, kept[0])[0][0])
        first, second, third = (torch.stack([g**power for g in gradients]).mean(0) for power in (1, 2, 3))
        denominator = 2 * second + clean.sum((1, 2), keepdim=True) * third
        alpha = torch.where(second > 0, second / denominator, 0)
        weights = (alpha * first.relu()).sum((1, 2))
        maps.append((weights[:, None, None] * clean).sum(0).relu().numpy())
    return np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)


@pytest.mark.parametrize("name", ALL)
def test_smooth_gradcam_plus_plus_by_the_paper(name):
    assert_same(make(name).maps("smoothgradcam++"), smooth_gradcam_plus_plus(make(name), 4, 0.3, 0))


@pytest.mark.parametrize("name", SMALL)
def test_smooth_gradcam_plus_plus_without_noise_is_gradcam_plus_plus(name):
    assert_same(make(name).maps("smoothgradcam++:std=0,samples=2"), make(name).maps("gradcam++"))


@pytest.mark.parametrize(("build", "samples"), [(Plain, 4), (Residual, 4), (lambda: Head(cells=1), 1)])
@pytest.mark.parametrize("seed", [0, 3])
def test_smooth_gradcam_plus_plus_against_torchcam(build, samples, seed):
    # torchcam takes the last sample's gradient for the average one, and sums A * gradient cubed where the paper sums A
    # alone. Neither matters where gradients do not vary over positions (global average pooling) and do not vary over
    # samples (a linear layer, or a single sample). It also combines its weights with the activations of the last noisy
    # image; so they are taken from it and combined with the clean ones here.
    network = randomize(build())
    last = network.fc if hasattr(network, "fc") else network.classifier[2]
    with torch.no_grad():
        # Large gradients leave its epsilon, 1e-8 next to their squares, without a say.
        last.weight.mul_(1e3)
    layer = "blocks" if isinstance(network, Residual) else "features"
    case = Case(network, layer, draw_images(2, 32, 32), torch.tensor([[0, 3, 1], [2, 1, 3]]))
    theirs = []
    with torchcam.methods.SmoothGradCAMpp(case.peer()[0], layer, num_samples=samples) as peer:
        for _, _, image, chosen in case.each():
            peer._distrib = Noise(seed, 0.3)
            peer.model(image)
            clean = peer.hook_a[0].clone()
            theirs.append((peer._get_weights(chosen)[0][..., None, None] * clean).sum(1)[0].relu().numpy())
    ours = case.maps(f"smoothgradcam++:samples={samples},seed={seed}")
    assert_same(ours, np.stack(theirs).reshape(ours.shape))


@pytest.mark.parametrize("name", ALL)
def test_backprop(name):
    assert_same(make(name).maps("backprop"), run_captum(make(name), captum.attr.Saliency))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_guided_backprop_of_captum(name):
    assert_same(make(name).maps("guided-backprop"), run_captum(make(name), captum.attr.GuidedBackprop))


@pytest.mark.parametrize("name", ALL)
def test_guided_backprop_of_grad_cam(name):
    case = make(name)
    theirs = []
    for _, _, image, chosen in case.each():
        network, _ = case.peer()
        gradient = pytorch_grad_cam.GuidedBackpropReLUModel(network)(image.clone(), chosen)
        theirs.append(np.abs(gradient).max(-1))
    assert_same(case.maps("guided-backprop"), np.stack(theirs).reshape(*case.classes.shape, *case.images.shape[2:]))


@pytest.mark.parametrize("name", [*SMALL, "squeezenet"])
def test_integrated_gradients(name):
    # captum's quadrature weights are float32, which shows at 1e-7.
    theirs = run_captum(make(name), captum.attr.IntegratedGradients, n_steps=50, method="gausslegendre")
    assert_same(make(name).maps("integrated-gradients"), theirs)


def test_integrated_gradients_with_few_steps():
    theirs = run_captum(make("head"), captum.attr.IntegratedGradients, n_steps=7, method="gausslegendre")
    assert_same(make("head").maps("integrated-gradients:steps=7"), theirs)
