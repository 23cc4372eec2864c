"""Any method with any refinement on any network, read at one layer or at two, works or says in one sentence why not."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from wsol.errors import InputError
from wsol.methods import METHODS, Method, find_method, forward, unsupported_reason, with_target
from wsol.models import Classifier, find_classifier
from wsol.models.pooling import ThresholdedAvgPool2d
from wsol.models.zero_shot import ZeroShotClassifier

SIDE, COUNT = 32, 4
QUICK = {"ss-cam": "samples=1", "is-cam": "samples=1", "rise": "masks=2,cells=2", "integrated-gradients": "steps=2"}
QUICK |= {"occlusion": "window=16,stride=16", "smoothgradcam++": "samples=1", "clip-surgery": "layers=2"}
QUICK |= {"dino-seg": "head=1", "lost": "map=similarity", "tokencut": "map=eigenvector"}
SETTINGS = ["", "aug_smooth=true", "eigen_smooth=true", "target=finer", "own", "fusion=product,target=finer"]
CLASSES = torch.tensor([[0, 2], [3, 1]])


class Hard(nn.Module):
    """Cannot be traced, and works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, COUNT)

    def forward(self, images: Tensor) -> Tensor:
        early = self.early(images)
        if float(early.detach().sum()) < 0:
            raise ValueError("control flow")
        return self.head(self.late(early).mean((2, 3)))


def convolutions(*head: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), *head)


def transformer() -> VisionTransformer:
    return VisionTransformer(SIDE, 8, 2, 2, 8, 16, num_classes=8)


ENCODER = "encoder.layers.encoder_layer_0,encoder.layers.encoder_layer_1.ln_1"
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "tap": (lambda: convolutions(ThresholdedAvgPool2d(0.3), nn.Flatten(), nn.Linear(8, COUNT)), "1,3"),
    "dense": (lambda: convolutions(nn.Flatten(), nn.Linear(8 * 16, 6), nn.GELU(), nn.Linear(6, COUNT)), "1,3"),
    "hooked": (Hard, "early,late"),
    "zero-shot": (
        lambda: ZeroShotClassifier(transformer(), torch.eye(COUNT, 8), torch.tensor(9.0)),
        ",".join(f"visual.{each}" for each in ENCODER.split(",")),
    ),
}


def next_class(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, (classes + 1) % COUNT)


def find(name: str, setting: str) -> Method | None:
    """The method with a setting; None if it refuses it."""
    settings = ",".join(filter(None, [QUICK.get(name, ""), "" if setting == "own" else setting]))
    try:
        method = find_method(f"{name}:{settings}" if settings else name)
        return with_target(method, next_class, "next-class") if setting == "own" else method
    except InputError as error:
        reason = str(error)
    assert "leave out" in reason
    assert "\n" not in reason
    return None


def state(network: nn.Module) -> list[Any]:
    tensors = [(float(each.detach().sum()), each.requires_grad, each.grad) for each in network.parameters()]
    hooks = [
        (len(each._forward_hooks), len(each._forward_pre_hooks), len(each._backward_hooks), each.training)
        for each in network.modules()
    ]
    return [*tensors, *hooks, torch.is_grad_enabled(), torch.get_rng_state().tolist()]


def differ(one: Tensor, other: Tensor) -> float:
    return float(((one - other).abs().amax((2, 3)) / other.abs().amax((2, 3)).clamp(min=1e-30)).max())


def check(method: Method, classifier: Classifier, images: Tensor, label: str) -> Tensor | None:
    reason = unsupported_reason(method, classifier, COUNT)
    if reason is not None:
        assert "\n" not in reason, label
        return None
    passed = forward(classifier, images)
    maps = method.maps(passed, CLASSES)
    assert maps.shape[:2] == CLASSES.shape, label
    assert maps.dtype == torch.float64, label
    assert maps.isfinite().all(), label
    assert not maps.requires_grad, label
    assert "_graph" not in vars(passed), label
    alone = method.maps(forward(classifier, images[1:]), CLASSES[1:])
    assert differ(alone, maps[1:]) < 1e-8, label
    return maps


def test_it_is_found_out_without_the_random_numbers_of_others() -> None:
    mean = timm.models.VisionTransformer(SIDE, 8, embed_dim=8, depth=1, num_heads=2, num_classes=3, global_pool="avg")
    torch.nn.init.normal_(mean.head.weight)
    classifier = find_classifier(mean.eval(), "mean", side=SIDE)
    before = torch.get_rng_state()
    assert find_method("maskclip").unsupported_reason(classifier) is None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_works_or_says_why_not(name: str) -> None:
    build, layers = NETWORKS[name]
    torch.manual_seed(0)
    network = build().double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1 or not parameter.any():
                parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    one, two = (find_classifier(network, name, each, side=SIDE) for each in (None, layers))
    before = state(network)
    for each in METHODS.names():
        for setting in SETTINGS:
            label = f"{each} {setting}"
            if (method := find(each, setting)) is None:
                continue
            maps = check(method, two if "fusion" in setting else one, images, label)
            assert state(network) == before, label
            if maps is not None and setting == "own" and each != "rise":  # which makes probabilities of class scores
                plain = find(each, "")
                assert plain is not None
                assert differ(maps, plain.maps(forward(one, images), (CLASSES + 1) % COUNT)) < 1e-8, label
