"""Registries of data sets, models, methods, protocols, metrics and baselines: one file adds an entry."""

import contextlib
import difflib
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from wsol.errors import InputError

T = TypeVar("T")
E = TypeVar("E")


def instantiate(name: str, entry: Any) -> Any:
    """Return an instance of a class with its default settings, anything else unchanged; the class gets ``name``."""
    if not isinstance(entry, type):
        return entry
    kind: Any = entry
    kind.name = name
    return kind()


class Registry(Generic[T]):
    """The named entries of one kind, imported on first use.

    ``get`` looks for this package's ``tiny-imagenet`` in the module ``tiny_imagenet`` first, so that an entry costs one
    import; a module may register several names. ``base`` and modules with a leading underscore register none.
    Other packages add entries by entry points: each names a module, or an object in one, whose import registers them.

    The later registration of a name wins, with a warning; one by an entry point never replaces an existing entry.

    Args:
        kind: Name of the kind in messages: ``"data set"``.
        package: Dotted name of the package whose modules hold this package's own entries.
        group: Group of the entry points; the name of the package by default.
        create: Makes an entry from its name, the registered object and the options of ``register``.
    """

    _loading: ClassVar[bool] = False  # whether an entry point is being imported

    def __init__(
        self, kind: str, package: str, group: str | None = None, create: Callable[..., T] = instantiate
    ) -> None:
        self.kind = kind
        self.package = package
        self.group = group or package
        self._create = create
        self._entries: dict[str, T] = {}
        self._sources: dict[str, str] = {}  # the module that registered each entry
        self._aliases: dict[str, str] = {}  # entries under a second name, with the first
        self._complete = False  # whether all modules of the package are imported
        self._entry_points: list[EntryPoint] | None = None  # those not loaded yet; None before the first look

    def register(self, name: str, *, alias: str = "", **options: Any) -> Callable[[E], E]:
        """Return a decorator that registers a function, a class or an instance under ``name``.

        Args:
            name: Letters, digits, ``.``, ``_``, ``+`` and ``-``.
            alias: Another name that users may give; everything is stored under ``name``.
            options: Further attributes of the entry, for metrics those of ``Metric``.
        """
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ValueError(f"{self.kind} name {name!r} may have letters, digits, '.', '_', '+' and '-' only")
        module = str(sys._getframe(1).f_globals.get("__name__"))

        def add(entry: E) -> E:
            created = self._create(name, entry, **options)
            self._add(name, created, module)
            if alias and self._add(alias, created, module):
                self._aliases[alias] = name
            return entry

        return add

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            InputError: There is none; the message suggests similar names.
        """
        module = name.replace("-", "_")
        for load in (
            partial(self._import_modules, module),
            self._import_modules,
            partial(self._load_entry_points, name),
            self._load_entry_points,
        ):
            if name not in self._entries:
                load()
        if name not in self._entries:
            similar = difflib.get_close_matches(name.lower(), [*self.names(), *self._aliases], n=3, cutoff=0.5)
            known = ", ".join(self.names()[:12]) + (" ..." if len(self.names()) > 12 else "")
            hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {known}"
            raise InputError(f"unknown {self.kind} {name!r:.80}; {hint}")
        return self._entries[name]

    def canonical(self, name: str) -> str:
        """Return the name that an alias stands for, and any other name as it is."""
        with contextlib.suppress(InputError):  # a name that nobody has registered
            self.get(name)
        return self._aliases.get(name, name)

    def find(self, text: str) -> T:
        """Return an entry that is a dataclass, with the settings of ``NAME:KEY=VALUE,...`` in place of its defaults.

        Raises:
            InputError: The name or a key is unknown, or a value does not have the type of its key.
        """
        name, _, settings = text.partition(":")
        return with_settings(f"{self.kind} {name}", self.get(name), settings)

    def names(self) -> list[str]:
        """Return all names, sorted, without aliases; imports every module and loads every entry point."""
        self._import_modules()
        self._load_entry_points()
        return sorted(self._entries.keys() - self._aliases.keys())

    def titles(self) -> list[str]:
        """Return all names, sorted, each with its alias: ``ilsvrc (or imagenet)``."""
        names = self.names()
        aliases = {name: f" (or {alias})" for alias, name in self._aliases.items()}
        return [name + aliases.get(name, "") for name in names]

    def is_own(self, name: str) -> bool:
        """Return whether the entry called ``name`` belongs to this package, not to another one or a user."""
        return self._is_own_module(self._sources[name])

    def _is_own_module(self, module: str) -> bool:
        return f"{module}.".startswith(f"{self.package}.")

    def _add(self, name: str, entry: T, module: str) -> bool:
        """Add an entry and return whether it is used; one of an entry point does not replace another."""
        own = self._is_own_module(module)
        if not own:
            self._import_modules()  # so that this registration is the later one whatever is imported when
        previous = self._sources.get(name)
        if previous is not None and not own:
            winner = f"that of {previous}, which no entry point replaces," if self._loading else f"the later, {module},"
            warnings.warn(
                f"the {self.kind} {name!r} is registered by {previous} and by {module}; {winner} is used", stacklevel=3
            )
        is_used = previous is None or own or not self._loading
        if is_used:
            self._entries[name], self._sources[name] = entry, module
            self._aliases.pop(name, None)
        return is_used

    def _import_modules(self, only: str | None = None) -> None:
        if not self._complete:
            for module in self._modules():
                if only in (None, module):
                    importlib.import_module(f"{self.package}.{module}")
            self._complete = only is None

    def _modules(self) -> list[str]:
        path = importlib.import_module(self.package).__path__
        names = (module.name for module in pkgutil.iter_modules(path))
        return sorted(name for name in names if name != "base" and not name.startswith("_"))

    def _load_entry_points(self, only: str | None = None) -> None:
        """Load all entry points, or those of one name; skip one that fails, with a warning."""
        if self._entry_points is None:
            self._entry_points = sorted(entry_points(group=self.group), key=lambda point: point.name)
        for point in [point for point in self._entry_points if only in (None, point.name)]:
            self._entry_points.remove(point)
            outer, Registry._loading = Registry._loading, True
            try:
                point.load()
            except (Exception, SystemExit) as error:  # whatever it is, the other entries do not depend on it
                package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
                warnings.warn(
                    f"the entry point {point.name!r} ({self.group}) of {package} is skipped, since importing "
                    f"{point.value} fails with {error!r:.200}; upgrade or uninstall the package",
                    stacklevel=2,
                )
            finally:
                Registry._loading = outer


def with_settings(title: str, entry: T, settings: str) -> T:
    """Return an entry that is a dataclass, with the settings of ``KEY=VALUE,...`` in place of its defaults.

    Args:
        title: Kind and name of the entry, for messages.
        entry: The entry; its fields are its settings.
        settings: The settings; empty for the defaults.

    Raises:
        InputError: A key is unknown or named twice, or a value does not have the type of its key.
    """
    defaults: Any = entry
    types = {field.name: type(getattr(defaults, field.name)) for field in fields(defaults)}
    changes = {}
    for pair in settings.split(",") if settings else []:
        key, _, value = pair.partition("=")
        if key not in types:
            takes = f"it takes {', '.join(types)}" if types else "it takes none"
            raise InputError(f"{title}: unknown setting {pair!r:.80}; {takes}")
        if key in changes:
            raise InputError(f"{title}: the setting {key} is named twice; name it once")
        try:
            changes[key] = _parse_bool(value) if types[key] is bool else types[key](value)
        except (ValueError, OverflowError) as error:
            kind = _KINDS.get(types[key], "a value")
            raise InputError(
                f"{title}: {key} cannot be {value!r:.80}; give {kind}, such as its default, {getattr(defaults, key)}"
            ) from error
    try:
        changed: T = replace(defaults, **changes)
    except ValueError as error:
        raise InputError(f"{title}: {error}") from error
    return changed


_KINDS = {bool: "true or false", int: "an integer", float: "a number"}


def format_settings(name: str, entry: Any) -> str:
    """Return the name of an entry that is a dataclass with all of its settings, as ``with_settings`` takes them."""
    values = {each.name: getattr(entry, each.name) for each in fields(entry)}
    settings = ",".join(f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in values.items())
    return f"{name}:{settings}" if settings else name


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"
