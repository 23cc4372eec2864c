"""Any method on any model either works or says in one sentence why it cannot."""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.convnext import ConvNeXt
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torchvision.models import VisionTransformer, squeezenet1_1

from wsol.methods import METHODS, find_method, forward
from wsol.models import find_classifier
from wsol.models.zero_shot import ZeroShotClassifier

QUICK = {"ss-cam": ":samples=1", "is-cam": ":samples=1", "rise": ":masks=4", "integrated-gradients": ":steps=2"}
QUICK |= {"occlusion": ":window=112,stride=112", "smoothgradcam++": ":samples=2"}
QUICK |= {"clip-surgery": ":layers=2"}
QUICK |= {"dino-seg": ":head=1", "lost": ":map=similarity"}
ATTENTION = {"attention-rollout", "chefer", "self-attention", "ts-cam", "tokencut", "lost", "dino-seg"}
ATTENTION |= {"clip-surgery", "grad-eclip", "legrad", "maskclip"}


class Dense(nn.Module):
    """Ends in two linear layers on a flattened map, as AlexNet and VGG do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 9, 16), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Linear(8 * 7 * 7, 16), nn.ReLU(inplace=True), nn.Linear(16, 5))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).flatten(1))


MODELS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "map a class": (lambda: squeezenet1_1(num_classes=5), ATTENTION),
    "gap": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 9, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ),
        ATTENTION,
    ),
    "gmp": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 9, 16), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ),
        ATTENTION,
    ),
    "dense": (Dense, {"cam", "nwc"} | ATTENTION),
    "convnext": (
        lambda: ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), num_classes=5),
        {"cam", "nwc", "guided-backprop"} | ATTENTION,
    ),
    "swin": (
        lambda: SwinTransformer(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), num_classes=5),
        {"guided-backprop"} | ATTENTION,
    ),
    "mixer": (
        lambda: MlpMixer(img_size=224, patch_size=32, num_blocks=2, embed_dim=16, num_classes=5),
        {"guided-backprop"} | ATTENTION,
    ),
    "vit": (
        lambda: VisionTransformer(224, 56, 2, 2, 16, 32, num_classes=5),
        {"cam", "clip-surgery", "nwc", "guided-backprop"},
    ),
    "vit of timm": (
        lambda: timm.models.VisionTransformer(patch_size=56, embed_dim=16, depth=2, num_heads=2, num_classes=5),
        {"cam", "clip-surgery", "nwc", "guided-backprop"},
    ),
    "zero-shot": (
        lambda: ZeroShotClassifier(
            VisionTransformer(224, 56, 2, 2, 16, 32, num_classes=8), torch.eye(5, 8), torch.tensor(9.0)
        ),
        {"cam", "nwc", "guided-backprop"},
    ),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("model", MODELS)
def test_it_works_or_says_why_not(model: str) -> None:
    build, refused = MODELS[model]
    torch.manual_seed(0)
    network = build().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1 or not parameter.any():  # zeros as they are usual in heads would make blank maps
                parameter.add_(0.1 * torch.randn_like(parameter))
    classifier = find_classifier(network, model)
    passed = forward(classifier, torch.randn(2, 3, 224, 224))
    classes = torch.tensor([[0, 1], [2, 4]])
    found = set()
    for name in METHODS.names():
        method = find_method(name + QUICK.get(name, ""))
        reason = method.unsupported_reason(classifier)
        if reason is not None:
            found.add(name)
            assert "\n" not in reason
            continue
        maps = method.maps(passed, classes)
        assert maps.shape[:2] == classes.shape, name
        assert maps.shape[2] == maps.shape[3] > 1, name
        assert torch.isfinite(maps).all(), name
        assert not maps.requires_grad, name
        assert maps[:, 0].std() > 0, name
        distinct = (maps[:, 0] - maps[:, 1]).abs().max() > 0
        assert distinct == method.class_specific, name
    assert found == refused | {"acol"}  # it takes networks of its own
