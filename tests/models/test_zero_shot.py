"""Zero-shot classifiers: scores, splitting and the libraries that they come from."""

import zlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from wsol.models import Prompts, find_classifier
from wsol.models.zero_shot import ZeroShotClassifier, encode_prompts, ensemble


def make_open_clip(classes: int = 4) -> nn.Module:
    """Return a tiny zero-shot classifier on a vision transformer of open_clip with random weights."""
    transformer = pytest.importorskip("open_clip.transformer")
    torch.manual_seed(0)
    visual = transformer.VisionTransformer(32, 8, 32, layers=3, heads=2, mlp_ratio=2, output_dim=16)
    texts = functional.normalize(torch.randn(classes, 16), dim=-1)
    return ZeroShotClassifier(visual, texts, torch.tensor(10.0)).eval()


def test_scores_are_scaled_cosines() -> None:
    visual = nn.Sequential(nn.Conv2d(3, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    texts = functional.normalize(torch.randn(5, 4), dim=-1)
    network = ZeroShotClassifier(visual, texts, torch.tensor(7.0), torch.tensor(-2.0))
    images = torch.randn(3, 3, 6, 6)
    scores = network(images)
    for i, features in enumerate(visual(images)):
        for j, text in enumerate(texts):
            expected = 7 * functional.cosine_similarity(features, text, dim=0) - 2
            torch.testing.assert_close(scores[i, j], expected)


def test_ensemble_by_hand() -> None:
    # Directions (1, 0) and (0, 1) of any length: the mean (0.5, 0.5) has the direction (1, 1).
    features = torch.tensor([[[3.0, 0.0], [0.0, 0.2]], [[0.0, 5.0], [0.0, 1.0]]])
    torch.testing.assert_close(ensemble(features), torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


def test_prompts_are_encoded_in_batches_of_whole_classes() -> None:
    prompts = Prompts(tuple("abcdefg"))  # with 80 templates each
    lengths: list[int] = []

    def encode(texts: list[str]) -> torch.Tensor:
        lengths.append(len(texts))
        generators = [torch.Generator().manual_seed(zlib.crc32(text.encode())) for text in texts]
        return torch.stack([torch.randn(6, generator=each) for each in generators])

    found = encode_prompts(encode, prompts)
    assert lengths == [320, 240]
    for i, name in enumerate("abcdefg"):
        one = functional.normalize(encode([template.format(name) for template in prompts.templates]), dim=1)
        torch.testing.assert_close(found[i], functional.normalize(one.sum(0), dim=0))


@pytest.mark.slow
def test_open_clip_is_traced_and_split() -> None:
    network = make_open_clip()
    classifier = find_classifier(network, "clip", side=32)
    assert classifier.layer.startswith("visual.transformer.resblocks.2.ln_1")
    assert classifier.text_features is network.text_features
    assert classifier.text_scale is network.scale
    images = torch.randn(2, 3, 32, 32)
    maps, extras = classifier.forward_features(images)
    assert maps.shape == (2, 32, 4, 4)
    torch.testing.assert_close(classifier.forward_head(maps, extras), network(images))


def test_other_networks_have_no_text() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    classifier = find_classifier(network.eval(), "net", side=16)
    assert classifier.text_features is classifier.text_scale is None
