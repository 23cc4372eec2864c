"""The target layer of other people's networks, and the cut behind it.

Structure is checked without memory for weights, on the meta device; numbers are compared with a forward hook on the
plain network, which knows nothing of graphs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision.models
from timm.models.convnext import ConvNeXt
from timm.models.efficientformer import EfficientFormer
from timm.models.mlp_mixer import MlpMixer
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import Tensor, nn

from wsol.errors import InputError, NotFiniteError
from wsol.models import Classifier, GapClassifier, find_classifier


def words(text: str) -> list[str]:
    return text.split()


# One of each family of torchvision; half of them, and the other sizes, are swept over.
TORCHVISION = words(
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 "
    "mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 "
    "squeezenet1_0 swin_t swin_v2_t vgg11 vit_b_32"
)
# A small one of every family of timm; most of them, and those that take long, are swept over.
TIMM = words(
    "cait_xxs24_224 coat_lite_tiny coatnet_nano_rw_224 convit_tiny convmixer_768_32 convnext_atto cpubone_nano "
    "cs3darknet_s cspnext_tiny deit_tiny_distilled_patch16_224 densenet121 dla46_c dpn48b edgenext_xx_small "
    "efficientformer_l1 efficientformerv2_s0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw "
    "eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnet_050 "
    "hardcorenas_a hgnetv2_b0 hiera_tiny_224 hieradet_small hrnet_w18_small iformer_t inception_next_atto "
    "inception_resnet_v2 inception_v3 inception_v4 lambda_resnet26t lcnet_035 lcnetv2_small legacy_seresnet18 "
    "legacy_xception levit_128s lowformer_b0 mambaout_femto maxvit_tiny_tf_224 mixer_s32_224 mobilevit_xxs "
    "mvitv2_tiny naflexvit_base_patch16_gap nest_tiny nextvit_small nf_regnet_b0 pit_ti_224 poolformer_s12 pvt_v2_b0 "
    "qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d resnetv2_18 "
    "rexnet_100 samvit_base_patch16_224 selecsls42 shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_s3_tiny_224 "
    "swinv2_cr_tiny_224 tiny_vit_5m_224 tinynet_e tresnet_m twins_svt_small visformer_tiny "
    "vit_relpos_small_patch16_224 vit_tiny_r_s16_p8_224"
)
LONG = words(
    "beit_base_patch16_224 crossvit_9_240 davit_tiny deepseek_vit_412m mobilenetv5_300m nasnetalarge "
    "pit_ti_distilled_224 pnasnet5large sequencer2d_s tnt_s_patch16_224 twins_pcpvt_small vitamin_small_224 "
    "volo_d1_224 xception41 xcit_nano_12_p16_224"
)
# What cannot be evaluated, and what the sentence has to say of it.
REFUSED = {
    "csatv2": r"where the maps of .* lie in the image cannot be followed; name a layer",  # a cosine transform
    "botnet26t_256": r"does not accept images of 224 x 224",  # attention with positions for maps of 256 / 32
    "halonet26t": r"does not accept images of 224 x 224",  # blocks of 8 divide the maps of 256, not those of 224
    "swinv2_tiny_window8_256": r"does not accept images of 224 x 224 .*256",
}

SLOW = [*TORCHVISION[::2], *(f"timm/{name}" for name in TIMM[::16])]  # a sample, to save minutes
ALL = [*torchvision.models.list_models(module=torchvision.models), *(f"timm/{name}" for name in TIMM + LONG)]
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else pytest.mark.sweep) for name in ALL]


def timm_version() -> tuple[int, ...]:
    return tuple(map(int, timm.__version__.split(".")[:3]))


def create(name: str, **more: Any) -> Any:
    """A network of random weights; those of the names with a slash are timm's."""
    if name.startswith("timm/"):
        name = name.removeprefix("timm/")
        if timm_version() < (1, 0, 31) and not timm.is_model(name):
            pytest.skip(f"timm {timm.__version__} does not have {name} yet")
        return timm.create_model(name, **more).eval()
    if name in ("googlenet", "inception_v3"):
        more |= {"init_weights": False}
    return torchvision.models.get_model(name, weights=None, **more).eval()


def outline(name: str) -> Any:
    if name.startswith("regnet"):  # draws its weights in a way that the meta device has not
        if not name.endswith(("_400mf", "_800mf", "1_6gf")):
            pytest.skip("it cannot be built on the meta device, and is large")
        return create(name)
    if name == "timm/efficientvit_b0":  # sets autocast, which torch 2.4 cannot do on the meta device
        return create(name)
    with torch.device("meta"):
        return create(name)


