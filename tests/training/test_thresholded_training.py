"""A network with thresholded pooling is trained, stored with its threshold, and evaluated with it."""

from pathlib import Path

import pytest
import torch

from wsol.errors import InputError
from wsol.methods import METHODS, find_method, forward
from wsol.methods.base import GradientMethod
from wsol.models import load_model
from wsol.training import Recipe, Stage, train

NAME = "squeezenet1_1-tap:theta=0.3"


@pytest.mark.slow
def test_training_with_another_threshold(tmp_path: Path) -> None:
    recipe = Recipe((Stage(1, 64, 4),), learning_rate=0.01)
    args = {"images": "8", "size": "64", "object_scale": "0.6"}
    first = train(NAME, "synthetic", recipe, dataset_args=args, device="cpu", out=tmp_path / "first")
    assert first is not None
    model = load_model(None, first)
    assert (model.name, model.network.pooling, model.network.theta) == (NAME, "thresholded", 0.3)
    assert model.signature.startswith(f"{NAME}:")
    for name in ("squeezenet1_1-tap", "squeezenet1_1-gap"):
        with pytest.raises(InputError, match=f"was trained as {NAME}, not {name}"):
            load_model(name, first)

    passed = forward(model.network, torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    classes = torch.tensor([[0, 3], [5, 1]])
    gradients = [name for name in METHODS.names() if isinstance(METHODS.get(name), GradientMethod)]
    for name in ("cam", "nwc", "ablationcam", *gradients):
        method = find_method(name)
        assert method.unsupported_reason(model.network) is None
        assert method.maps(passed, classes).isfinite().all()

    more = {"weights": first, "freeze": "features", "dataset_args": args, "device": "cpu"}
    second = train(NAME, "synthetic", recipe, out=tmp_path / "second", **more)
    assert second is not None
    frozen = load_model(NAME, second)
    kept, trained = (each.network.state_dict() for each in (model, frozen))
    changed = [key for key in kept if not torch.equal(kept[key], trained[key])]
    assert changed
    assert all(key.startswith(("linear.", "head.")) for key in changed)
