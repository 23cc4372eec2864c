"""``python -m wsol.list``: the names of data sets, models, methods, protocols, metrics and baselines."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from wsol._cli import run_command

_REGISTRIES = {
    "datasets": "wsol.datasets:DATASETS",
    "baselines": "wsol.baselines:BASELINES",
    "protocols": "wsol.protocols:PROTOCOLS",
    "metrics": "wsol.metrics.base:METRICS",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments and print the names."""
    parser = argparse.ArgumentParser("wsol.list", description="List the names that commands accept.")
    parser.add_argument("kind", choices=("models", "methods", *_REGISTRIES))
    parser.add_argument("names", nargs="*", help="only these models, such as 'resnet*' or timm/convnext_tiny")
    options = parser.parse_args(argv)
    if options.kind == "models":
        for line in _import_catalog().list_models(options.names):
            print(line, flush=True)  # each takes a moment
    elif options.kind == "methods":
        print("\n".join(_import_catalog().list_methods()))
    else:
        module, registry = _REGISTRIES[options.kind].split(":")
        print("\n".join(getattr(importlib.import_module(module), registry).names()))


def _import_catalog() -> Any:
    # It imports torch, which takes seconds, only when it is needed.
    return importlib.import_module("wsol.reports.catalog")


if __name__ == "__main__":
    sys.exit(main())
