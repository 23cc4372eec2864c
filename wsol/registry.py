"""Names for data sets, models, methods, protocols and metrics: one file adds one, nothing else changes."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

from wsol.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """The named entries of one package, imported when they are first asked for.

    An entry ``tiny-imagenet`` is looked for in the module ``tiny_imagenet`` first, so that one entry costs one import;
    a module may register other names too. ``base`` and modules with a leading underscore hold no entries.

    Args:
        kind: What an entry is, for messages: ``"data set"``.
        package: Dotted name of the package that holds the modules.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters its argument under ``name``."""

        def enter(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"two {self.kind} entries are called {name!r}")
            self._entries[name] = entry
            return entry

        return enter

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            InputError: There is none; the message names the close matches.
        """
        if name not in self._entries and name.replace("-", "_") in self._modules():
            self._import(name.replace("-", "_"))
        if name not in self._entries and name not in self.names():
            close = difflib.get_close_matches(name.lower(), self.names(), n=3, cutoff=0.5)
            known = ", ".join(self.names()[:12]) + (" ..." if len(self.names()) > 12 else "")
            hint = f"did you mean {' or '.join(close)}?" if close else f"known: {known}"
            raise InputError(f"unknown {self.kind} {name!r:.80}; {hint}")
        return self._entries[name]

    def find(self, text: str) -> T:
        """Return an entry that is a dataclass, with settings that differ from its defaults: ``NAME:KEY=VALUE,...``.

        Raises:
            InputError: The name or a key is unknown, or a value is not of the key's kind.
        """
        name, _, rest = text.partition(":")
        entry: Any = self.get(name)
        known = {field.name: type(getattr(entry, field.name)) for field in fields(entry)}
        changes = {}
        for pair in rest.split(",") if rest else []:
            key, _, value = pair.partition("=")
            if key not in known:
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                raise InputError(f"{self.kind} {name}: unknown setting {pair!r:.80}; {takes}")
            try:
                changes[key] = _truth(value) if known[key] is bool else known[key](value)
            except (ValueError, OverflowError) as error:
                raise InputError(
                    f"{self.kind} {name}: {key} cannot be {value!r:.80}; its default is {getattr(entry, key)}"
                ) from error
        try:
            changed: T = replace(entry, **changes)
        except ValueError as error:
            raise InputError(f"{self.kind} {name}: {error}") from error
        return changed

    def names(self) -> list[str]:
        """Return all names, sorted; imports every module of the package."""
        for module in self._modules():
            self._import(module)
        return sorted(self._entries)

    def _modules(self) -> list[str]:
        path = importlib.import_module(self.package).__path__
        names = (module.name for module in pkgutil.iter_modules(path))
        return sorted(name for name in names if name != "base" and not name.startswith("_"))

    def _import(self, module: str) -> None:
        importlib.import_module(f"{self.package}.{module}")


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"
