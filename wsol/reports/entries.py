"""The lists of protocols and methods: name, summary, and every setting with its default and meaning."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from wsol.registry import Registry


def list_entries(registry: Registry[Any]) -> Iterator[str]:
    """Yield the name of each entry, then its summary and one line per setting, indented."""
    for name in registry.names():
        entry = registry.get(name)
        yield name
        yield f"    {_summary(entry)}"
        yield from describe_settings(entry)


def list_methods(methods: Registry[Any]) -> Iterator[str]:
    """Yield one line per method: name, requirements beyond the forward pass and summary; then its settings.

    The refinements, which are settings of any method, come last.
    """
    from wsol.methods import Refinements  # noqa: PLC0415  # torch takes seconds that other lists need not wait for

    for name in methods.names():
        method = methods.get(name)
        yield f"{name:<22} {method.needs:<16} {_summary(method)}"
        if method.signature != name:
            yield f"{'':<22} {'':<16} {method.signature}"
            yield from (f"{'':<35} {line}" for line in describe_settings(method))
    yield ""
    yield "settings of any method that can take them, such as gradcam:aug_smooth=true,target=finer"
    yield from describe_settings(Refinements())


def describe_settings(entry: Any) -> list[str]:
    """Return one line per setting of a dataclass: ``KEY=DEFAULT`` and its meaning, as its docstring has it."""
    meanings: dict[str, str] = {}
    for kind in type(entry).__mro__:
        meanings = _attribute_docs(kind) | meanings  # a class without an entry inherits the meaning
    pairs = [(f"{field.name}={_format(getattr(entry, field.name))}", field.name) for field in fields(entry)]
    width = max((len(pair) for pair, _ in pairs), default=0)
    return [f"    {pair:<{width}}  {meanings.get(name, '')}".rstrip() for pair, name in pairs]


def _summary(entry: Any) -> str:
    """Return the first line of the docstring of an entry's class."""
    return _plain((inspect.getdoc(type(entry)) or "").partition("\n")[0])


def _attribute_docs(kind: type) -> dict[str, str]:
    """Return the entries of the section ``Attributes`` of a class's own docstring, each as one line."""
    text = inspect.cleandoc(vars(kind).get("__doc__") or "")
    section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^ {4}(\w+):((?: .*)?(?:\n {5,}.*)*)", section[1], re.M) if section else []
    return {name: _plain(meaning) for name, meaning in entries}


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "").split())


def _format(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
