"""Hydra finds its launchers here: one for sweeps in which every job is a process of its own."""
