"""Numbers as people read them, wherever they stand: in the lines of a run, in tables, in sentences and in pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

ABSENT = "–"

# Of a mean that is told with its deviation: places behind the point, and from where it is told by its power of ten.
_PLACES, _LARGE = 5, 1e7
# Seconds from which on minutes are told.
_MINUTES = 100


def number(value: float) -> str:
    """Four significant digits; whole numbers in full; a dash for NaN."""
    if math.isnan(value):
        return ABSENT
    if math.isfinite(value) and value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.4g}"


def counted(count: int, what: str) -> str:
    """`1 rank`, `1,437 examples`."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def placed(hosts: Sequence[str]) -> str:
    """`2 on here, 1 on there`, of the host of each rank."""
    return ", ".join(f"{hosts.count(host)} on {host}" for host in dict.fromkeys(hosts))


def fraction(value: float) -> str:
    """`93.91 %`."""
    return ABSENT if math.isnan(value) else f"{100 * value:.2f} %"


def amount(count: float) -> str:
    """`1.5 GB`, with a thousand bytes to the kB."""
    if math.isnan(count):
        return ABSENT
    size, unit = _size(count)
    return f"{count / size:.3g} {unit}" if unit != "B" else f"{count:.0f} B"


def _size(count: float) -> tuple[float, str]:
    """The unit that so many bytes are told in: its bytes and its name."""
    size = 1.0
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5 * size:
            return size, unit
        size *= 1000
    return size, "TB"


def duration(seconds: float) -> str:
    """`3.21 s`, `4 min 10 s`, `2 h 05 min`."""
    if math.isnan(seconds):
        return ABSENT
    if seconds < _MINUTES or math.isinf(seconds):
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    if minutes < 60 * 10_000:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes / 60:.3g} h"


def measured(value: float, units: str) -> str:
    """A number with its units."""
    if units == "bytes":
        return amount(value)
    if units == "s":
        return duration(value)
    return number(value)


def is_fraction(metric: str) -> bool:
    """Whether a metric of this name is told in per cent."""
    return "accuracy" in metric


def of_metric(name: str, value: float, units: str = "1") -> str:
    """A value of a metric: `97.78 %`, `3.21 s`, `1.5 GB`, `0.1234`."""
    return fraction(value) if is_fraction(name) else measured(value, units)


def with_deviation(mean: float, deviation: float, name: str = "", units: str = "1") -> str:
    """`97.8 ± 0.32 %`: a mean to the place of its deviation's second digit; alone where that is zero or no number.

    `name` is that of a metric, which says whether it is told in per cent.
    """
    if not math.isfinite(mean) or not math.isfinite(deviation) or deviation == 0:
        return of_metric(name, mean, units)
    if units == "s" and abs(mean) >= _MINUTES:
        return f"{duration(mean)} ± {duration(deviation)}"
    size, unit = 1.0, ""
    if units == "bytes":
        size, unit = _size(mean)
    elif units == "s":
        unit = "s"
    elif is_fraction(name):
        size, unit = 0.01, "%"
    mean, deviation, unit = mean / size, deviation / size, f" {unit}" if unit else ""
    places = max(0, 1 - math.floor(math.log10(deviation)))
    if places > _PLACES or abs(mean) >= _LARGE:
        return f"{mean:.3g} ± {deviation:.2g}{unit}"
    return f"{mean:,.{places}f} ± {deviation:,.{places}f}{unit}"
