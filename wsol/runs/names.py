"""What files and folders are called."""

import re


def file_name(*parts: str) -> str:
    """Joins what a file or folder is named after; settings and paths have signs that not every disk takes."""
    return re.sub(r"[^\w.+=,-]+", "-", "-".join(parts)).strip("-")
