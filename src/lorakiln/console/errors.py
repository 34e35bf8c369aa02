"""Errors that are a user's to mend: printed without a traceback, with a way out."""

import sys
from collections.abc import Callable, Sequence

from lorakiln.console.ending import finish
from lorakiln.console.orphans import end_with_dvc
from lorakiln.console.visible import printing_safely


class UserError(Exception):
    """Something that the user can mend.

    Args:
        what: what is wrong, in one sentence.
        where: the file, folder or config key, if there is one.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: object = None, fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what if self.where is None else f"{self.where}: {self.what}"]
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class ConfigError(UserError):
    """One or more wrong settings; `problems` holds one line each, with the setting's path."""

    def __init__(self, problems: Sequence[str], fix: str = "") -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} setting{'s are' if len(self.problems) > 1 else ' is'} wrong"
        super().__init__("\n".join([count + ":", *(f"  - {line}" for line in self.problems)]), fix=fix)


def exit_on_user_error(command: Callable[[], int | None]) -> int:
    """Run `command`; print a UserError, or a file's or the disk's, to stderr and return 1; or return the command's own
    status (None: 0).

    A signal ends the program with its status, whatever became of what it raised (see `ending`); an interrupt (Ctrl-C)
    that nobody has taken returns 130, as shells do. If `dvc` runs the command and ends, the command ends too.
    """
    end_with_dvc()
    with printing_safely():
        try:
            status = command() or 0
        except BaseException as error:
            from lorakiln.artefacts.disk import explained  # which knows of UserError

            finish()
            if isinstance(error, Exception) and (told := explained(error)):
                print(f"error: {told}", file=sys.stderr, flush=True)
                return 1
            if isinstance(error, KeyboardInterrupt):
                print("interrupted", file=sys.stderr, flush=True)
                return 130
            raise
        finish()
        return status
