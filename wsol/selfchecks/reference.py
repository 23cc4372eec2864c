"""A reference implementation from image to box with torch and scikit-image, independent of the rest of the package."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from skimage.measure import label, regionprops
from torch.nn import functional

WEIGHTS = Path(__file__).parents[1] / "models" / "weights" / "vgg16-gap-synthetic.safetensors"
_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # VGG-16's convolutions, pooling between blocks
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def compute_maps(pixels: NDArray[np.uint8], precision: torch.dtype) -> torch.Tensor:
    """Compute the class activation maps of the bundled network.

    Args:
        pixels: RGB ``(n, 224, 224, 3)``.
        precision: Data type of the computation.

    Returns:
        The class activation maps of all classes, ``(n, 12, 14, 14)``; as the linear layer has no bias, their means are
        the class scores.
    """
    mean, std = (torch.tensor(values, dtype=precision)[:, None, None] for values in (_MEAN, _STD))
    maps = (torch.from_numpy(pixels).permute(0, 3, 1, 2).to(precision) / 255 - mean) / std
    with safe_open(WEIGHTS, "pt") as file, torch.inference_mode():

        def convolve(maps: torch.Tensor, name: str) -> torch.Tensor:
            kernel, bias = (file.get_tensor(f"{name}.{part}").to(precision) for part in ("weight", "bias"))
            groups = maps.shape[1] // kernel.shape[1]
            return functional.conv2d(maps, kernel, bias, padding=1, groups=groups).relu()

        for block in _BLOCKS:
            maps = maps if block == _BLOCKS[0] else functional.max_pool2d(maps, 2)
            for index in block:
                maps = convolve(maps, f"features.{index}")
        linear = file.get_tensor("fc.weight").to(precision)
        return torch.einsum("kc,nchw->nkhw", linear, convolve(maps, "conv6"))


def prepare_map(score_map: torch.Tensor) -> NDArray[np.float64]:
    """Upsample a map ``(h, w)`` to 224 x 224 and min-max normalize it, as the protocol ``exact`` does."""
    large = functional.interpolate(score_map[None, None], size=(224, 224), mode="bilinear", align_corners=False)[0, 0]
    return ((large - large.min()) / (large.max() - large.min())).numpy().astype(np.float64)


def compute_iou(scores: NDArray[np.float64], tau: float, truth: tuple[float, float, float, float]) -> float:
    """Return the IoU of a box (half-open edges) with that of the largest component above tau; 0 if there is none."""
    components = label(scores > tau, connectivity=2)  # type: ignore[no-untyped-call]  # scikit-image has no types
    regions = regionprops(components)  # type: ignore[no-untyped-call]
    if not regions:
        return 0.0
    y0, x0, y1, x1 = max(regions, key=lambda region: region.area).bbox
    width, height = min(x1, truth[2]) - max(x0, truth[0]), min(y1, truth[3]) - max(y0, truth[1])
    intersection = max(0.0, width) * max(0.0, height)
    areas = (x1 - x0) * (y1 - y0) + (truth[2] - truth[0]) * (truth[3] - truth[1])
    return float(intersection / (areas - intersection))


def compute_pxap(scores: NDArray[np.float64], foreground: NDArray[np.bool_], taus: NDArray[np.float64]) -> float:
    """Return the sum of precision times recall gain over the masks ``score >= tau``, from the highest tau down."""
    area = recall = 0.0
    for tau in taus[::-1]:
        mask = scores >= tau
        hits = float((mask & foreground).sum())
        area += hits / max(1, mask.sum()) * (hits / foreground.sum() - recall)
        recall = hits / foreground.sum()
    return area
