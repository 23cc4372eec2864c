"""``python -m wsol.selfcheck``: check that this installation computes the right numbers on this machine."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

from wsol._cli import run_command
from wsol.selfchecks.environment import collect_facts
from wsol.selfchecks.outcome import Outcome
from wsol.selfchecks.runner import format_fact, format_outcome, format_summary, run_checks


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 if a number is wrong."""
    outcomes: list[Outcome] = []
    code = run_command(partial(_run, outcomes), argv)
    return code or int(any(outcome.failure is not None for outcome in outcomes))


def _run(outcomes: list[Outcome], argv: Sequence[str] | None) -> None:
    """Parse the arguments, print the line of each check as it finishes, then versions and devices."""
    _make_parser().parse_args(argv)
    start = time.perf_counter()
    for outcome in run_checks():
        outcomes.append(outcome)
        print(format_outcome(outcome), flush=True)
    seconds = time.perf_counter() - start
    print()
    for name, value in collect_facts():
        print(format_fact(name, value))
    print()
    print(format_summary(outcomes, seconds))


def _make_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        "wsol.selfcheck",
        description="Check that this installation computes the right numbers on this machine, and print versions and "
        "devices for a bug report. It takes at most half a minute, needs no network and leaves no file.",
    )


if __name__ == "__main__":
    sys.exit(main())
