"""KPCA-CAM."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import METHODS, Forward, Method
from wsol.methods.eigencam import find_first_eigenvector

_OFFSET = 1.0  # of the kernel, as in scikit-learn
_COPIES = 6  # of the kernel matrix


@METHODS.register("kpca-cam")
@dataclass(frozen=True)
class KPCACAM(Method):
    """First component of a kernel PCA of the features; the same map for every class.

    Karmani et al., "KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel PCA", 2024: the
    features of a place, less their mean over all places, are a vector x of C numbers; with the sigmoid kernel
    ``K(x, x') = tanh(gamma x'x / C + 1)``, centered in its feature space, the map is ``sqrt(l) v``, where l is the
    largest eigenvalue of K and v its eigenvector. The sign is chosen so that the largest magnitude is positive. The
    kernel has negative eigenvalues too; the largest is meant, not that of the largest magnitude. The package grad-cam
    computes the same by scikit-learn, image by image. Costs products of matrices of places x places in double
    precision: next to nothing for 7 x 7 maps, growing with the third power of the number of places.

    Attributes:
        gamma: Slope of the kernel, in units of 1 / C.
    """

    needs = "features"
    class_specific = False
    gamma: float = 1.0

    def __post_init__(self) -> None:
        """Check that the slope makes a kernel."""
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma {self.gamma} should be positive and finite")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features, for as many images at once as the memory budget allows."""
        features = forward.features
        places = features.shape[2] * features.shape[3]
        at_once = max(1, forward.memory // (_COPIES * places**2 * 8))
        with torch.no_grad():
            parts = [self._project(each.flatten(2).double()) for each in torch.split(features, at_once)]
        maps = torch.cat(parts).to(features.dtype).reshape(len(features), 1, *features.shape[2:])
        return maps.expand(-1, classes.shape[1], -1, -1)

    def _project(self, features: Tensor) -> Tensor:
        """Return the component of each place, ``(n, places)``, from features ``(n, C, places)``."""
        features = features - features.mean(2, keepdim=True)
        products = features.transpose(1, 2) @ features
        # Without contrast exactly 0; centering takes constants away.
        kernel = (products * (self.gamma / features.shape[1]) + _OFFSET).tanh_() - math.tanh(_OFFSET)
        rows = kernel.mean(2, keepdim=True)
        kernel = kernel - rows - rows.transpose(1, 2) + rows.mean(1, keepdim=True)
        # No eigenvalue is below the negative norm, so that the largest one is the first of the sum.
        norm = kernel.square().sum((1, 2)).sqrt()
        vector = find_first_eigenvector(kernel + torch.diag_embed(norm[:, None].expand(-1, kernel.shape[1])))
        value = (vector.transpose(1, 2) @ kernel @ vector).clamp(min=0)
        maps = (vector * value.sqrt())[:, :, 0]
        pole = maps.gather(1, maps.abs().argmax(1, keepdim=True))
        return torch.where(pole < 0, -maps, maps)
