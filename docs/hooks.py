"""What building the pages adds to the files in this folder."""

import json
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pygments.formatters.html import HtmlFormatter

_NOTE = "This page is a notebook: [download it](tutorial.ipynb). The tests run it, without data or network."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tutorial's page, which is the notebook, and the colours of code."""
    notebook = files.get_file_from_path("tutorial.ipynb")
    assert notebook is not None  # it lies beside this file
    title, *cells = (_markdown(cell) for cell in json.loads(notebook.content_string)["cells"])
    page = "\n\n".join([title, _NOTE, *cells])
    colours = HtmlFormatter(style="default").get_style_defs(".highlight")
    for name, content in (("tutorial.md", page), ("pygments.css", colours)):
        files.append(File.generated(config, name, content=content))
    return files


def _markdown(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
