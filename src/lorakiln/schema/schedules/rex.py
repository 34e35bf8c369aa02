"""Down to the least rate, slowly at first: REX (arXiv 2107.04197)."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.schedules import SchedulerSettings


class RexSettings(SchedulerSettings):
    kind: Literal["rex"] = "rex"
    bend: float = Field(0.5, ge=0, lt=1, description="how late it falls: 0 is a straight line, the paper has 0.5")
