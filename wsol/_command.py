"""What all commands share: an input error is one sentence on stderr and exit code 2."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps

from wsol.errors import InputError


def command(run: Callable[[Sequence[str] | None], None]) -> Callable[[Sequence[str] | None], int]:
    """Makes a main function of a command out of ``run``, which raises."""

    @wraps(run)
    def main(argv: Sequence[str] | None = None) -> int:
        try:
            run(argv)
        except InputError as error:
            print(f"wsol: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("wsol: interrupted", file=sys.stderr)
            return 130
        return 0

    return main
