"""`python -m lorakiln` is the `lorakiln` command."""

from lorakiln.cli import entry

entry()
