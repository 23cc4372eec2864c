"""Networks of any input size are measured and evaluated at the protocol's, by default that of the weights."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import wsol
from wsol.errors import InputError
from wsol.models import Model, Preprocessing, find_architecture, find_classifier, load_model
from wsol.protocols import find_protocol, find_side

SMALL = """
import torch, torchvision
import torch.nn as nn, torch.nn.functional as F
from wsol.models import Preprocessing

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(3, 24, 8, 8), nn.ReLU()), nn.Linear(24, 7)
    def forward(self, x): return self.fc(F.avg_pool2d(self.body(x), 8).flatten(1))

def small():
    net = Small()
    net.preprocessing = Preprocessing(size=64)
    return net

def unsaid(): return Small()

def vit():
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(160, 16, 2, 2, 16, 32, num_classes=7)
    torch.nn.init.normal_(net.heads.head.weight)
    net.preprocessing = Preprocessing(size=160)
    return net
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(SMALL)
    return str(tmp_path / "nets.py")


@pytest.mark.slow
def test_the_size_of_the_weights_is_the_default(nets: str, csv_data: Path) -> None:
    model = load_model(f"{nets}:vit")
    assert (model.side, model.preprocessing.size) == (160, 160)
    assert model.network.layout.grid == (10, 10)  # patches of 16
    result = wsol.evaluate(model, dataset="csv", data_root=csv_data, device="cpu", method="gradcam")
    assert "size=160" in result.signature
    named = "wsolevaluation:size=160"
    again = wsol.evaluate(model, dataset="csv", data_root=csv_data, device="cpu", method="gradcam", protocol=named)
    assert again.signature == result.signature
    exact = wsol.evaluate(model, dataset="csv", data_root=csv_data, device="cpu", method="gradcam", protocol="exact")
    assert "size=160" in exact.signature
    assert wsol.show(next(csv_data.glob("*.png")), model, method="gradcam") is not None


@pytest.mark.parametrize("loaded", [True, False])
def test_another_size_is_refused_in_a_sentence(nets: str, csv_data: Path, loaded: bool) -> None:
    source: Any = load_model(f"{nets}:vit") if loaded else f"{nets}:vit"
    for protocol in ("wsolevaluation:size=224", "zhou2016"):
        with pytest.raises(InputError, match=r"vit does not accept images of 224 x 224 \(.*(160|101)") as refusal:
            wsol.evaluate(source, dataset="csv", data_root=csv_data, device="cpu", method="gradcam", protocol=protocol)
        assert "\n" not in str(refusal.value)


def test_a_network_of_ones_own(nets: str, csv_data: Path) -> None:
    model = load_model(f"{nets}:small")
    assert (model.side, model.network.layout.grid) == (64, (8, 8))
    result = wsol.evaluate(model, dataset="csv", data_root=csv_data, device="cpu")
    assert "size=64" in result.signature
    with pytest.raises(InputError, match="does not accept images of 224 x 224"):
        load_model(f"{nets}:unsaid")
    assert load_model(f"{nets}:unsaid", side=64).side == 64


@pytest.mark.slow
@pytest.mark.parametrize("side", [224, 384])
def test_positions_of_a_vision_transformer_tell_its_size(side: int) -> None:
    with torch.device("meta"):
        state = torchvision.models.vit_b_16(image_size=side, num_classes=3).state_dict()
        architecture = find_architecture("vit_b_16")
        network = architecture.build(state, None).eval()
    assert architecture.input_size(network) == side
    assert find_classifier(network, "vit_b_16", side=side).layout.grid == (side // 16, side // 16)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("timm/swinv2_tiny_window8_256", 256),
        ("timm/botnet26t_256", 256),
        ("timm/vit_small_patch14_dinov2", 518),
        ("timm/vit_tiny_patch16_384", 384),
    ],
)
@pytest.mark.sample(3)
def test_networks_of_other_sizes(name: str, side: int) -> None:
    architecture = find_architecture(name)
    assert architecture.published_weights()[0].preprocessing.size == side
    with torch.device("meta"):
        network = architecture.build({}, None).eval()
    layout = find_classifier(network, name, side=side).layout
    assert layout.grid[0] == layout.grid[1] > 1


def test_published_weights_name_their_size() -> None:
    offered = {each.name: each for each in find_architecture("vit_b_16").published_weights()}
    assert offered["IMAGENET1K_SWAG_E2E_V1"].preprocessing.size == 384
    assert offered["IMAGENET1K_V1"].preprocessing.size == 224
    # Weights of unknown origin say nothing, whatever the published ones were trained with.
    assert find_architecture("inception_v3").preprocessing().size is None


@pytest.mark.parametrize(
    ("text", "side", "found", "signature"),
    [
        ("wsolevaluation", None, None, "wsolevaluation"),
        ("wsolevaluation", 224, None, "wsolevaluation"),
        ("wsolevaluation", 384, None, "size=384"),
        ("wsolevaluation:step=0.01", 384, None, "size=384"),
        ("wsolevaluation:size=300", 384, 300, "size=300"),
        ("exact", 384, None, "size=384"),
        ("exact:size=224", 384, 224, "exact"),
        ("zhou2016", 384, 224, "zhou2016"),
    ],
)
def test_the_protocol_has_the_last_word(text: str, side: int | None, found: int | None, signature: str) -> None:
    assert find_side(text) == found
    protocol = find_protocol(text, side)
    assert signature in protocol.signature
    assert protocol.view.crop == (found or side or 224)
    assert find_protocol(protocol.signature) == protocol


def test_several_networks_of_one_figure_share_a_size(nets: str, tiny_model: Model, csv_data: Path) -> None:
    photo = next(csv_data.glob("*.png"))
    models = [load_model(f"{nets}:vit"), tiny_model]
    with pytest.raises(InputError, match=r"take images of 160 x 160 and 224 x 224; give all one size, such as"):
        wsol.show(photo, models, method="gradcam")
    assert wsol.show(photo, models, method="gradcam", protocol="wsolevaluation:size=160") is not None


@pytest.mark.slow
def test_timms_networks_name_their_size(tmp_path: Path) -> None:
    save_file(timm.create_model("vit_tiny_patch16_384", depth=12).state_dict(), tmp_path / "vit.safetensors")
    model = load_model("timm/vit_tiny_patch16_384", tmp_path / "vit.safetensors")
    assert (model.side, model.network.layout.grid) == (384, (24, 24))


def test_sizes_out_of_range() -> None:
    for size in (0, 5000):
        with pytest.raises(ValueError, match="size"):
            Preprocessing(size=size)
    net = nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model = Model("net", find_classifier(net, "net"), Preprocessing(), "random", "0" * 64, 2)
    model.check_side(None)
    model.check_side(64)
    with pytest.raises(InputError, match="net does not accept images of 4 x 4"):
        model.check_side(4)
