"""A picture of a division: which agent holds how many examples of which class, and how many in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpidl.pictures import check, new_figure, save

# Above this number of agents or classes, numbers and discs would only blur: colours say it then.
_MOST_DISCS = 40


def draw(sizes: np.ndarray, counts: np.ndarray | None, path: Path, title: str) -> None:
    """Writes the picture of `counts` [agents, classes] and `sizes`; the suffix (png, pdf, svg) chooses the format."""
    check(path, "--plot")
    from matplotlib.ticker import MaxNLocator

    agents = len(sizes)
    classes = 0 if counts is None else counts.shape[1]
    width = min(16.0, 3.0 + 0.28 * agents)
    figure = new_figure(max(5.0, width), 2.2 + min(8.0, 0.28 * classes))
    figure.suptitle(title)
    if counts is None:
        below = figure.subplots()
    else:
        above, below = figure.subplots(2, sharex=True, height_ratios=(max(2.0, 0.28 * classes), 1.2))
        if max(agents, classes) <= _MOST_DISCS:
            where, which = np.nonzero(counts)
            above.scatter(where, which, s=180 * counts[where, which] / counts.max(), color="tab:blue")
        else:
            image = above.imshow(counts.T, aspect="auto", origin="lower", cmap="viridis", interpolation="nearest")
            figure.colorbar(image, ax=above, label="examples")
        above.set(ylabel="class", ylim=(-0.7, classes - 0.3))
        above.yaxis.set_major_locator(MaxNLocator(integer=True))
    below.bar(np.arange(agents), sizes, color="tab:blue", width=0.8 if agents <= _MOST_DISCS else 1.0)
    below.set(xlabel="agent", ylabel="examples", xlim=(-0.7, agents - 0.3))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, path, "--plot")
