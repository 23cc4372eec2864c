"""What the papers of training methods compute, in loops over the pixels of one image."""

import numpy as np
from numpy.typing import NDArray
from torch import nn


def convolve(maps: NDArray[np.float64], layer: nn.Conv2d) -> NDArray[np.float64]:
    """A convolution with stride 1 that keeps the size, in loops."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    reach = weight.shape[2] // 2
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
    result = np.empty((len(weight), *maps.shape[1:]))
    for c in range(len(weight)):
        for i in range(maps.shape[1]):
            for j in range(maps.shape[2]):
                window = padded[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
                result[c, i, j] = (window * weight[c]).sum() + bias[c]
    return result


def normalize(score_map: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = score_map.min(), score_map.max()
    return (score_map - low) / (high - low)


def cross_entropy(logits: NDArray[np.float64], label: int) -> float:
    return float(np.log(np.exp(logits).sum()) - logits[label])


def resize(score_map: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear, with the centers of the corner pixels apart as in images."""
    rows, columns = score_map.shape
    result = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = score_map[top, left] * (left + 1 - x) + score_map[top, right] * (x - left)
            lower = score_map[bottom, left] * (left + 1 - x) + score_map[bottom, right] * (x - left)
            result[i, j] = upper * (top + 1 - y) + lower * (y - top)
    return result
