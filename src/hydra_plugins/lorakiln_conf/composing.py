"""Composing as both doors do it."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.lorakiln_conf._files import FileConfigSource
from hydra_plugins.lorakiln_conf.nearest import explain_unknown_name
from hydra_plugins.lorakiln_conf.quoting import escape_brackets, quote_names, quote_value
from lorakiln.console.errors import REMEDIES, UserError, explain_error
from lorakiln.schema.secrets import mask_secrets

# What Hydra and OmegaConf say of settings and files; a config that is missing is an OSError too.
SAID = (HydraException, OmegaConfBaseException, yaml.YAMLError, UnicodeError)
# An error that is raised in one of these, of whatever type, is about the settings it was given.
READERS = ("hydra", "omegaconf", "antlr4")
GIVEN = "conf and the command line"


def read_strictly() -> None:
    """From now on every config file that Hydra reads, wherever it lies, passes `read_yaml` first."""
    Plugins.instance()  # it registers Hydra's own sources when it is made
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


def compose_config(overrides: Sequence[str], conf: Path = Path("conf")) -> dict[str, Any]:
    """Compose and resolve; the hydra node is left out.

    Raises:
        UserError: it cannot be composed (no such folder, an unknown group or key, a wrong override, a file that is no
            YAML).
    """
    read_strictly()
    with (
        explaining_errors(f"{conf} with {list(overrides)}"),
        initialize_config_dir(str(conf.resolve()), version_base="1.3"),
    ):
        return to_plain_settings(compose("config", quote_names(overrides)))


def to_plain_settings(composed: DictConfig) -> dict[str, Any]:
    """The composed config as plain data, interpolations resolved; to be called while `explaining_errors`."""
    return cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))


@contextmanager
def explaining_errors(where: object = GIVEN) -> Iterator[None]:
    """Turn what keeps Hydra from composing, or from making a run's folder, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if told := explain_composing(error, where) or explain_writing(error):
            raise told from error
        raise


def explain_composing(error: Exception, where: object = GIVEN) -> UserError | None:
    """The UserError that tells of settings that do not compose; None if this is another error.

    What looks like a key is masked: it may stand in an override, which Hydra repeats.
    """
    if named := explain_unknown_name(error):
        what, fix = named
        return UserError(mask_secrets(f"cannot compose: {what}"), where=mask_secrets(str(where)), fix=mask_secrets(fix))
    if isinstance(error, RecursionError):
        said = ["settings lead to themselves, or are too deep"]
    elif isinstance(error, SAID) or _is_raised_by_readers(error):
        said = [str(error)]
        if isinstance(error.__cause__, OmegaConfBaseException) and str(error.__cause__) not in said[0]:
            said.append(str(error.__cause__))
    else:
        return None
    text = (
        "\n".join(line.expandtabs(2) for part in said for line in part.splitlines() if line.strip())
        or type(error).__name__
    )
    fix = "mend the override or the file"
    if isinstance(error, OverrideParseException) and "=" in error.override:
        fix = _mend_override(*error.override.partition("=")[::2])
    return UserError(mask_secrets(f"cannot compose: {text}"), where=mask_secrets(str(where)), fix=mask_secrets(fix))


def _mend_override(key: str, value: str) -> str:
    if not value.startswith(("{", "[")):
        return f"if this is a text or a file's name, write {shlex.quote(f'{key}={quote_value(value)}')}"
    escaped = f"{key}={escape_brackets(value)}"
    try:
        OverridesParser.create().parse_override(escaped)
    except HydraException:
        return "mend the list or dict, or write it into a file: conf/experiment/NAME.yaml"
    return f"round brackets in a list or dict have a backslash in front: {shlex.quote(escaped)}"


def explain_writing(error: Exception) -> UserError | None:
    """The UserError that tells why the run's folder cannot be made; None if this is another error."""
    # Hydra's logging hides the disk's error behind one of its own.
    cause = error if isinstance(error, OSError) else error.__cause__
    if not isinstance(cause, OSError):
        return None
    if cause.errno in REMEDIES and (told := explain_error(cause)):
        return told
    fix = REMEDIES.get(cause.errno or 0, "write elsewhere: hydra.run.dir=<folder>")
    return UserError(f"cannot write: {cause.strerror}", where=cause.filename or "the run's folder", fix=fix)


def _is_raised_by_readers(error: Exception) -> bool:
    place: TracebackType | None = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    if place is None or isinstance(error, OSError) or isinstance(error.__cause__, OSError):
        return False
    return str(place.tb_frame.f_globals.get("__name__")).partition(".")[0] in READERS