def device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


@pytest.mark.parametrize("name", NAMES)
def test_every_family_has_a_target_layer(name: str) -> None:
    net = outline(name)
    classifier = find_classifier(net, name)
    with torch.no_grad():
        maps, extras = classifier.forward_features(torch.zeros(2, 3, 224, 224, device=device(net)))
    assert maps.dim() == 4
    assert len(maps) == 2
    assert maps.shape[2] == maps.shape[3] > 1
    leaf = maps.detach().requires_grad_()
    logits = classifier.forward_head(leaf, extras)
    count = getattr(net, "num_classes", 1000)
    assert logits.shape == (2, count or logits.shape[1])  # 0 for those that come without a classifier
    # Whatever the layer is, the scores must come from it: a branch that ends there would have no gradient.
    assert torch.autograd.grad(logits.sum(), leaf, allow_unused=True)[0] is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_evaluated_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]) as refusal:
        find_classifier(outline(f"timm/{name}"), f"timm/{name}")
    assert_sentence(refusal, f"timm/{name}")


def assert_sentence(refusal: "pytest.ExceptionInfo[InputError]", name: str) -> None:
    text = str(refusal.value)
    assert name in text
    assert "\n" not in text
    assert "()" not in text  # a reason that is none
    assert "None" not in text  # a name that is none


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("name", "layer", "maps", "pooled"),
    [
        # Simonyan and Zisserman, configuration D: the ReLU of conv5_3, of 224 / 2^4; 29th in torchvision's list.
        ("vgg16", "features.29", (512, 14), False),
        ("alexnet", "features.11", (256, 13), False),  # the ReLU of conv5, before pool5
        ("resnet50", "layer4", (2048, 7), True),
        ("swin_t", "norm", (768, 7), True),
        ("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", (768, 14), False),  # 224 / 16 patches
        # Iandola et al., Table 1: conv10 of 13 x 13 maps, a class each; and its ReLU.
        ("squeezenet1_0", "classifier.2", (1000, 13), True),
        ("convnext_tiny", "features.7", (768, 7), False),  # a norm stands between pooling and linear layer
        ("mobilenet_v2", "features.18", (1280, 7), True),
        ("timm/vit_tiny_patch16_224", "blocks.11.norm1", (192, 14), False),
        ("timm/resnet10t", "layer4", (512, 7), True),
        ("timm/vgg11", "features.19", (512, 14), False),  # its fully connected layers are convolutions to 1 x 1
    ],
)
def test_target_layers_known_by_hand(name: str, layer: str, maps: tuple[int, int], pooled: bool) -> None:
    net = outline(name)
    found = find_classifier(net, name)
    with torch.no_grad():
        features = found.forward_features(torch.zeros(1, 3, 224, 224, device=device(net)))[0]
    assert features.shape == (1, maps[0], maps[1], maps[1])
    assert isinstance(found, GapClassifier) == pooled
    assert (found.unsupported_reason is None) == pooled
    named = find_classifier(net, name, layer)
    assert isinstance(named, GapClassifier) == pooled
    assert [n.target for n in named.trunk.graph.nodes] == [n.target for n in found.trunk.graph.nodes]


def vit() -> nn.Module:
    return torchvision.models.VisionTransformer(224, 56, 3, 2, 16, 32, num_classes=5)


def densenet() -> nn.Module:
    return torchvision.models.DenseNet(8, (2, 2, 2), 16, num_classes=10)


def mixer() -> nn.Module:
    return MlpMixer(num_classes=10, img_size=224, patch_size=32, num_blocks=2, embed_dim=32)


def convnext() -> nn.Module:
    return ConvNeXt(num_classes=10, depths=(1, 1, 1, 2), dims=(8, 16, 24, 32))


def efficientformer() -> nn.Module:
    return EfficientFormer(depths=(1, 1, 1, 3), embed_dims=(16, 16, 32, 48), num_vit=1, num_classes=10)


def mvit() -> nn.Module:
    return MultiScaleVit(MultiScaleVitCfg((1, 1, 1, 1), embed_dim=24, num_heads=1, use_cls_token=True), num_classes=10)


