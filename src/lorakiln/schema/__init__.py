"""The typed config: one file a namespace, names, types, ranges and units; `check` validates a whole one."""
