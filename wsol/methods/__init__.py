"""Methods that compute score maps, one map for each image and class of interest."""

from wsol.methods._constant_gradient import constant_gradient_map
from wsol.methods._find import find_method, with_target
from wsol.methods._refined import Refinements, fit_layers
from wsol.methods.base import METHODS, Forward, Method, forward, unsupported_reason

__all__ = [
    "METHODS",
    "Forward",
    "Method",
    "Refinements",
    "constant_gradient_map",
    "find_method",
    "fit_layers",
    "forward",
    "unsupported_reason",
    "with_target",
]
