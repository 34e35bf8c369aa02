"""Hydra finds its launchers here: for sweeps in which every job is a process of its own."""
