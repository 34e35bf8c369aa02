"""Verbs: one file per DVC stage, each run as `python -m pipelines.<stage>` from the project's root."""
