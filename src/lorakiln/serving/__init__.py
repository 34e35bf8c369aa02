"""Pages that commands show in a browser of this machine, and of no other."""
