"""How an axis is divided: chosen by what is drawn along it, so that differences show and rounding does not.

Accuracies near the top are told as error rates on a logarithmic axis, losses and distances on one, too; a logarithmic
axis ends where rounding begins, and a linear one is never narrower than rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mpidl.spoken import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

ROUNDING = {"float32": 1e-9, "float64": 1e-24}
"""Parts of the largest value below which there is rounding alone: squares of what a number is precise to, with room.

Values of one and more are never taken for it, however large that of a run is which explodes beside others.
"""

# An accuracy from which on differences are seen better in what is wrong.
_HIGH = 0.9
# Decades up to which 1, 2 and 5 of each are labelled; below, so many equal steps are.
_FEW, _NARROW = 2.2, 0.6
_TICKS, _STEPS = 5, (1, 2, 2.5, 5, 10)
_NARROWEST = 1e-9
# Values that are further apart than so many times go onto a logarithmic axis.
_APART = 8.0


class Limits(NamedTuple):
    """Where an axis ends, and whether it is divided logarithmically, with a place for zero or without one."""

    low: float
    high: float
    logarithmic: bool = False
    zero: float | None = None

    def place(self, values: np.ndarray) -> np.ndarray:
        """Where values are drawn: on a logarithmic axis, what is not positive at the place of zero, or nowhere."""
        if not self.logarithmic:
            return values
        return np.where(values > 0, values, np.nan if self.zero is None else self.zero)


def near_the_top(accuracies: Iterable[np.ndarray]) -> bool:
    """Whether the best of these lines of accuracies is one of which the error rate tells more."""
    return max((float(line.max()) for line in accuracies if line.size), default=0.0) >= _HIGH


def logarithmic(
    lines: Sequence[np.ndarray],
    rounding: float = ROUNDING["float32"],
    with_zero: bool = False,
    bands: Sequence[np.ndarray] = (),
) -> Limits | None:
    """A logarithmic axis for these values; None where none is positive.

    What lies below so many parts of the largest value, or of 1 where that is less, is rounding: it lies below the axis.
    Zeros have a place of their own at its end `with_zero`. Of `bands` about the lines, whose ends these are, the axis
    has all that is above them, and below the least value as far as to its half: a band may reach to nothing.
    """
    values = np.concatenate([*lines, np.zeros(0)])
    positive = values[values > 0]
    if not positive.size:
        return None
    high = float(positive.max())
    low = float(positive[positive >= rounding * min(high, 1.0)].min())
    ends = np.concatenate([*bands, np.zeros(0)])
    near = ends[ends >= low / 2]
    low, high = float(near.min(initial=low)), float(near.max(initial=high))
    zero = low / 2 if with_zero and (values == 0).any() else None
    low = low if zero is None else zero
    # A level line is seen as one.
    room = max((high / low) ** 0.04, 1.05)
    return Limits(low / room, high * room, True, zero)


def linear(lines: Sequence[np.ndarray]) -> Limits:
    """A linear axis for these values; from 0 to 1 where there are none."""
    values = np.concatenate([*lines, np.zeros(0)])
    if not values.size:
        return Limits(0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    level = high - low <= _NARROWEST * size
    room = 0.1 * (size or 1.0) if level else 0.04 * (high - low)
    return Limits(low - room, high + room)


def apart(values: Sequence[float]) -> bool:
    """Whether those of these values that are positive are told from each other on a logarithmic axis alone."""
    known = [value for value in values if value > 0]
    return bool(known) and max(known) > _APART * min(known)


def divide(axes: Axes, which: Literal["x", "y"], limits: Limits, units: str = "1", whole: bool = False) -> None:
    """Gives an axis these limits, and ticks of round values with numbers as people read them.

    `whole`: between whole numbers, as of rounds and agents, there is nothing.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    # The scale first: setting it forgets limits.
    axes.set(**{f"{which}scale": "log" if limits.logarithmic else "linear"})
    axes.set(**{f"{which}lim": (limits.low, limits.high)})
    if limits.logarithmic:
        low = limits.low if limits.zero is None else 1.3 * limits.zero
        major, minor = log_ticks(low, limits.high)
        axis.set_ticks(major if limits.zero is None else [limits.zero, *major])
        axis.set_ticks(minor, minor=True)
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(_TICKS, steps=_STEPS, integer=whole))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, place: "0" if value == limits.zero else tick(value, units)))


def divide_time(axes: Axes, limits: Limits) -> str:
    """The same for seconds across, told in a unit that suits them, with round numbers of it; returns its name."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    second, unit = of_time(limits.high)
    divide(axes, "x", limits)
    steps = MaxNLocator(_TICKS, steps=_STEPS).tick_values(limits.low / second, limits.high / second)
    axes.xaxis.set_ticks([second * step for step in steps if limits.low <= second * step <= limits.high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value / second:,.4g}"))
    return unit


def log_ticks(low: float, high: float) -> tuple[list[float], list[float]]:
    """Ticks with and without numbers from low to high."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [digit * 10.0**decade for decade in range(first, last + 1) for digit in range(1, 10)]
    every = [value for value in every if low <= value <= high]
    decades = math.log10(high / low)
    if decades < _NARROW:
        from matplotlib.ticker import MaxNLocator

        steps = MaxNLocator(_TICKS, steps=_STEPS).tick_values(low, high)
        return [float(value) for value in steps if low <= value <= high], []
    if decades <= _FEW:
        return [value for value in every if f"{value:e}"[0] in "125"], every
    apart = -(-(last - first) // (_TICKS + 1))
    tens = [10.0**decade for decade in range(first, last + 1, apart) if low <= 10.0**decade <= high]
    return tens, every if apart == 1 else [10.0**decade for decade in range(first, last + 1)]


def tick(value: float, units: str) -> str:
    """The number beside a tick."""
    if units == "bytes":
        return amount(value)
    if units == "%":
        return f"{100 * value:.5g}"
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.3e}".split("e")
        power = rf"10^{{{int(exponent)}}}"
        return f"${power}$" if float(mantissa) == 1 else rf"${float(mantissa):g}\cdot {power}$"
    return f"{value:,.6g}"


def of_time(longest: float) -> tuple[float, str]:
    """Seconds of the unit that so many seconds are told in, and its name."""
    for seconds, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if longest >= 3 * seconds:
            return seconds, unit
    return 1.0, "s"
