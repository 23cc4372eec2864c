"""Number of bootstrap resamples, apart from what computes them, which commands import later."""

from wsol.errors import InputError

RESAMPLES = 1000


def check_bootstrap(bootstrap: int) -> None:
    """Check a number of resamples: all intervals have the same number, so that they can be compared, or there are none.

    Raises:
        InputError: It is another one.
    """
    if bootstrap not in (0, RESAMPLES):
        raise InputError(
            f"bootstrap is {bootstrap}; give {RESAMPLES}, the resamples of every run, or 0 for no intervals"
        )
