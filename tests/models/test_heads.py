"""A network with the head of a training method is named after both, trained, stored, and built again from its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models import complete_name, find_architecture, load_model
from wsol.models.heads.base import HEADS, Head, find_features
from wsol.training import Recipe, Stage, train
from wsol.training.methods import TRAIN_METHODS, TrainMethod

ARGS = {"images": "8", "size": "32", "object_scale": "0.6"}


class Headed(nn.Module):
    """Features, one convolution to class maps, and average pooling; a part of it is for training alone."""

    def __init__(self, features: nn.Module, channels: int, classes: int, for_training: bool) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Conv2d(channels, classes, 1)
        self.extra = nn.Linear(1, 1) if for_training else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        scores: Tensor = self.classifier(self.features(images)).mean((2, 3))
        if labels is None:
            return scores
        assert self.extra is not None
        return scores + self.extra(scores.mean(1, keepdim=True))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class OneConvolution(Head):
        width: int = 3

        def attach(self, network: nn.Module, model: str, classes: int, for_training: bool) -> nn.Module:
            return Headed(*find_features(network, model), classes, for_training)

        def count_classes(self, state: Mapping[str, Tensor]) -> int | None:
            return len(state["classifier.weight"]) if "classifier.weight" in state else None

        def export_state(self, network: nn.Module) -> dict[str, Tensor]:
            return {key: value for key, value in network.state_dict().items() if not key.startswith("extra.")}

    @dataclass(frozen=True)
    class WithOneConvolution(TrainMethod):
        """Trains the head."""

        map_method = "gradcam"
        width: int = 3

        def name_network(self, model: str) -> str:
            return f"{model}+one-convolution:width={self.width}"

        def compute_loss(self, run, images, labels, criterion):  # type: ignore[no-untyped-def]  # as the base class
            scores = run(images, labels).float()
            return criterion(scores, labels), scores

    HEADS.names()
    TRAIN_METHODS.names()
    for registry, entry in ((HEADS, OneConvolution), (TRAIN_METHODS, WithOneConvolution)):
        for attribute in ("_entries", "_sources"):
            monkeypatch.setattr(registry, attribute, dict(getattr(registry, attribute)))
        registry.register("one-convolution")(entry)


def test_names() -> None:
    architecture = find_architecture("squeezenet1_1-tap+one-convolution:width=5")
    assert complete_name("any", architecture) == "squeezenet1_1-tap:theta=0.1+one-convolution:width=5"
    with pytest.raises(InputError, match="unknown setting 'depth=5'; it takes width"):
        find_architecture("squeezenet1_1-gap+one-convolution:depth=5")
    with pytest.raises(InputError, match=r"unknown model 'squeezenet1_1-gap\+no-head'"):
        find_architecture("squeezenet1_1-gap+no-head")


@pytest.mark.parametrize(
    ("name", "channels"),
    [("vgg16-gap", 512), ("googlenet-gap", 832), ("resnet18", 512), ("resnet18-gap", 512)],
)
def test_features_end_before_the_added_convolution(name: str, channels: int) -> None:
    network = find_architecture(name).build_for_training(5, from_scratch=False)
    features, found = find_features(network, name)
    assert found == channels
    own = {tensor.data_ptr() for tensor in network.parameters()}
    assert {tensor.data_ptr() for tensor in features.parameters()} < own


@pytest.mark.slow
def test_training_stores_the_head_and_what_it_needs_in_evaluation(tmp_path: Path) -> None:
    def start(**more: object) -> Path:
        recipe = Recipe((Stage(1, 32, 4),))
        args = {"dataset_args": ARGS, "device": "cpu", "workers": 1, "validation": False, **more}
        path = train("resnet18-gap", "synthetic", recipe, map_size=28, **args)  # type: ignore[arg-type]  # a few options
        assert path is not None
        return path

    first = start(out=tmp_path / "first", train_method="one-convolution:width=4")
    model = load_model(None, first)
    assert model.name == "resnet18-gap+one-convolution:width=4"
    assert model.signature == f"{model.name}:{model.sha256[:8]}"
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    stored = load_model(model.name, first).network
    assert torch.equal(model.network(images), stored(images))
    with pytest.raises(InputError, match=r"was trained as resnet18-gap\+one-convolution:width=4, not resnet18-gap;"):
        load_model("resnet18-gap", first)
    with pytest.raises(InputError, match="belongs to a training with train_method = one-convolution:width=4, not cam"):
        start(out=tmp_path / "first")
    assert start(out=tmp_path / "first", train_method="one-convolution:width=4") == first

    # A training goes on from the features of weights with another head, or none.
    plain = start(out=tmp_path / "plain", weights=first)
    assert load_model(None, plain).signature.startswith("resnet18-gap:")
    start(out=tmp_path / "again", weights=plain, train_method="one-convolution")
    with pytest.raises(InputError, match="one-convolution changes images or layers in every step"):
        start(out=tmp_path / "frozen", weights=plain, train_method="one-convolution", freeze="features")


def test_unknown_training_methods_and_settings() -> None:
    with pytest.raises(InputError, match=r"unknown training method 'one-convolutio'; did you mean one-convolution\?"):
        train("resnet18-gap", train_method="one-convolutio", out="never")
    with pytest.raises(InputError, match="training method cam: unknown setting 'rate=1'; it takes none"):
        train("resnet18-gap", train_method="cam:rate=1", out="never")
