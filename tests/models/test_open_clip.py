"""Networks of open_clip as zero-shot classifiers: their scores are open_clip's own."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import wsol
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.plan import prepare
from wsol.methods import METHODS, find_method, forward, unsupported_reason
from wsol.models import Model, Prompts, load_model
from wsol.reports.catalog import describe_model

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.slow

NAMES, TEMPLATES = ("cat", "black dog", "bird"), ("a photo of a {}.", "art of the {}.")  # unlike the classes in number
PROMPTS = Prompts(NAMES, templates=TEMPLATES)
FEWER_PASSES = {"rise": "rise:masks=20"}


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two tiny architectures in open_clip's list."""
    folder = tmp_path_factory.mktemp("configs")
    tower = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = {"embed_dim": 24, "vision_cfg": tower, "text_cfg": text}
    (folder / "tiny.json").write_text(json.dumps(config))
    sigmoid = config | {"init_logit_bias": -3, "custom_text": True, "nonscalar_logit_scale": True}
    (folder / "tiny-sigmoid.json").write_text(json.dumps(sigmoid))
    paths = [*open_clip.factory._MODEL_CONFIG_PATHS]
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS[:] = paths
    open_clip.factory._MODEL_CONFIGS.pop("tiny")
    open_clip.factory._MODEL_CONFIGS.pop("tiny-sigmoid")


def make(name: str, path: Path) -> nn.Module:
    torch.manual_seed(0)
    clip = open_clip.create_model(name).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, path)
    return clip


@pytest.mark.parametrize("name", ["tiny", "tiny-sigmoid"])
def test_scores_are_those_of_open_clip(name: str, tmp_path: Path) -> None:
    clip: Any = make(name, tmp_path / "w.safetensors")
    model = load_model(f"open_clip/{name}", tmp_path / "w.safetensors", prompts=PROMPTS)
    texts = open_clip.build_zero_shot_classifier(clip, open_clip.get_tokenizer(name), NAMES, TEMPLATES)
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        expected = clip.logit_scale.exp() * clip.encode_image(images, normalize=True) @ texts
        expected = expected + (clip.logit_bias if clip.logit_bias is not None else 0)
        torch.testing.assert_close(model.network(images), expected, rtol=1e-5, atol=1e-5)
    assert model.network.text_features is not None
    torch.testing.assert_close(model.network.text_features, texts.T, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.network.text_scale, clip.logit_scale.exp().reshape(()))
    assert model.class_names == NAMES
    assert model.preprocessing.mean == tuple(open_clip.OPENAI_DATASET_MEAN)
    assert model.preprocessing.size == model.side == 64


def test_signature_names_texts(tmp_path: Path) -> None:
    make("tiny", tmp_path / "w.safetensors")

    def load(prompts: Prompts) -> Model:
        return load_model("open_clip/tiny", tmp_path / "w.safetensors", prompts=prompts)

    model = load(PROMPTS)
    assert model.signature.endswith(PROMPTS.suffix)
    assert load(Prompts(NAMES)).signature != model.signature == load(PROMPTS).signature


def test_program_logging_is_left_alone(tmp_path: Path) -> None:
    make("tiny", tmp_path / "w.safetensors")
    root = logging.getLogger()
    before = [*root.handlers], [*root.filters], root.level
    load_model("open_clip/tiny", tmp_path / "w.safetensors", prompts=PROMPTS)
    assert ([*root.handlers], [*root.filters], root.level) == before


def test_faults(tmp_path: Path) -> None:
    clip = make("tiny", tmp_path / "w.safetensors")
    state = dict(clip.state_dict())
    state.pop("ln_final.weight")  # of the texts: a graph of the images does not use it
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"missing in the file: ln_final.weight"):
        load_model("open_clip/tiny", tmp_path / "less.safetensors", prompts=PROMPTS)
    with pytest.raises(InputError, match="zero-shot classifier, which needs the names of classes"):
        load_model("open_clip/tiny", tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="no weights; give --weights"):
        load_model("open_clip/tiny", prompts=PROMPTS)
    with pytest.raises(InputError, match=r"open_clip has no model 'ViTB32'; did you mean .*ViT-B-32"):
        load_model("open_clip/ViTB32")
    with pytest.raises(InputError, match="activation of open_clip/ViT-B-32-quickgelu"):
        load_model("open_clip/ViT-B-32", "openai", prompts=PROMPTS)
    with pytest.raises(InputError, match="fixed map size"):
        load_model("open_clip/tiny", tmp_path / "w.safetensors", map_size=14, prompts=PROMPTS)
    with pytest.raises(InputError, match=r"cannot be trained by wsol.train"):
        wsol.train("open_clip/tiny", "synthetic", out=tmp_path / "run")


def test_evaluation(tmp_path: Path) -> None:
    make("tiny", tmp_path / "w.safetensors")
    (tmp_path / "templates.txt").write_text("a {}\n")
    given = {"weights": tmp_path / "w.safetensors", "limit": 2, "device": "cpu", "bootstrap": 0}
    one = wsol.evaluate("open_clip/tiny", method="attention-rollout", templates="photo", **given)
    model = one.signature.split("|")[1]
    assert "+text:" in model
    assert "zero-shot classifier of 12 classes with 1 template, such as 'a photo of a " in str(one)
    given |= {"method": "attention-rollout", "templates": tmp_path / "templates.txt"}
    other = prepare(EvalConfig("open_clip/tiny", **given)).inference.model.signature
    assert other.partition("+text:")[0] == model.partition("+text:")[0]
    assert other != model
    with pytest.raises(InputError, match="which vgg16-gap is not"):
        prepare(EvalConfig("vgg16-gap", templates="photo", device="cpu"))


def test_list() -> None:
    assert describe_model("open_clip/tiny").startswith("other            32 x 4 x 4 at 64   all but acol, cam")


def test_every_method_works_or_says_why(tmp_path: Path) -> None:
    make("tiny", tmp_path / "w.safetensors")
    model = load_model("open_clip/tiny", tmp_path / "w.safetensors", prompts=PROMPTS)
    passed = forward(model.network, torch.randn(2, 3, 64, 64))
    refused = []
    for name in METHODS.names():
        method = find_method(FEWER_PASSES.get(name, name))
        if unsupported_reason(method, model.network, model.classes) is not None:
            refused.append(name)
            continue
        maps = method.maps(passed, torch.tensor([[0, 1], [2, 0]]))
        assert maps.shape[:2] == (2, 2), name
        assert maps.isfinite().all(), name
    assert {"cam", "guided-backprop"} <= {*refused}
    assert not {"attention-rollout", "chefer", "gradcam", "scorecam", "self-attention", "ts-cam"} & {*refused}
