"""A file of facts, typed: what a stage writes of what it made, and the stages after it read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from lorakiln.artefacts.json_files import Damaged, read_json, write_json
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import Settings, Validator, check

Namespace = TypeVar("Namespace", bound=Settings)
# What is left out of files that others get, so that the rest can be read.
WITHHELD: Mapping[str, Mapping[str, Any]] = {
    "prepare": {"dataset": "withheld"},
    "train": {"tracker": {"kind": "none"}},
}
FIX = (
    "run the stage that made it again: `dvc repro`; where it names a kind that is not known here, install the package "
    "that adds it"
)


class Facts(BaseModel):
    """A file of facts, or a part of one."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The facts that a file holds.

        Raises:
            Missing: it is not there (also a FileNotFoundError).
            Damaged: it does not hold these facts.
        """
        return cls.of(read_json(path), path)

    @classmethod
    def of(cls, data: Mapping[str, Any], path: Path) -> Self:
        """The same, of what was read from `path`."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            missing = problem["type"] == "missing"
            what = f"nothing about {where!r} in it" if missing else f"{where}: {problem['msg'].lower()}"
            raise Damaged(path, what) from error

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: what was given, and nothing that was not."""
        return self.model_dump(mode="json", exclude_unset=True)

    def write(self, path: Path) -> None:
        """Write them, whole or not at all."""
        write_json(path, self.to_dict())

    def changed(self, **changes: Any) -> Self:
        """The same with other values."""
        return self.model_copy(update=changes)


class MadeWith(Facts):
    """Facts of something that settings have made.

    Attributes:
        settings: of the stages so far, by stage, JSON, as they were recorded.
    """

    settings: dict[str, Any]

    def made_with(self, stage: str, kind: type[Namespace]) -> Namespace:
        """The settings of a stage, typed.

        Raises:
            UserError: they are not recorded, or those of another version.
        """
        try:
            return check(
                cast(Validator[Namespace], kind), {**WITHHELD.get(stage, {}), **self.settings.get(stage, {})}, stage
            )
        except ConfigError as error:
            what = f"the settings that are recorded are not of this version: {error.what}"
            raise UserError(what, where="settings", fix=FIX) from error