# Small ones of every kind, and layers whose output is overwritten later, skipped past, or laid out in another way.
SMALL: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "alexnet": (partial(create, "alexnet"), ("features.0", "features.1", "features.10")),
    "squeezenet": (partial(create, "squeezenet1_1"), ("features.12", "features.12.expand3x3", "classifier.1")),
    "resnet": (partial(create, "resnet18"), ("layer4", "layer3.1.bn1", "layer3.1.bn2", "layer2.0.downsample")),
    "timm resnet": (partial(create, "timm/resnet10t"), ("layer3", "layer4.0.conv1", "layer4.0.bn1", "layer4.0.bn2")),
    "densenet": (densenet, ("features.denseblock3", "features.transition2.norm", "features.norm5")),
    "mobilenet": (partial(create, "mobilenet_v3_small"), ("features.3", "features.11.block.1.0", "features.12.1")),
    "convnext": (convnext, ("stages.2", "stages.3.blocks.0.conv_dw", "stages.3.blocks.0.norm")),
    "swin": (
        partial(create, "timm/swin_tiny_patch4_window7_224", depths=(1, 1, 1, 2), embed_dim=24),
        ("layers.3", "layers.3.blocks.1.norm2", "layers.1"),
    ),
    "timm vit": (
        partial(create, "timm/vit_tiny_patch16_224", depth=3),
        ("blocks.2.norm1", "blocks.1", "blocks.0.attn", "patch_embed"),
    ),
    "vit": (
        vit,
        (
            "encoder.layers.encoder_layer_2.ln_1",
            "encoder.layers.encoder_layer_1.ln_2",
            "encoder.layers.encoder_layer_1",
            "conv_proj",
        ),
    ),
    "cait": (partial(create, "timm/cait_xxs24_224", depth=2), ("blocks.1", "blocks_token_only.0.norm1")),
    "mixer": (mixer, ("blocks.1", "blocks.0.norm2", "stem")),
    "efficientformer": (efficientformer, ("stages.2", "stages.3.blocks.0")),
    "mobilevit": (partial(create, "timm/mobilevit_xxs"), ("stages.3", "final_conv")),
}


def randomized(net: nn.Module) -> nn.Module:
    """Fresh normalization hides that it is left out, and torchvision's transformers begin with scores of 0."""
    for module in net.eval().requires_grad_(False).modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.2, 0.2)
        if isinstance(module, nn.Linear) and not module.weight.any():
            module.weight.normal_()
    return net


@pytest.fixture(scope="module")
def networks() -> Callable[[str], nn.Module]:
    built: dict[str, nn.Module] = {}

    def get(name: str) -> nn.Module:
        if name not in built:
            torch.manual_seed(0)
            built[name] = randomized(SMALL[name][0]())
        return built[name]

    return get


