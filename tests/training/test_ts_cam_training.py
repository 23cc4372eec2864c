"""TS-CAM: a transformer learns to classify its patches; forward pass, loss and map against the paper's formulas."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import find_architecture, find_classifier, load_model
from wsol.models.heads.ts_cam import TSCAMHead
from wsol.training import Recipe, Stage, train
from wsol.training.methods import find_train_method

CODE = """
from torchvision.models import VisionTransformer


def make():
    return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3)
"""


def make_network(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    base = VisionTransformer(32, 8, 2, 2, 16, 32)
    network = TSCAMHead().attach(base, "vit", classes, True)
    for parameter in network.parameters():  # all maps and biases matter
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def compute_by_hand(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return class maps and the attention of the class token, place by place."""
    body, attentions, tokens = network.features.body, [], []

    def record(module: nn.MultiheadAttention, inputs: tuple[Tensor, ...], _: object) -> None:
        attentions.append(
            functional.multi_head_attention_forward(
                *(each.transpose(0, 1) for each in inputs[:3]),
                module.embed_dim,
                module.num_heads,
                module.in_proj_weight,
                module.in_proj_bias,
                None,
                None,
                False,
                0.0,
                module.out_proj.weight,
                module.out_proj.bias,
                average_attn_weights=True,
            )[1]
        )

    hooks = [layer.self_attention.register_forward_hook(record) for layer in body.encoder.layers]
    hooks.append(body.encoder.ln.register_forward_hook(lambda _, __, output: tokens.append(output)))
    body(images)
    for hook in hooks:
        hook.remove()
    weight, bias = network.classifier.weight, network.classifier.bias
    n, side = len(images), 4
    maps = bias[None, :, None, None].expand(n, -1, side, side).clone()
    for y in range(side):
        for x in range(side):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < side and 0 <= x + dx < side:
                        token = tokens[0][:, 1 + (y + dy) * side + x + dx]
                        maps[:, :, y, x] += token @ weight[:, :, 1 + dy, 1 + dx].T
    return maps, torch.stack(attentions).mean(0)[:, 0, 1:].reshape(n, side, side)


def test_scores_loss_and_maps_are_those_of_the_paper() -> None:
    network = make_network()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        semantic, attention = compute_by_hand(network, images)
        scores = semantic.mean((2, 3))
    labels = torch.tensor([2, 0])
    loss, logits = find_train_method("ts-cam").compute_loss(network, images, labels, nn.CrossEntropyLoss())
    torch.testing.assert_close(logits.double(), scores, rtol=0, atol=1e-5)
    expected = sum(scores[i].exp().sum().log() - scores[i, labels[i]] for i in range(2)) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)

    classifier = find_classifier(network, "vit", side=32)
    method = find_method("ts-cam")
    assert method.unsupported_reason(classifier) is None
    classes = torch.tensor([[0, 2], [1, 0]])
    maps = method.maps(forward(classifier, images), classes)
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(maps[i, j], semantic[i, classes[i, j]] * attention[i], rtol=0, atol=1e-10)


def test_the_class_token_learns_through_attention_alone() -> None:
    network = make_network()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    body = network.features.body
    network(images).sum().backward()
    assert body.class_token.grad.abs().max() > 0  # patches attend to it
    body.encoder.layers[0].register_forward_hook(lambda _, __, output: output.detach())
    body.zero_grad()
    network(images).sum().backward()
    assert body.class_token.grad is None or not body.class_token.grad.any()
    assert body.encoder.layers[1].mlp[0].weight.grad.abs().max() > 0


def test_other_methods_of_attention_are_refused() -> None:
    classifier = find_classifier(make_network(), "vit", side=32)
    for name in ("attention-rollout", "chefer", "legrad"):
        reason = find_method(name).unsupported_reason(classifier)
        assert reason == "the class scores are not read from the tokens that attend to each other; use another method"
    assert find_method("cam").unsupported_reason(classifier) is None  # the class maps alone


def test_networks_without_a_class_token_are_refused() -> None:
    with pytest.raises(InputError, match="squeezenet1_1 is no vision transformer with a class token"):
        find_architecture("squeezenet1_1+ts-cam").build_for_training(3)


def test_networks_of_timm() -> None:
    timm = pytest.importorskip("timm")
    base = timm.create_model("deit_tiny_distilled_patch16_224", depth=1, img_size=32)  # two tokens before the patches
    network = TSCAMHead().attach(base, "timm/deit", 4, True).eval()
    assert network.features(torch.zeros(1, 3, 32, 32)).shape == (1, 192, 2, 2)
    assert "features.body.blocks.0.attn.qkv.weight" in network.state_dict()
    assert not any(key.startswith("features.body.head") for key in network.state_dict())


@pytest.mark.slow
def test_training_evaluates_and_resumes(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(CODE)
    name = f"{tmp_path / 'tiny.py'}:make"

    def start(folder: str, **more: object) -> Path | None:
        return train(
            name,
            "synthetic",
            Recipe((Stage(2, 32, 8),), learning_rate=0.05),
            dataset_args={"images": "16", "size": "32", "object_scale": "0.6"},
            train_method="ts-cam",
            device="cpu",
            workers=1,
            validation=False,
            out=tmp_path / folder,
            **more,  # type: ignore[arg-type]  # one option
        )

    whole = start("whole")
    assert start("parts", stop_after=1) is None
    parts = start("parts")
    assert whole is not None
    assert parts is not None
    assert whole.read_bytes() == parts.read_bytes()
    model = load_model(f"{name}+ts-cam", whole)
    assert model.name == f"{name}+ts-cam"
    assert find_method("ts-cam").unsupported_reason(model.network) is None
    torch.manual_seed(0)
    again = start("again", weights=whole)  # the head is read too
    assert again is not None
