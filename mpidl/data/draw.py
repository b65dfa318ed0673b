"""A picture of a division: which agent holds how many examples of which class, and how many in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpidl.errors import ConfigError, ResultsError

# Above this number of agents or classes, numbers and discs would only blur: colours say it then.
_MOST_DISCS = 40


def draw(sizes: np.ndarray, counts: np.ndarray | None, path: Path, title: str) -> None:
    """Writes the picture of `counts` [agents, classes] and `sizes`; the suffix (png, pdf, svg) chooses the format."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("drawing needs matplotlib; install it with: pip install 'mpidl[plot]'", "--plot") from error
    agents = len(sizes)
    classes = 0 if counts is None else counts.shape[1]
    width = min(16.0, 3.0 + 0.28 * agents)
    figure = Figure(figsize=(max(5.0, width), 2.2 + min(8.0, 0.28 * classes)), layout="constrained")
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ConfigError(f"{str(path)!r} must end in one of {', '.join(f'.{suffix}' for suffix in known)}", "--plot")
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
        above.yaxis.get_major_locator().set_params(integer=True)
    below.bar(np.arange(agents), sizes, color="tab:blue", width=0.8 if agents <= _MOST_DISCS else 1.0)
    below.set(xlabel="agent", ylabel="examples", xlim=(-0.7, agents - 0.3))
    below.xaxis.get_major_locator().set_params(integer=True)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ResultsError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