def noise(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def hooked(net: nn.Module, layer: str, chosen: int) -> tuple[Tensor, Tensor]:
    """A layer's output, and the gradient of a class score with respect to it, in the plain network."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1].clone()  # what follows may overwrite it

    hook = net.get_submodule(layer).register_forward_hook(keep)
    try:
        scores = net(noise())
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(scores[:, chosen].sum(), kept[-1])
    return kept[-1].detach(), gradient


def as_maps(output: Tensor, like: Tensor) -> Tensor:
    """A layer's own output in the shape of maps, whatever its layout."""
    if output.shape == like.shape:
        return output
    if output.dim() == 4:
        return output.permute(0, 3, 1, 2)
    patches = output[:, output.shape[1] - like.shape[2] * like.shape[3] :]
    return patches.transpose(1, 2).reshape(like.shape)


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert expected.abs().max() > 0


def run(classifier: Classifier, chosen: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, the gradient with respect to them, and scores; what is handed to the upper part must stay as it is."""
    with torch.no_grad():
        maps, extras = classifier.forward_features(noise())
    leaf = maps.detach().clone().requires_grad_()
    scores = classifier.forward_head(leaf, extras)
    assert torch.equal(leaf, maps)
    (gradient,) = torch.autograd.grad(scores[:, chosen].sum(), leaf)
    with torch.no_grad():
        close(classifier.forward_head(maps, extras), scores)  # a second time, with the same
    return maps, gradient, scores.detach()


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", SMALL)
def test_a_network_cut_in_two_is_the_network(name: str, networks: Callable[[str], nn.Module]) -> None:
    net = networks(name)
    classifier = find_classifier(net, name)
    _, gradient, scores = run(classifier, 3)
    close(scores, net(noise()))
    own = {parameter.data_ptr() for parameter in net.parameters()}  # a copy would double the memory
    assert {parameter.data_ptr() for parameter in classifier.parameters()} <= own
    # All places matter: behind a layer with dead places nothing is localized.
    assert (gradient.abs().sum(1) > 0).float().mean() > 0.9


@pytest.mark.sample(3)
@pytest.mark.parametrize(("name", "layer"), [(name, layer) for name in SMALL for layer in SMALL[name][1]])
def test_a_named_layer_is_the_module_of_that_name(name: str, layer: str, networks: Callable[[str], nn.Module]) -> None:
    net = networks(name)
    classifier = find_classifier(net, name, layer)
    maps, gradient, scores = run(classifier, 3)
    close(scores, net(noise()))
    output, expected = hooked(net, layer, 3)
    close(maps, as_maps(output, maps))
    close(gradient, as_maps(expected, maps))
    assert classifier.layer == layer or isinstance(classifier, GapClassifier)


@pytest.mark.parametrize("name", ["vit", "timm vit", "resnet", "mixer"])
@pytest.mark.slow
def test_the_found_layer_can_be_named(name: str, networks: Callable[[str], nn.Module]) -> None:
    found = find_classifier(networks(name), name)
    again = find_classifier(networks(name), name, found.layer)
    assert type(again) is type(found)
    for one, other in zip(run(found, 1), run(again, 1), strict=True):
        close(one, other)


CLASS_TOKEN = {
    "convit": partial(create, "timm/convit_tiny", depth=3, local_up_to_layer=2),
    "deit, distilled": partial(create, "timm/deit_tiny_distilled_patch16_224", depth=2),
    "vit, registers": partial(create, "timm/vit_tiny_patch16_224", depth=2, reg_tokens=4),
    "mvit": mvit,
    "pit": partial(create, "timm/pit_ti_224"),
    "coat": partial(create, "timm/coat_lite_tiny", serial_depths=(1, 1, 1, 1)),
}


@pytest.mark.parametrize("name", CLASS_TOKEN)
@pytest.mark.sample(2)
def test_all_patches_reach_a_class_token(name: str) -> None:
    # Patches behind the last attention do not reach the scores; gradients with respect to them would all be 0.
    torch.manual_seed(0)
    net = randomized(CLASS_TOKEN[name]())
    classifier = find_classifier(net, name)
    with torch.no_grad():
        maps, extras = classifier.forward_features(noise())
    leaf = maps.detach().requires_grad_()
    scores = classifier.forward_head(leaf, extras)
    close(scores.detach(), net(noise()))
    (gradient,) = torch.autograd.grad(scores[:, 3].sum(), leaf, allow_unused=True)
    assert gradient is not None
    assert (gradient.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0"])
@pytest.mark.slow
def test_a_network_can_be_looked_at_again(name: str) -> None:
    # These keep what they once computed of their attention's biases; a tracer's stand-ins must not stay there.
    net = randomized(create(f"timm/{name}"))
    first, second = (find_classifier(net, name)(noise(1)) for _ in range(2))
    close(first, net(noise(1)))
    close(second, first)


class Behind(nn.Module):
    """A convolution, something that gives back the very same memory, and an activation that overwrites it."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Conv2d(3, 6, 32, 32), nn.Linear(6, 4), between
        self.activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.activation(self.between(self.first(images))).flatten(2).mean(2))


@pytest.mark.parametrize(
    "between",
    [nn.Identity(), nn.Dropout(0.5), lambda x: x.flatten(2), lambda x: x.view(-1, 6, 49), lambda x: x[:, :]],
    ids=["identity", "dropout", "flatten", "view", "slice"],
)
def test_what_is_overwritten_through_another_name_stays_as_it_is(between: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net = Behind(between).eval().requires_grad_(False)
    maps, gradient, scores = run(find_classifier(net, "x", "first"), 2)
    assert maps.min() < 0
    close(scores, net(noise()))
    output, expected = hooked(net, "first", 2)
    close(maps, output)
    close(gradient, expected)


class Optional(nn.Module):
    """A forward with arguments beside the images, as many have it; evaluation leaves them out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 32, 32), nn.Linear(6, 4)


class Scaled(Optional):
    def forward(self, images: Tensor, scale: float = 2.0) -> Tensor:
        return self.last((self.first(images).relu() * scale).mean((2, 3)))


class Masked(Optional):
    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        maps = self.first(images)
        return self.last((maps if mask is None else maps * mask).mean((2, 3)))


class Shifted(Optional):
    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        maps = self.first(images)
        if mask is not None:
            maps = maps + 1  # nothing here fails if the mask is missing
        return self.last(maps.mean((2, 3)))


class Switched(Optional):
    def forward(self, images: Tensor, only_maps: bool = False) -> Tensor:
        maps = self.first(images)
        return maps if only_maps else self.last(maps.mean((2, 3)))


@pytest.mark.parametrize("kind", [Scaled, Masked, Shifted, Switched])
def test_arguments_that_have_defaults_keep_them(kind: type[Optional]) -> None:
    torch.manual_seed(0)
    net = kind().eval().requires_grad_(False)
    classifier = find_classifier(net, "x")
    assert isinstance(classifier, GapClassifier)
    close(classifier(noise()), net(noise()))


class Loose(nn.Module):
    """Whatever a forward may do that no classifier of images does."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.pool, self.last = nn.Conv2d(3, 6, 32, 32), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)
        self.small, self.unused = nn.Linear(3 * 32 * 32, 4), nn.Conv2d(3, 3, 1)
        self.does = forward

    def forward(self, images: Tensor) -> Any:
        return self.does(self, images)

    def scores(self, images: Tensor) -> Tensor:
        return self.last(self.pool(self.first(images)).flatten(1))


@pytest.mark.parametrize(
    ("does", "layer", "says"),
    [
        (Loose.scores, "nope", r"x has no layer nope; its children are first, pool, last"),
        (Loose.scores, "firs", r"no layer firs;"),
        (Loose.scores, "unused", r"no layer unused"),
        (Loose.scores, "pool", r"output of pool is 6 x 1 x 1 for an image, not feature maps"),
        (Loose.scores, "last", r"output of last is 4 for an image, not feature maps"),
        (lambda net, x: (net.scores(x), net.scores(x)), None, r"several outputs \(0: 4 .*not a row .*with --output"),
        (lambda net, x: net.first(x), None, r"returns 6 x 7 x 7 for an image, not a row of class scores"),
        (lambda net, x: net.scores(x)[0], None, r"returns 4 for two images, not a row of class scores"),
        (lambda net, x: 3, None, r"returns something other than a tensor of the images, not a row of class scores"),
        (lambda net, x: net.small(x.flatten(1)), None, r"does not accept images of 224 x 224 \(.*(3072|150528)"),
        (lambda net, x: net.last(x.mean((2, 3)).repeat(1, 2)), None, r"x: .*name"),
    ],
)
def test_what_is_no_classifier_of_images(does: Callable[[Any, Tensor], Any], layer: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        find_classifier(Loose(does).eval(), "x", layer)
    assert_sentence(refusal, "x")


class Deep(nn.Module):
    """Three convolutions of stride 2, pooling, and a linear layer."""

    def __init__(self, traceable: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3)))
        self.fc, self.traceable = nn.Linear(3, 4), traceable

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(images)
        if not self.traceable and maps.shape[2] == 0:
            return maps
        return self.fc(maps.mean((2, 3)))


def test_maps_of_a_single_place_are_the_reason_why_there_is_no_cam() -> None:
    reason = find_classifier(Deep().eval(), "net", side=8).unsupported_reason
    assert reason is not None
    assert reason.startswith("the maps of body.2 are 1 x 1 for images of 8 x 8; use larger images")
    assert find_classifier(Deep().eval(), "net", side=16).unsupported_reason is None


def test_a_convolution_as_large_as_the_maps_is_no_matter_of_the_size_of_images() -> None:
    whole = nn.Sequential(
        nn.Conv2d(3, 5, 8, 8), nn.ReLU(), nn.Conv2d(5, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(5, 4)
    )
    reason = find_classifier(whole.eval(), "net", side=16).unsupported_reason
    assert reason is not None
    assert reason.startswith("class activation maps need class scores that are linear")


@pytest.mark.parametrize("traceable", [True, False])
def test_scores_that_are_not_finite_are_no_matter_of_the_layer(traceable: bool) -> None:
    net = Deep(traceable).eval()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e30)
    with pytest.raises(NotFiniteError, match="net: the class scores of random images are not finite, because the wei"):
        find_classifier(net, "net", side=32)


class Crowded(nn.Module):
    """A network whose scores of an image depend on the other images, as rounding of huge numbers does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 3, 4, 4), nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc((self.body(images * images.sum(0, keepdim=True))).mean((2, 3)))


def test_scores_that_depend_on_the_number_of_images_are_no_matter_of_the_layer() -> None:
    with pytest.raises(NotFiniteError, match="net: the class scores of an image depend on the images beside it"):
        find_classifier(Crowded().eval(), "net", side=32)
