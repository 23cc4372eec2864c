"""Networks of transformers from local folders: their scores are transformers' own."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import GapClassifier, Prompts, find_classifier, load_model
from wsol.models.hooked import HookedClassifier
from wsol.models.imagenet import imagenet_names
from wsol.reports.catalog import describe_model

transformers: Any = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

SIDE = 64
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TOWER = SIZES | {"image_size": SIDE, "patch_size": 16}
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}}
LETTERS = "abcdefghijklmnopqrstuvwxyz."
VOCABULARY = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS), "ca", "cat</w>"]
TEXT = SIZES | {"vocab_size": len(VOCABULARY), "max_position_embeddings": 32}
TEXT |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
PROMPTS = Prompts(("cat", "dog", "bird"), templates=("a {}.", "the red {}."))


def save(network: Any, folder: Path) -> Any:
    """Write a network with random weights, none of which is 0 or 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.eval().requires_grad_(False).parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return network


def make_vit(folder: Path, **settings: Any) -> Any:
    return save(transformers.ViTForImageClassification(transformers.ViTConfig(**TOWER, **LABELS, **settings)), folder)


def make_tokenizer(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(VOCABULARY)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    transformers.CLIPTokenizerFast.from_pretrained(folder).save_pretrained(folder)


def make_clip(folder: Path, kind: str) -> Any:
    folder.mkdir()
    vision, text = TOWER, TEXT
    config = getattr(transformers, f"{kind}Config")(vision_config=vision, text_config=text, projection_dim=24)
    network = save(getattr(transformers, f"{kind}Model")(config), folder)
    make_tokenizer(folder)
    return network


def test_classifier(tmp_path: Path) -> None:
    network = make_vit(tmp_path)
    processor = transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=[0.4] * 3)
    processor.save_pretrained(tmp_path)
    images = torch.randn(3, 3, SIDE, SIDE)
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        model = load_model("hf/some/vit", weights)
        torch.testing.assert_close(model.network(images), network(images).logits)
    assert model.class_names == ("cat", "dog", "bird")
    assert model.preprocessing.mean == (0.4, 0.4, 0.4)
    assert model.preprocessing.std == (0.5, 0.5, 0.5)
    assert (model.side, model.classes, model.prompts) == (SIDE, 3, None)
    assert model.signature.startswith("hf/some/vit@")
    assert make_vit(tmp_path / "other", layer_norm_eps=1e-3) is not None
    assert load_model("hf/some/vit", tmp_path / "other").code_sha256 != model.code_sha256


def test_attention_is_that_of_transformers(tmp_path: Path) -> None:
    network = make_vit(tmp_path)
    model = load_model("hf/some/vit", tmp_path)
    images = torch.randn(2, 3, SIDE, SIDE)
    maps = find_method("attention-rollout").maps(forward(model.network, images), torch.tensor([[0], [1]]))
    network.set_attn_implementation("eager")
    layers = network(images, output_attentions=True).attentions
    for i in range(2):
        rollout = np.eye(17)
        for layer in layers:
            rollout = (layer[i].mean(0).double().numpy() + np.eye(17)) / 2 @ rollout
        np.testing.assert_allclose(maps[i, 0].numpy(), rollout[0, 1:].reshape(4, 4), atol=1e-6)


