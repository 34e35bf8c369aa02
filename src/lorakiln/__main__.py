"""`python -m lorakiln` is the `lorakiln` command."""

from lorakiln.cli import entry

if __name__ == "__main__":  # a process that Python spawns imports this module, too
    entry()
