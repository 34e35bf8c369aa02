"""Hydra finds the sweeper here that searches instead of trying every combination."""
