"""All code that runs a network sets torch's switches, in the forward pass and in that of the gradients."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_switches import arithmetic_of, lower_everything, read_switches, restored_switches

import wsol
from wsol.errors import InputError
from wsol.evaluation.evaluate import Evaluation
from wsol.methods import METHODS, find_method, forward
from wsol.models import Model, Preprocessing, find_classifier, load_model
from wsol.models.layer_probe import LayerProbe
from wsol.runs.signature import Signature
from wsol.visualization.predictor import PhotoPredictor


class Watch:
    """Keeps what the switches say whenever a layer runs, by layer and direction."""

    def __init__(self, network: nn.Module) -> None:
        self.seen: dict[str, set[str]] = {}
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(lambda _, __, output, name=name: self._record(name, output))

    def _record(self, name: str, output: torch.Tensor) -> None:
        half = " bfloat16" if torch.is_autocast_enabled("cpu") else ""
        self.note(f"{name} forward", half)
        if output.requires_grad:
            output.register_hook(lambda _: self.note(f"{name} backward"))

    def note(self, key: str, suffix: str = "") -> None:
        self.seen.setdefault(key, set()).add(arithmetic_of(read_switches()) + suffix)


class Deep(nn.Module):
    """Convolutions, global average pooling and two linear layers, so that gradients pass through layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 9, 8, 4), nn.Conv2d(8, 12, 3, 2, 1)
        self.hidden, self.fc = nn.Linear(12, 10), nn.Linear(10, 7)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        maps = self.last(self.stem(images).relu()).relu()
        return self.fc(self.hidden(maps.mean((2, 3))).relu())


@pytest.fixture(autouse=True)
def before() -> Iterator[dict[str, Any]]:
    """Settings of a host program, which are the same afterwards."""
    with restored_switches():
        lower_everything()
        set_by_host = read_switches()
        yield set_by_host
        assert read_switches() == set_by_host


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Deep().eval()


@pytest.fixture
def watch(network: nn.Module) -> Watch:
    return Watch(network)


@pytest.fixture
def model(network: nn.Module, watch: Watch) -> Model:
    return Model("deep", find_classifier(network, "deep"), Preprocessing(), "random", "0" * 64, 7)


def evaluate(model: Model, folder: Path, **options: Any) -> Evaluation:
    return wsol.evaluate(model, dataset="csv", data_root=folder, limit=2, **options)


FORWARD = {"stem forward", "last forward", "hidden forward", "fc forward"}


def test_the_network_is_measured_in_float32(model: Model, watch: Watch) -> None:
    probe = LayerProbe(model.network, 224)
    probe.has_constant_gradient()
    probe.find_earlier_layer()
    model.check_side(256)
    assert watch.seen.keys() >= FORWARD
    assert set().union(*watch.seen.values()) == {"ieee"}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("layercam", "smoothgradcam++", "scorecam", "fullgrad")]


@pytest.mark.parametrize("method", ["gradcam", "backprop", *SLOW])
def test_evaluation(method: str, model: Model, watch: Watch, csv_data: Path) -> None:
    evaluate(model, csv_data, method=method)
    assert watch.seen.keys() >= FORWARD
    if METHODS.get(method).needs == "gradients":
        assert watch.seen.keys() >= {"hidden backward", "fc backward"}
    if METHODS.get(method).needs == "image gradients":
        assert watch.seen.keys() >= {"stem backward"}
    assert set().union(*watch.seen.values()) == {"ieee"}


def test_a_method_by_itself(model: Model, watch: Watch) -> None:
    passed = forward(model.network, torch.randn(2, 3, 224, 224))
    find_method("gradcam").maps(passed, torch.tensor([[0, 1], [2, 3]]))
    assert watch.seen.keys() >= {*FORWARD, "fc backward"}
    assert set().union(*watch.seen.values()) == {"ieee"}