def test_gradients_are_those_of_the_network(tmp_path: Path) -> None:
    network = make_vit(tmp_path)
    model = load_model("hf/some/vit", tmp_path)
    images = torch.randn(1, 3, SIDE, SIDE)
    assert model.network.layer == "vit.layers.1.layernorm_before"
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[0]

    handle = network.vit.layers[1].layernorm_before.register_forward_hook(keep)
    (gradient,) = torch.autograd.grad(network(images).logits[0, 2], seen)
    handle.remove()
    tokens, gradient = seen[0][0, 1:].detach(), gradient[0, 1:]
    expected = functional.relu(tokens @ gradient.mean(0)).reshape(4, 4)
    maps = find_method("gradcam").maps(forward(model.network, images), torch.tensor([[2]]))
    torch.testing.assert_close(maps[0, 0], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_zero_shot(kind: str, tmp_path: Path) -> None:
    network = make_clip(tmp_path / "clip", kind)
    model = load_model("hf/some/clip", tmp_path / "clip", prompts=PROMPTS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "clip")
    images = torch.randn(3, 3, SIDE, SIDE)
    padding = {"padding": "max_length", "max_length": 32} if kind == "Siglip" else {"padding": True}

    def score(texts: list[str]) -> Any:
        return network(pixel_values=images, **tokenizer(texts, return_tensors="pt", **padding))

    one = load_model("hf/some/clip", tmp_path / "clip", prompts=Prompts(PROMPTS.classes, templates=("a {}.",)))
    expected = score(["a cat.", "a dog.", "a bird."]).logits_per_image
    torch.testing.assert_close(one.network(images), expected, rtol=1e-5, atol=1e-5)
    for i, name in enumerate(PROMPTS.names):  # each class for itself, from transformers' own features
        found = score([f"a {name}.", f"the red {name}."])
        text = functional.normalize(functional.normalize(found.text_embeds).mean(0), dim=0)
        scores = network.logit_scale.exp() * functional.normalize(found.image_embeds) @ text
        scores = scores + (network.logit_bias if kind == "Siglip" else 0)
        torch.testing.assert_close(model.network(images)[:, i], scores, rtol=1e-5, atol=1e-5)
    assert not isinstance(model.network, HookedClassifier)
    assert model.network.text_features is not None
    assert "+text:" in model.signature
    assert one.signature != model.signature
    maps = find_method("attention-rollout").maps(forward(model.network, images), torch.zeros(3, 1, dtype=torch.int64))
    assert maps.shape == (3, 1, 4, 4)


def config_of(kind: str) -> Any:
    more = {"image_size": SIDE, "num_labels": 3}
    few = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16} | more
    stages = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]} | more
    return getattr(transformers, f"{kind}Config")(
        **{
            "Dinov2": few,
            "Dinov2WithRegisters": few,
            "DeiT": TOWER | more,
            "Beit": TOWER | more,
            "ConvNext": stages,
            "ResNet": stages | {"embedding_size": 8},
            "Swin": more | {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        }[kind]
    )


@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters", "DeiT", "Beit", "ConvNext", "ResNet", "Swin"])
def test_families_are_traced(kind: str) -> None:
    torch.manual_seed(0)
    network = getattr(transformers, f"{kind}ForImageClassification")(config_of(kind)).eval()
    classifier = find_classifier(network, kind, side=SIDE)
    assert not isinstance(classifier, HookedClassifier)
    assert isinstance(classifier, GapClassifier) == (kind in ("ResNet", "Swin"))
    images = torch.randn(3, 3, SIDE, SIDE)
    torch.testing.assert_close(classifier(images), network(images).logits)
    if kind in ("Dinov2WithRegisters", "DeiT"):
        maps = find_method("attention-rollout").maps(forward(classifier, images), torch.zeros(3, 1, dtype=torch.int64))
        assert maps.shape == (3, 1, 4, 4)


def test_without_classifier(tmp_path: Path) -> None:
    network = save(transformers.Dinov2Model(config_of("Dinov2")), tmp_path)
    model = load_model("hf/some/dino", tmp_path)
    images = torch.randn(2, 3, SIDE, SIDE)
    torch.testing.assert_close(model.network(images), network(images).last_hidden_state[:, 0])
    assert model.classes == 0
    assert "no preprocessor_config.json" in model.notes[0]
    assert find_method("self-attention").maps(forward(model.network, images), torch.zeros(2, 1).long()).shape[2:] == (
        4,
        4,
    )


def test_preprocessing_is_measured(tmp_path: Path) -> None:
    # EfficientNet's processor divides by the standard deviation twice, which its numbers do not say.
    make_vit(tmp_path)
    processor = transformers.EfficientNetImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.25] * 3, include_top=True
    )
    processor.save_pretrained(tmp_path)
    found = load_model("hf/some/vit", tmp_path).preprocessing
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, 3)
    given = np.broadcast_to(color.astype(np.uint8), (SIDE, SIDE, 3)).copy()
    expected = processor(images=given, return_tensors="pt")["pixel_values"]
    own = found.normalize(given[None], torch.device("cpu"))
    torch.testing.assert_close(own, expected.float(), rtol=1e-4, atol=1e-4)


def test_imagenet_labels_are_categories(tmp_path: Path) -> None:
    names = [*imagenet_names()]
    names[7] = "rooster"
    ids = {i: f"{name}, synonym" for i, name in enumerate(names)}
    config = transformers.ViTConfig(**TOWER, id2label=ids, label2id={v: k for k, v in ids.items()})
    save(transformers.ViTForImageClassification(config), tmp_path)
    model = load_model("hf/some/vit", tmp_path)
    assert len(model.categories) == 1000
    assert model.class_names == ()


def test_shards(tmp_path: Path) -> None:
    network = make_vit(tmp_path / "one")
    network.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len([*(tmp_path / "shards").glob("*.safetensors")]) > 1
    images = torch.randn(1, 3, SIDE, SIDE)
    model = load_model("hf/some/vit", tmp_path / "shards")
    torch.testing.assert_close(model.network(images), network(images).logits)
    index = tmp_path / "shards" / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-0", "../model-0", 1))
    with pytest.raises(InputError, match="no index of weights"):
        load_model("hf/some/vit", tmp_path / "shards")


def test_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_vit(tmp_path / "vit")
    weights = tmp_path / "vit" / "model.safetensors"
    state = load_file(weights)
    save_file({key: state[key] for key in state if key != "classifier.bias"}, weights)
    with pytest.raises(InputError, match=r"does not fit hf/some/vit: missing in the file: classifier.bias"):
        load_model("hf/some/vit", weights)
    save_file(state | {"classifier.bias": torch.zeros(7)}, weights)
    with pytest.raises(InputError, match=r"of another shape: classifier.bias"):
        load_model("hf/some/vit", weights)
    save_file(state | {"other.bias": torch.zeros(7)}, weights)
    assert any("ignores: other.bias" in note for note in load_model("hf/some/vit", weights).notes)
    with pytest.raises(InputError, match="there is no file or folder"):
        load_model("hf/some/vit", tmp_path / "gone")
    with pytest.raises(InputError, match=r"has no config.json"):
        load_model("hf/some/vit", tmp_path)

    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError, match=r"cannot download some/vit \(no network\); download it by hand"):
        load_model("hf/some/vit")


def test_no_code_of_the_weights_is_run(tmp_path: Path) -> None:
    make_vit(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_model("hf/some/vit", tmp_path).classes == 3  # transformers' own class of that name
    config["model_type"] = "evil"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config.json cannot be read"):
        load_model("hf/some/vit", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_networks_of_texts_are_refused(tmp_path: Path) -> None:
    save(transformers.BertModel(transformers.BertConfig(**SIZES, vocab_size=20)), tmp_path)
    with pytest.raises(InputError, match="takes no images"):
        load_model("hf/some/bert", tmp_path)


def test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_vit(tmp_path)
    read = transformers.AutoConfig.from_pretrained
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda _, **more: read(tmp_path, **more))
    assert describe_model("hf/some/vit").startswith("other            32 x 4 x 4 at 64   all but acol, cam")
