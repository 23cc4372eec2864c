"""``python -m wsol.list``: the names of data sets, models, methods, protocols, metrics and so on."""

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence

from wsol._cli import run_command
from wsol.errors import InputError

_REGISTRIES = {
    "datasets": "wsol.datasets:DATASETS",
    "methods": "wsol.methods:METHODS",
    "train-methods": "wsol.training.methods:TRAIN_METHODS",
    "baselines": "wsol.baselines:BASELINES",
    "protocols": "wsol.protocols:PROTOCOLS",
    "metrics": "wsol.metrics.base:METRICS",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments and print the names."""
    options = _make_parser().parse_args(argv)
    for line in _list_lines(options.kind, options.names):
        print(line, flush=True)  # a model takes a moment


def _list_lines(kind: str, names: Sequence[str]) -> Iterable[str]:
    if kind == "models":
        from wsol.reports.catalog import list_models  # noqa: PLC0415  # torch takes seconds that other lists need not wait for

        return list_models(names)
    if names:
        raise InputError(f"only models can be listed by name; leave out {' '.join(names)}")
    from wsol.reports.entries import list_entries, list_methods  # noqa: PLC0415

    module, name = _REGISTRIES[kind].split(":")
    registry = getattr(importlib.import_module(module), name)
    lists = {"methods": list_methods, "protocols": list_entries, "train-methods": list_entries}
    return lists[kind](registry) if kind in lists else registry.titles()


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.list",
        description="List the names that commands accept; of methods and protocols also the settings.",
    )
    parser.add_argument("kind", choices=("models", *_REGISTRIES))
    parser.add_argument("names", nargs="*", help="only these models, such as 'resnet*' or timm/convnext_tiny")
    return parser


if __name__ == "__main__":
    sys.exit(main())
