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
    negative values. Costs a few products of matrices of the size of places or channels, whichever is smaller, in double
    precision.

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
        matrix = features.flatten(2).transpose(1, 2).double()  # n, places, C
        if self.centered:
            matrix = matrix - matrix.mean(1, keepdim=True)
        maps = project_on_first_vector(matrix)
        pole = maps.gather(1, maps.abs().argmax(1, keepdim=True)) if self.centered else maps.sum(1, keepdim=True)
        maps = torch.where(pole < 0, -maps, maps).to(features.dtype).reshape(len(maps), 1, *features.shape[2:])
        return maps.expand(-1, classes.shape[1], -1, -1)


def compute_principal_map(weighted: Tensor, centered: bool = True) -> Tensor:
    """Return the first principal component of weighted features, in the sign that agrees with their sum over channels.

    The component of a place is ``P v_1``, for a matrix P of places x channels and its first right singular vector. The
    scalar product with the sum is 0 or more.

    Args:
        weighted: ``(n, C, h, w)``.
        centered: Whether the mean of each channel is subtracted first.

    Returns:
        Maps of the same number format, ``(n, h, w)``.
    """
    matrix = weighted.flatten(2).transpose(1, 2).double()  # n, places, C
    if centered:
        matrix = matrix - matrix.mean(1, keepdim=True)
    maps = project_on_first_vector(matrix)
    agreement = (maps * matrix.sum(2)).sum(1, keepdim=True)
    maps = torch.where(agreement < 0, -maps, maps)
    return maps.to(weighted.dtype).reshape(len(weighted), *weighted.shape[2:])


def project_on_first_vector(matrices: Tensor) -> Tensor:
    """Return ``A v_1``, each matrix times its first right singular vector, whose sign is arbitrary.

    Args:
        matrices: float64 ``(n, places, C)``.

    Returns:
        float64 ``(n, places)``.
    """
    # U S of the first component, from the smaller of the two products, of places or of channels.
    if matrices.shape[1] <= matrices.shape[2]:
        product = matrices @ matrices.transpose(1, 2)
        vector = find_first_eigenvector(product)
        return (vector * (vector.transpose(1, 2) @ product @ vector).sqrt())[:, :, 0]
    return (matrices @ find_first_eigenvector(matrices.transpose(1, 2) @ matrices))[:, :, 0]


_ROUNDS, _SQUARINGS = 7, 4  # to the power of 2 ** 28: two eigenvalues are told apart from a ratio of 1 - 1e-7 on
_NEARLY_PURE = 0.9


def find_first_eigenvector(matrices: Tensor) -> Tensor:
    """Return a unit eigenvector of the largest eigenvalue of each matrix, ``(n, s, 1)``; zeros for a matrix of zeros.

    A high power of a matrix has this eigenvector in each column; the column with the largest diagonal element has the
    largest share of it. On a GPU a few products of all matrices at once are launched in a moment, where a solver takes
    the matrices one by one and makes the processor wait. The error of a solver is the rounding divided by the distance
    of the two largest eigenvalues; here the squarings add up to twice that.

    Args:
        matrices: Symmetric without negative eigenvalues, float64 ``(n, s, s)``.
    """
    for _ in range(_ROUNDS):
        trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
        matrices = matrices / trace.clamp(min=torch.finfo(matrices.dtype).tiny)[:, None, None]
        # After one more round nothing changes; to ask a GPU whether it is so would take longer than all rounds.
        is_last = matrices.device.type == "cpu" and bool((matrices.square().sum((1, 2)) > _NEARLY_PURE).all())
        for _ in range(_SQUARINGS):
            matrices = matrices @ matrices
        if is_last:
            break
    largest = matrices.diagonal(dim1=1, dim2=2).argmax(1)
    column = matrices.gather(2, largest[:, None, None].expand(-1, matrices.shape[1], 1))
    length = column.square().sum(1, keepdim=True).sqrt()
    return column / length.clamp(min=torch.finfo(matrices.dtype).tiny)
