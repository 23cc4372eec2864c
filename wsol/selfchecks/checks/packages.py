"""Whether everything that this package needs is there."""

import importlib

from wsol.errors import first_line
from wsol.selfchecks.expect import CheckFailed, Checks

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
    "protobuf": "google.protobuf",
    "tqdm": "tqdm",
}
"""What each package is imported as, by its name in the package registry."""


def _importable() -> None:
    faults = []
    for package, module in MODULES.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a package that was built for another machine raises anything
            faults.append(f"{package} ({type(error).__name__}: {first_line(error)})")
    if faults:
        raise CheckFailed(f"expected every package, found these broken: {'; '.join(faults)}")


CHECKS: Checks = {"packages: all that are needed can be imported": _importable}
