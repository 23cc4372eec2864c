"""The description on a package index: the README without its pictures and links, which lead into the repository."""

import re
from pathlib import Path

from setuptools import setup

_TARGET = r"\((?!https?:)[^)]*\)"  # relative
_readme = Path("README.md").read_text(encoding="utf-8")
_readme = re.sub(rf"^!\[[^\]]*\]{_TARGET}\n\n?", "", _readme, flags=re.MULTILINE)
_readme = re.sub(rf"\[([^\]]*)\]{_TARGET}", r"\1", _readme)

setup(long_description=_readme, long_description_content_type="text/markdown")
