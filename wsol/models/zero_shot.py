"""Zero-shot classifiers: class scores from the similarity of an image to the texts of the classes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.models.prompts import Prompts
from wsol.runtime.precision import arithmetic
from wsol.runtime.progress import track


class ZeroShotClassifier(nn.Module):
    """A classifier whose weights are texts: ``scale * cosine(image features, text features) + bias``.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 3.1
    (CLIP). The bias is that of SigLIP (Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023, eq. 2),
    the same for all classes.

    Args:
        visual: Maps images ``(n, 3, H, W)`` to image features ``(n, d)``, not normalized.
        text_features: Normalized features of the texts of each class, ``(classes, d)``.
        scale: Factor of the cosine, the inverse of the temperature that the network was trained with, ``()``.
        bias: Added to every score, ``()``; None for nothing.
    """

    text_features: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, visual: nn.Module, text_features: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("text_features", text_features)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores of images, ``(n, classes)``."""
        features = functional.normalize(self.visual(images), dim=-1)
        scores = self.scale * features @ self.text_features.T
        return scores if self.bias is None else scores + self.bias


def ensemble(features: Tensor) -> Tensor:
    """Return one feature for each class from those of several texts about it, as CLIP ensembles prompts.

    It is the normalized mean of the normalized features (section 3.1.4 of the paper).

    Args:
        features: Features of texts, ``(classes, texts, d)``.

    Returns:
        ``(classes, d)``.
    """
    return functional.normalize(functional.normalize(features, dim=-1).mean(1), dim=-1)


_TEXTS = 320  # at once: four classes with 80 templates


@arithmetic("float32")
def encode_prompts(encode: Callable[[list[str]], Tensor], prompts: Prompts) -> Tensor:
    """Return the text features of all classes, ``(classes, d)``, on the CPU.

    Args:
        encode: Maps texts to their features, ``(texts, d)``.
        prompts: The classes and the texts about them.
    """
    texts, templates = prompts.texts, len(prompts.templates)
    step = templates * max(1, _TEXTS // templates)
    found = []
    with torch.inference_mode(False), torch.no_grad():
        for start in track(range(0, len(texts), step), "class texts", unit="batch"):
            features = encode(texts[start : start + step])
            found.append(ensemble(features.reshape(-1, templates, features.shape[-1])).cpu())
    return torch.cat(found)
