"""Methods that compute score maps, one map for each image and class of interest."""

from wsol.methods.base import METHODS, Forward, Method, Precision, find_method, forward, unsupported_reason

__all__ = ["METHODS", "Forward", "Method", "Precision", "find_method", "forward", "unsupported_reason"]
