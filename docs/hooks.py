"""Hooks of the documentation build: the page of the tutorial notebook, and the sections of the public names."""

import base64
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import wsol

_PUBLIC_NAMES = "<!-- public names -->"
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


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put a table of ``wsol.__all__`` and a section for each of its names in the place of the comment."""
    return markdown.replace(_PUBLIC_NAMES, _public_names()) if _PUBLIC_NAMES in markdown else markdown


def _public_names() -> str:
    rows, sections = ["| name | |", "|---|---|"], []
    for name in wsol.__all__:
        value = getattr(wsol, name)
        if isinstance(value, str):
            rows.append(f"| `wsol.{name}` | `{value!r}` |")
            continue
        path = f"{value.__module__}.{value.__qualname__}"
        rows.append(f"| [`wsol.{name}`](#{path}) | {(inspect.getdoc(value) or '').splitlines()[0]} |")
        sections.append(f"::: {path}")
    return "\n".join(rows) + "\n\n" + "\n\n".join(sections)


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
