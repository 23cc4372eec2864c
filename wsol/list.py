"""``python -m wsol.list``: what can be named."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from wsol._command import run_command

_REGISTRIES = {
    "datasets": "wsol.datasets:DATASETS",
    "models": "wsol.models:MODELS",
    "methods": "wsol.cams:METHODS",
    "baselines": "wsol.baselines:BASELINES",
    "protocols": "wsol.protocols:PROTOCOLS",
    "metrics": "wsol.metrics.base:METRICS",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parses arguments, prints names."""
    parser = argparse.ArgumentParser("wsol.list", description="List what can be named.")
    parser.add_argument("kind", choices=_REGISTRIES)
    module, registry = _REGISTRIES[parser.parse_args(argv).kind].split(":")
    print("\n".join(getattr(importlib.import_module(module), registry).names()))


if __name__ == "__main__":
    sys.exit(main())
