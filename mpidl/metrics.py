"""What can be measured: a metric of a run, or a meter of a rank, with its units and one line about it.

Whoever measures a thing declares it: ranks their meters (`comm/meters.py`), the loop the metrics of every run
(`results/metrics.py`), an algorithm its own diagnostics. The run file stores what was declared beside the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One quantity; its units are "1" for a plain number, and its description is part of a sentence."""

    name: str
    units: str
    description: str
