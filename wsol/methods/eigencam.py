"""Eigen-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import METHODS, Forward, Method


@METHODS.register("eigencam")
@dataclass(frozen=True)
class EigenCAM(Method):
    """Features projected onto their first right singular vector; the same map for every class.

    Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020: with the features as
    a matrix ``A`` of places x channels and ``A = U S V'``, the map is ``A v_1``. The sign of a singular vector is
    arbitrary: it is chosen so that the map's sum is positive; features without negative values then give a map without
    negative values. Costs an eigenvalue problem of the size of places or channels, whichever is smaller.

    Attributes:
        centered: Whether the mean of each channel is subtracted first. Not in the paper; the package grad-cam does it,
            and leaves the sign to chance. Here the sign is then chosen so that the largest magnitude is positive.
    """

    needs = "features"
    class_specific = False
    centered: bool = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        features = forward.features
        matrix = features.flatten(2).transpose(1, 2)  # n, places, C
        if self.centered:
            matrix = matrix - matrix.mean(1, keepdim=True)
        # U S of the first component, from the smaller of the two eigenvalue problems.
        if matrix.shape[1] <= matrix.shape[2]:
            values, vectors = torch.linalg.eigh(matrix @ matrix.transpose(1, 2))
            maps = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
        else:
            maps = (matrix @ torch.linalg.eigh(matrix.transpose(1, 2) @ matrix)[1][:, :, -1:])[:, :, 0]
        pole = maps.gather(1, maps.abs().argmax(1, keepdim=True)) if self.centered else maps.sum(1, keepdim=True)
        maps = torch.where(pole < 0, -maps, maps).reshape(len(maps), 1, *features.shape[2:])
        return maps.expand(-1, classes.shape[1], -1, -1)
