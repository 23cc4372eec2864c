"""``python -m wsol.list``: what can be named."""

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
    """Run the command and returns its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, prints names."""
    parser = argparse.ArgumentParser("wsol.list", description="List what can be named.")
    parser.add_argument("kind", choices=("models", "methods", *_REGISTRIES))
    parser.add_argument("names", nargs="*", help="of models: these alone, such as 'resnet*' or timm/convnext_tiny")
    options = parser.parse_args(argv)
    if options.kind == "models":
        for line in _lists().model_lines(options.names):
            print(line, flush=True)  # each takes a moment
    elif options.kind == "methods":
        print("\n".join(_lists().method_lines()))
    else:
        module, registry = _REGISTRIES[options.kind].split(":")
        print("\n".join(getattr(importlib.import_module(module), registry).names()))


def _lists() -> Any:
    return importlib.import_module("wsol.reports.catalog")  # torch takes seconds that --help need not wait for


if __name__ == "__main__":
    sys.exit(main())
