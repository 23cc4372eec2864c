"""``python -m wsol.selfcheck``: does this installation compute the right numbers on this machine?"""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

from wsol._cli import run_command
from wsol.selfchecks.environment import facts
from wsol.selfchecks.expect import Outcome
from wsol.selfchecks.runner import fact_line, last_line, outcome_line, run_checks


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and returns its exit code: 1 where a number is wrong."""
    outcomes: list[Outcome] = []
    code = run_command(partial(_run, outcomes), argv)
    return code or int(any(outcome.wrong is not None for outcome in outcomes))


def _run(outcomes: list[Outcome], argv: Sequence[str] | None) -> None:
    """Parse arguments, prints each check as it is done, then versions and devices."""
    argparse.ArgumentParser(
        "wsol.selfcheck",
        description="Check that this installation computes the right numbers on this machine, and print its versions "
        "and devices for a bug report. Takes half a minute at most, needs no network and leaves no file.",
    ).parse_args(argv)
    start = time.perf_counter()
    for outcome in run_checks():
        outcomes.append(outcome)
        print(outcome_line(outcome), flush=True)
    seconds = time.perf_counter() - start
    print()
    for name, value in facts():
        print(fact_line(name, value))
    print()
    print(last_line(outcomes, seconds))


if __name__ == "__main__":
    sys.exit(main())
