"""Kinds by name: of each sort (adapters, optimizers, schedules, ...) there are many, and each is a file of its own.

A kind is found by looking: its settings are `schema/<sort>/<name>.py`, one Settings class, and its code is a module of
the same name in the sort's own package, which has what the sort's protocol asks for. Neither is imported before it is
asked for, so that a config is checked without torch.

Kinds of other packages are added by `Registry.add`. A package that is to be found by every command names a function
that calls it as an entry point of the group "lorakiln.kinds":

    [project.entry-points."lorakiln.kinds"]
    ours = "our_package:add_kinds"
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, core_schema

from lorakiln.schema.base import Settings

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
        base: what the settings of all of them have; a kind's are a subclass with `kind: Literal[name]`.
    """

    def __init__(self, sort: str, code: str, settings: str = "", base: type[Settings] = Settings) -> None:
        self.sort, self.code, self.package, self.base = sort, code, settings, base
        self._added: dict[str, tuple[Kind, type[Settings] | None]] = {}
        _REGISTRIES.append(self)

    def add(self, name: str, kind: Kind, settings: type[Settings] | None = None) -> None:
        """Make a kind known that is not part of this package.

        Raises:
            ValueError: there is one of this name, or its settings are missing or of another sort.
        """
        if name in self._listed() or name in self._added:
            raise ValueError(f"there is a kind of {self.sort} called {name!r}")
        if self.package and not (isinstance(settings, type) and issubclass(settings, self.base)):
            raise ValueError(f"the settings of {self.sort} {name!r} must be a subclass of {self.base.__name__}")
        self._added[name] = (kind, settings)

    def remove(self, name: str) -> None:
        """Forget an added kind; KeyError if there is none of this name."""
        del self._added[name]

    @property
    def names(self) -> list[str]:
        """Of all kinds, sorted."""
        _add_installed()
        return sorted({*self._listed(), *self._added})

    def find(self, name: str) -> Kind:
        """The kind's code.

        Raises:
            KeyError: there is no kind of this name; a checked config names none such.
        """
        self._check(name)
        if name in self._added:
            return self._added[name][0]
        return importlib.import_module(f"{self.code}.{name}")

    def settings(self, name: str) -> type[Settings]:
        """The class of the kind's settings.

        Raises:
            KeyError: there is no kind of this name.
            TypeError: its file holds not one class of settings.
        """
        self._check(name)
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

    def chosen(self) -> "Chosen":
        """What makes a field of the schema take the settings of whichever kind it names: Annotated[BASE, chosen()]."""
        return Chosen(self)

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise KeyError(f"no {self.sort} {name!r}; there are: {', '.join(self.names)}")

    def _listed(self) -> list[str]:
        package = importlib.import_module(self.package or self.code)
        return [module.name for module in pkgutil.iter_modules(package.__path__) if module.name[0] != "_"]


def modules_in(*settings: Settings) -> list[str]:
    """The modules of all kinds that settings have chosen, wherever in them, sorted."""
    found, todo = set(), list(settings)
    while todo:
        one = todo.pop()
        found.update(name for registry in _REGISTRIES for name in registry.modules(one))
        todo.extend(value for name in type(one).model_fields if isinstance(value := getattr(one, name), Settings))
    return sorted(found)


class Chosen:
    """A field's settings are those of the kind that its `kind` names; see `Registry.chosen`."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def choose(self, given: object) -> type[Settings]:
        """The settings' class for what is given; the common one if that names no kind."""
        kind = given.get("kind") if isinstance(given, Mapping) else getattr(given, "kind", None)
        return self.registry.settings(kind) if kind in self.registry.names else self.registry.base

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        # A kind that is added later counts too: a union made here would know those of today alone.
        dump = core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(self._validate, serialization=dump)

    def _validate(self, given: Any) -> Settings:
        if isinstance(given, self.registry.base):
            return given
        if isinstance(given, Mapping) and given.get("kind") not in self.registry.names:
            raise ValidationError.from_exception_data(self.registry.sort, [self._explain(given)])
        # What it raises keeps its places: pydantic puts the field's own before them.
        return self.choose(given).model_validate(given)

    def _explain(self, given: Mapping[str, Any]) -> InitErrorDetails:
        if "kind" not in given:
            return InitErrorDetails(type="missing", loc=("kind",), input=given)
        names = [repr(name) for name in self.registry.names]
        expected = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        context = {"expected": expected}  # as pydantic says it of a Literal
        return InitErrorDetails(type="literal_error", loc=("kind",), input=given["kind"], ctx=context)


def _dump(settings: Settings, info: Any) -> dict[str, Any]:
    return settings.model_dump(mode=info.mode)


@cache
def _add_installed() -> None:
    for entry in entry_points(group=GROUP):
        entry.load()()
