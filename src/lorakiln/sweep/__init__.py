"""A sweep: jobs as processes, skipped where they are finished, and what they found on one page."""

from lorakiln.sweep.jobs import Job, Outcome, run_jobs
from lorakiln.sweep.results import sum_up

__all__ = ["Job", "Outcome", "run_jobs", "sum_up"]
