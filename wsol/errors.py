"""What goes wrong through no fault of the program."""


class InputError(ValueError):
    """Something that was handed in cannot be used.

    The message is one sentence that says what, where, and how to mend it. Commands print it without a traceback and
    exit with code 2.
    """


class ImageError(InputError):
    """An image file is missing, unreadable or truncated; the one error that ``skip_bad_images`` steps over."""


def first_line(error: Exception) -> str:
    """Return the first line that another package's error says, for a sentence of ours; its kind if it says none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
