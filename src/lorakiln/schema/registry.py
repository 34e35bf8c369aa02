"""Kinds by name: of each sort (adapters, optimizers, schedules, ...) there are many, and each is a file of its own.

A kind is found by looking: its settings are `schema/<sort>/<name>.py`, one Settings class, and its code is a module of
the same name in the sort's own package, which has what the sort's protocol asks for, or whose `KIND` has it. Neither is
imported before it is asked for, so that a config is checked without torch.

Kinds of other packages are added by `Registry.add`. A package that is to be found by every command names a function
that calls it as an entry point of the group "lorakiln.kinds":

    [project.entry-points."lorakiln.kinds"]
    ours = "our_package:add_kinds"
"""

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, core_schema

from lorakiln.schema.base import Settings, format_choices

GROUP = "lorakiln.kinds"
Kind = TypeVar("Kind")
_REGISTRIES: list["Registry[Any]"] = []


class Registry(Generic[Kind]):
    """All kinds of one sort.

    Args:
        sort: what one of them is called, for messages.
        code: the package in which a kind's code is a module of the kind's name.
        settings: the package that holds a module for every kind, with its settings and nothing else; "" if kinds of
            this sort have none: then `code` is the package that holds kinds alone.
        base: what the settings of all of them have; a kind's are a subclass with `kind: Literal[name]`. If its own
            `kind` has a default, that is the kind where none is named.
        key: the setting that names the kind, if that is another than `kind`.
        besides: the modules of `code` that are no kinds; all others of it are, those without settings too, which are
            known and cannot be chosen. None: a kind without settings is none.
    """

    def __init__(
        self,
        sort: str,
        code: str,
        settings: str = "",
        base: type[Settings] = Settings,
        key: str = "kind",
        besides: Collection[str] | None = None,
    ) -> None:
        self.sort, self.code, self.package, self.base, self.key = sort, code, settings, base, key
        self.besides = besides
        self._added: dict[str, tuple[Kind, type[Settings] | None]] = {}
        _REGISTRIES.append(self)

    def add(self, name: str, kind: Kind, settings: type[Settings] | None = None) -> None:
        """Make a kind known that is not part of this package.

        Raises:
            ValueError: there is one of this name, or its settings are missing or of another sort.
        """
        if name in self._listed() or name in self._listed_code() or name in self._added:
            raise ValueError(f"there is a kind of {self.sort} called {name!r}")
        needed = self.package and not (settings is None and self.besides is not None)
        if needed and not (isinstance(settings, type) and issubclass(settings, self.base)):
            raise ValueError(f"the settings of {self.sort} {name!r} must be a subclass of {self.base.__name__}")
        self._added[name] = (kind, settings)

    def remove(self, name: str) -> None:
        """Forget an added kind; KeyError if there is none of this name."""
        del self._added[name]

    @property
    def names(self) -> list[str]:
        """Of all kinds that a config can choose, sorted."""
        _add_installed()
        added = [name for name, (_, settings) in self._added.items() if settings or self.besides is None]
        return sorted({*self._listed(), *added})

    @property
    def known(self) -> list[str]:
        """Of all kinds, also those without settings, sorted."""
        _add_installed()
        return sorted({*self._listed(), *self._listed_code(), *self._added})

    def find(self, name: str) -> Kind:
        """The kind's code.

        Raises:
            KeyError: there is no kind of this name; a checked config names none such.
        """
        self._check(name)
        if name in self._added:
            return self._added[name][0]
        # What has all that the sort's protocol asks for: a module, or the object in it that shares code with others.
        module = importlib.import_module(f"{self.code}.{name}")
        return cast(Kind, getattr(module, "KIND", module))

    def settings(self, name: str) -> type[Settings]:
        """The class of the kind's settings.

        Raises:
            KeyError: there is no kind of this name, or it has no settings.
            TypeError: its file holds not one class of settings.
        """
        if name not in self.names:
            raise KeyError(f"no settings of {self.sort} {name!r}; there are: {', '.join(self.names)}")
        if name in self._added:
            return self._added[name][1] or self.base
        if not self.package:
            return self.base
        module = importlib.import_module(f"{self.package}.{name}")
        own = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, self.base)]
        own = [value for value in own if value.__module__ == module.__name__]
        if len(own) != 1:
            raise TypeError(f"{module.__name__} must define one subclass of {self.base.__name__}, not {len(own)}")
        return own[0]

    def modules(self, settings: Settings) -> list[str]:
        """The modules of the kind that has these settings, its code's; empty if it is of another sort."""
        own, package = type(settings), f"{self.package}."
        if self.package and own.__module__.startswith(package):
            return [f"{self.code}.{own.__module__.removeprefix(package)}"]
        added = [kind for kind, its in self._added.values() if its is own]
        # A module, or an object of a class; what makes neither out is told by where its settings are.
        return [
            name
            for kind in added
            for name in (own.__module__, kind.__name__ if isinstance(kind, ModuleType) else type(kind).__module__)
            if name not in ("types", "builtins")
        ]

    def chosen(self, without: Collection[str] = ()) -> "Chosen":
        """What makes a field of the schema take the settings of whichever kind it names: Annotated[BASE, chosen()].

        Args:
            without: kinds that it does not take.
        """
        return Chosen(self, without)

    def _check(self, name: str) -> None:
        if name not in self.known:
            raise KeyError(f"no {self.sort} {name!r}; there are: {', '.join(self.known)}")

    def _listed(self) -> list[str]:
        return _modules(self.package or self.code)

    def _listed_code(self) -> list[str]:
        """The kinds whose code is a module and that may have no settings."""
        if self.besides is None:
            return []
        return [name for name in _modules(self.code) if name not in self.besides]


