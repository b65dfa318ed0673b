"""What is found out about a run, kind by kind: which functions are asked of which of its models and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpidl.analysis.studies import alignment, landscape, sharpness, uncertainty
from mpidl.analysis.studies.base import Choices, End
from mpidl.analysis.subject import Subject
from mpidl.results.findings import Findings

Study = Callable[[Subject, Choices, End | None], Findings]

STUDIES: Mapping[str, Study] = {
    "sharpness": sharpness.study,
    "landscape": landscape.study,
    "alignment": alignment.study,
    "uncertainty": uncertainty.study,
}
"""Of kept models; on ranks they are collective calls. They raise `Missing` where a run lacks what they need."""
