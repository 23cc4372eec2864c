"""Imports of all required packages."""

import importlib

from wsol.errors import first_line
from wsol.selfchecks.outcome import CheckFailed, Checks

MODULES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "numba": "numba",
    "pandas": "pandas",
    "pillow": "PIL.Image",
    "scipy": "scipy.ndimage",
    "scikit-image": "skimage.measure",
    "pyarrow": "pyarrow",
    "matplotlib": "matplotlib",
    "safetensors": "safetensors",
    "pycocotools": "pycocotools.mask",
    "jinja2": "jinja2",
    "tqdm": "tqdm",
}
"""Module of each package, by its name in the package registry."""


def _check_imports() -> None:
    broken = []
    for package, module in MODULES.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a package that was built for another machine can raise anything
            broken.append(f"{package} ({type(error).__name__}: {first_line(error)})")
    if broken:
        raise CheckFailed(f"expected every package, found these broken: {'; '.join(broken)}")


CHECKS: Checks = {"packages: import of all dependencies": _check_imports}
