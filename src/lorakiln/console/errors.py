"""Errors that are a user's to mend: printed without a traceback, with a way out."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from lorakiln.console.exit_signals import finish
from lorakiln.console.orphans import end_with_starter
from lorakiln.console.standard_streams import StreamError, UnreadError, naming_streams, open_closed_streams
from lorakiln.console.terminal_text import printing_safely

# errno -> what to do about it. Others are no fault of the disk's, and are let through.
REMEDIES = {
    errno.ENOSPC: "free disk space, or write elsewhere",
    errno.EDQUOT: "free space of your quota, or write elsewhere",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`), or write elsewhere",
    errno.EROFS: "make the disk writable, or write elsewhere",
    errno.EACCES: "change the folder's permissions, or write elsewhere",
    errno.EPERM: "change the folder's permissions, or write elsewhere",
    errno.EIO: "the disk may be failing: look at the system's log",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EISDIR: "a folder has that name: give another one",
    errno.ENOTDIR: "a file stands where a folder is to be: move it away, or write elsewhere",
    errno.EEXIST: "a file stands where a folder is to be: move it away, or write elsewhere",
}
GONE = (errno.ENOENT, errno.ESTALE)


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


def explain_error(error: Exception) -> UserError | None:
    """What to tell of an error that a file, the disk or too little memory is to blame for, wherever it came from; None
    if none is.
    """
    if isinstance(error, UserError):
        return error
    # By name: commands that load no model do not wait for torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        device = "the machine" if isinstance(error, MemoryError) else "the GPU"
        return UserError(f"{device} is out of memory", fix="end what else uses it, or take a smaller base or pictures")
    if isinstance(error, StreamError):
        return UserError(f"cannot write: {error.strerror}", where=error.filename, fix="let it write elsewhere")
    if not isinstance(error, OSError) or error.filename is None:
        return None
    if error.errno not in (*REMEDIES, *GONE):
        return None
    if error.errno in GONE:
        fix = "something removed it while this ran: run the same command again"
        return UserError(f"cannot be read or written: {error.strerror}", where=error.filename, fix=fix)
    return make_disk_error(error, None)


def make_disk_error(error: OSError, where: object) -> UserError:
    """What to tell of an OSError whose number `REMEDIES` knows, about its file, or about `where` if it names none."""
    file = error.filename2 or error.filename
    if error.errno == errno.EACCES and isinstance(file, str) and os.path.exists(file) and not os.access(file, os.R_OK):
        return UserError(f"cannot be read: {error.strerror}", where=file, fix="change its permissions")
    return UserError(f"cannot write: {error.strerror}", where=file or where, fix=REMEDIES[error.errno or 0])


def exit_on_user_error(command: Callable[[], int | None]) -> int:
    """Run `command`; print a UserError, or a file's or the disk's, to stderr and return 1; or return the command's own
    status (None: 0).

    A signal ends the program with its status, whatever became of what it raised (see `exit_signals`); an interrupt
    (Ctrl-C) that nobody has taken returns 130, as shells do. If `dvc` or torchrun runs the command and ends, it ends
    too. Where nobody reads any longer what it prints it ends with 141, as by SIGPIPE; streams that are closed lead to
    nowhere.
    """
    end_with_starter()
    open_closed_streams()
    with naming_streams(), printing_safely():
        try:
            status = command() or 0
            sys.stdout.flush()
        except BaseException as error:
            finish()
            if isinstance(error, UnreadError):
                with suppress(UnreadError):  # this may go the same way: `2>&1 | head`
                    print("ended, since nobody reads what it prints", file=sys.stderr, flush=True)
                return 128 + signal.SIGPIPE
            if isinstance(error, Exception) and (explained := explain_error(error)):
                print(f"error: {explained}", file=sys.stderr, flush=True)
                return 1
            if isinstance(error, KeyboardInterrupt):
                print("interrupted", file=sys.stderr, flush=True)
                return 130
            raise
        finish()
        return status