def list_modules(*settings: Settings) -> list[str]:
    """The modules of all kinds that settings have chosen, wherever in them, sorted."""
    found: set[str] = set()
    todo = list(settings)
    while todo:
        one = todo.pop()
        found.update(name for registry in _REGISTRIES for name in registry.modules(one))
        values = [getattr(one, name) for name in type(one).model_fields]
        inner = [part for value in values for part in (value.values() if isinstance(value, dict) else [value])]
        todo.extend(part for part in inner if isinstance(part, Settings))
    return sorted(found)


class Chosen:
    """A field's settings are those of the kind that one of them names; see `Registry.chosen`."""

    def __init__(self, registry: Registry[Any], without: Collection[str] = ()) -> None:
        self.registry, self.without = registry, without

    @property
    def names(self) -> list[str]:
        """Of the kinds that can be named here."""
        return [name for name in self.registry.names if name not in self.without]

    def choose(self, given: object) -> type[Settings]:
        """The settings' class for what is given; the common one if that names no kind."""
        key = self.registry.key
        kind = self._kind(given) if isinstance(given, Mapping) else getattr(given, key, None)
        return self.registry.settings(kind) if kind in self.names else self.registry.base

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        # A kind that is added later counts too: a union made here would know those of today alone.
        dump = core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.model_validate, serialization=dump)

    def model_validate(self, given: Any) -> Settings:
        """What is given as the settings of the kind that it names; called so that it can stand for a Settings class.

        Raises:
            ValidationError: it names none that there is, or is wrong in what that kind has.
        """
        if isinstance(given, self.registry.base):
            return given
        if isinstance(given, Mapping) and self._kind(given) not in self.names:
            raise ValidationError.from_exception_data(self.registry.sort, [self._explain(given)])
        # What it raises keeps its places: pydantic puts the field's own before them.
        return self.choose(given).model_validate(given)

    def _kind(self, given: Mapping[str, Any]) -> Any:
        field = self.registry.base.model_fields.get(self.registry.key)
        return given.get(self.registry.key, None if field is None or field.is_required() else field.default)

    def _explain(self, given: Mapping[str, Any]) -> InitErrorDetails:
        key = self.registry.key
        if key not in given:
            return InitErrorDetails(type="missing", loc=(key,), input=given)
        expected = format_choices(self.names)
        if given[key] in self.registry.known and given[key] not in self.without:
            expected += f"; {given[key]!r} is known, and cannot be chosen yet"
        context = {"expected": expected}  # as pydantic says it of a Literal
        return InitErrorDetails(type="literal_error", loc=(key,), input=given[key], ctx=context)


@cache
def _modules(package: str) -> list[str]:
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [module.name for module in found if module.name[0] != "_"]


def _dump(settings: Settings, info: Any) -> dict[str, Any]:
    return settings.model_dump(mode=info.mode)


@cache
def _add_installed() -> None:
    for entry in entry_points(group=GROUP):
        entry.load()()
