"""Errors that are caused by the input."""


class InputError(ValueError):
    """Invalid input: a file, an option or a value cannot be used.

    The message is one sentence that says what is wrong, where, and how to fix it. Commands print it without a traceback
    and exit with code 2.
    """


class ImageError(InputError):
    """An image file is missing, unreadable or truncated; the only error that ``skip_bad_images`` ignores."""


class NotFiniteError(InputError):
    """Weights, class scores or score maps are not finite or mere rounding, as after a training that diverged."""


def first_line(error: BaseException) -> str:
    """Return the first line of another package's error message, or the error's class name if the message is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
