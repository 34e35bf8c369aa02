"""A sweep: jobs as processes here, on SLURM or on Ray, skipped where they are finished, and what they found."""

from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.running import run_jobs
from lorakiln.sweep.summary import sum_up

__all__ = ["Job", "Outcome", "run_jobs", "sum_up"]
