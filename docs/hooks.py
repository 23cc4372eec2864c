"""Hooks of the documentation build: they turn the tutorial notebook with its outputs into a page."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_NOTE = "This page is a notebook: [download it](tutorial.ipynb)."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the tutorial and its pictures."""
    notebook = files.get_file_from_path("tutorial.ipynb")
    assert notebook is not None  # it is next to this file
    pictures: list[bytes] = []
    title, *blocks = [
        block for cell in json.loads(notebook.content_string)["cells"] for block in _blocks(cell, pictures)
    ]
    files.append(File.generated(config, "tutorial.md", content="\n\n".join([title, _NOTE, *blocks])))
    for number, picture in enumerate(pictures):
        files.append(File.generated(config, f"tutorial/{number}", content=picture))
    return files


def _blocks(cell: dict[str, Any], pictures: list[bytes]) -> Iterator[str]:
    """Yield a cell and its outputs as Markdown; pictures are appended to ``pictures``."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = {kind: "".join(content) for kind, content in output["data"].items()}
        if picture := data.get("image/png") or data.get("image/jpeg"):
            yield f"![Output of the code above](tutorial/{len(pictures)}){{ .output }}"
            pictures.append(base64.b64decode(picture))
        elif table := data.get("text/html"):
            table = re.sub('<style.*?</style>| border="1"', "", table, flags=re.DOTALL)
            yield table.replace("<div>", '<div class="output">', 1)
        else:
            yield f"```text\n{data['text/plain']}\n```"
