"""The CSV files in the run's folder, which every run has."""

from typing import Annotated, Literal

from lorakiln.schema.marks import Decides
from lorakiln.schema.trackers import TrackerSettings


class CsvSettings(TrackerSettings):
    kind: Annotated[Literal["csv"], Decides.TRACKER] = "csv"
