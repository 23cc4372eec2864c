"""The console script ``wsol``: each command as a subcommand."""

import importlib
import sys

_COMMANDS = ("compare", "eval", "explain", "leaderboard", "list", "score", "selfcheck", "train")


def main() -> int:
    """Run ``wsol COMMAND ...`` as ``python -m wsol.COMMAND ...`` does."""
    if len(sys.argv) < 2 or sys.argv[1] not in _COMMANDS:
        help_requested = sys.argv[1:2] in (["-h"], ["--help"])
        print(f"usage: wsol {{{','.join(_COMMANDS)}}} ...", file=sys.stdout if help_requested else sys.stderr)
        return 0 if help_requested else 2
    return int(importlib.import_module(f"wsol.{sys.argv[1]}").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
