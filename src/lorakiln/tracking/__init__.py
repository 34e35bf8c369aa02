"""Where a run's numbers and pictures also go: W&B, or nowhere. Nothing depends on it."""

from lorakiln.tracking.tracker import RECORD, Tracker, resume_tracker, start_tracker

__all__ = ["RECORD", "Tracker", "resume_tracker", "start_tracker"]
