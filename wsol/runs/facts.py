"""What a run should remember of the machine it ran on."""

import platform
from importlib.metadata import version

_PACKAGES = ("wsol", "torch", "torchvision", "numpy", "pandas", "pillow", "numba")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that touch a number."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
