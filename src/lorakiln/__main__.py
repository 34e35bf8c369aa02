"""The `lorakiln` command, also as `python -m lorakiln`."""

from lorakiln.console.exit_signals import end_by_signals


def entry() -> None:
    end_by_signals()  # before all that takes time to import
    from lorakiln.cli import entry

    entry()


if __name__ == "__main__":  # a process that Python spawns imports this module, too
    entry()