def test_evaluation_in_other_precisions(
    model: Model, watch: Watch, csv_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = evaluate(model, csv_data, method="gradcam", out=tmp_path / "float32")
    with pytest.raises(InputError, match=r"^tf32 is a format of GPUs, and the device is cpu; leave out --precision$"):
        evaluate(model, csv_data, method="gradcam", precision="tf32")
    with pytest.raises(InputError, match=r"^there is no precision 'float16'; give float32, tf32, bfloat16$"):
        evaluate(model, csv_data, method="gradcam", precision="float16")
    watch.seen.clear()
    evaluate(model, csv_data, method="gradcam", precision="bfloat16")
    assert (watch.seen["stem forward"], watch.seen["last forward"]) == ({"ieee bfloat16"}, {"ieee bfloat16"})
    assert watch.seen["hidden forward"] == watch.seen["hidden backward"] == watch.seen["fc backward"] == {"ieee"}
    watch.seen.clear()
    monkeypatch.setattr("wsol.evaluation.plan.check_precision", lambda *_: None)  # as on a GPU
    found = evaluate(model, csv_data, method="gradcam", precision="tf32", out=tmp_path / "tf32")
    assert (watch.seen["stem forward"], watch.seen["last forward"]) == ({"tf32"}, {"tf32"})
    assert watch.seen["hidden forward"] == watch.seen["hidden backward"] == watch.seen["fc backward"] == {"ieee"}
    with pytest.raises(InputError, match="fullgrad runs the whole network in float32; leave out --precision"):
        evaluate(model, csv_data, method="fullgrad", precision="tf32")

    ours, theirs = Signature.parse(found.signature), Signature.parse(plain.signature)
    assert ours == replace(theirs, model=f"{theirs.model}+tf32")
    assert found.metadata.provenance.network is not None
    assert found.metadata.provenance.network.precision == "tf32"
    folders = [tmp_path / "float32", tmp_path / "tf32"]
    assert [*wsol.compare(folders).runs["model"]] == [theirs.model, ours.model]
    assert f"{theirs.model}+tf32" in wsol.leaderboard(*folders).csv


def test_a_network_that_fails(model: Model, csv_data: Path, before: dict[str, Any]) -> None:
    def fail(*_: object) -> None:
        assert arithmetic_of(read_switches()) == "ieee"
        raise ZeroDivisionError

    model.network.trunk.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        evaluate(model, csv_data, method="gradcam")
    assert read_switches() == before
    with pytest.raises(ZeroDivisionError):
        forward(model.network, torch.zeros(1, 3, 224, 224))
    assert read_switches() == before


def test_explaining(model: Model, watch: Watch) -> None:
    pixels = np.zeros((1, 224, 224, 3), np.uint8)
    PhotoPredictor([model], ["gradcam", "backprop"]).predict([pixels], (), "photo")
    assert watch.seen.keys() >= {*FORWARD, "stem backward", "fc backward"}
    assert set().union(*watch.seen.values()) == {"ieee"}


def test_a_file_that_sets_the_switches_when_it_is_loaded(csv_data: Path) -> None:
    factory = csv_data / "net.py"
    factory.write_text(
        "from pathlib import Path\n"
        "import torch\n"
        "from torch import nn\n"
        "def look(*_):\n"
        "    assert not torch.backends.cudnn.allow_tf32\n"
        "    assert torch.get_float32_matmul_precision() == 'highest'\n"
        "    Path(__file__).with_name('seen').touch()\n"
        "def net():\n"
        "    torch.set_float32_matmul_precision('high')\n"
        "    torch.backends.cudnn.allow_tf32 = True\n"
        "    first = nn.Conv2d(3, 4, 9, 16)\n"
        "    first.register_forward_hook(look)\n"
        "    return nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))\n"
    )
    model = load_model(f"{factory}:net")
    (csv_data / "seen").unlink()
    evaluate(model, csv_data)
    assert (csv_data / "seen").exists()
    assert torch.get_float32_matmul_precision() == "high"  # the file speaks for the whole program
    lower_everything()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.slow
@pytest.mark.parametrize("method", ["cam", "gradcam", "gradcam++", "layercam", "eigencam"])
def test_a_gpu_has_the_metrics_of_the_processor(method: str, tmp_path: Path) -> None:
    tables, scores = {}, {}
    for device, precision in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "tf32")):
        options: dict[str, Any] = {"method": method, "limit": 40, "device": device, "precision": precision}
        run = wsol.evaluate("vgg16-gap", out=tmp_path / f"{device}-{precision}", **options)
        tables[device, precision] = [f"{value:.3f}" for value in run.metrics["value"]]
        scores[device, precision] = np.load(tmp_path / f"{device}-{precision}" / "maps.npy")
    assert tables["cuda", "float32"] == tables["cpu", "float32"]
    largest = np.abs(scores["cpu", "float32"]).max()
    off = {key: np.abs(each - scores["cpu", "float32"]).max() / largest for key, each in scores.items()}
    assert off["cuda", "float32"] < 5e-5
    assert off["cuda", "tf32"] > 2 * off["cuda", "float32"]
    again = wsol.evaluate("vgg16-gap", out=tmp_path / "again", method=method, limit=40, device="cuda")
    assert (tmp_path / "again" / "maps.npy").read_bytes() == (tmp_path / "cuda-float32" / "maps.npy").read_bytes()
    assert "+tf32" not in again.signature
