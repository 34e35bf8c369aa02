"""The CSV files in the run's folder, which every run has."""

from typing import Literal

from lorakiln.schema.trackers import TrackerSettings


class CsvSettings(TrackerSettings):
    kind: Literal["csv"] = "csv"
