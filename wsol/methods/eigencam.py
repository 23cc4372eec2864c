"""Eigen-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import Forward, Method, register


@register("eigencam")
@dataclass(frozen=True)
class EigenCAM(Method):
    """Projects the features on their first right singular vector; the same map for every class.

    Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020: with the features as
    a matrix ``A`` of places x channels and ``A = U S V'``, the map is ``A v_1``. A singular vector has no sign: it is
    taken so that the map's sum is positive; of features that are nowhere negative no value is then. Costs an
    eigenvalue problem of the size of the smaller of places and channels.

    Attributes:
        centred: Whether each channel's mean is taken off first. Not in the paper; the package grad-cam does it, and
            leaves the sign to chance. With it the sign is taken so that the largest magnitude is positive.
    """

    needs = "features"
    of_class = False
    centred: bool = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        features = forward.features
        matrix = features.flatten(2).transpose(1, 2)  # n, places, C
        if self.centred:
            matrix = matrix - matrix.mean(1, keepdim=True)
        # U S of the first component, from the smaller of both problems.
        if matrix.shape[1] <= matrix.shape[2]:
            values, vectors = torch.linalg.eigh(matrix @ matrix.transpose(1, 2))
            found = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
        else:
            found = (matrix @ torch.linalg.eigh(matrix.transpose(1, 2) @ matrix)[1][:, :, -1:])[:, :, 0]
        pole = found.gather(1, found.abs().argmax(1, keepdim=True)) if self.centred else found.sum(1, keepdim=True)
        found = torch.where(pole < 0, -found, found).reshape(len(found), 1, *features.shape[2:])
        return found.expand(-1, classes.shape[1], -1, -1)
