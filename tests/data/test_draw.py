"""Pictures of divisions tell classes by their names, and how many examples a disc stands for."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl.data.dataset import Dataset
from mpidl.data.draw import draw
from mpidl.data.formats.cifar import Cifar10
from mpidl.data.formats.idx import FashionMnist
from mpidl.errors import DataError
from tests.analysis.figures import looks


@pytest.mark.parametrize("names", [FashionMnist.class_names, Cifar10.class_names, None])
def test_discs_have_the_areas_that_the_legend_tells(names: tuple[str, ...] | None) -> None:
    counts = np.arange(80).reshape(8, 10) * 10
    figure = draw(counts.sum(1), counts, "a division", names)
    looks.check(figure)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [*(names or map(str, range(10)))]
    (legend,) = figure.subfigs[0].legends
    told = {text.get_text(): line.get_markersize() for text, line in zip(legend.texts, legend.get_lines(), strict=True)}
    assert list(told) == ["500 examples", "100 examples", "20 examples"]
    # A disc of 500 has five times the area of one of 100, as have those that are drawn.
    assert told["500 examples"] ** 2 == pytest.approx(5 * told["100 examples"] ** 2)
    areas = dict(zip(counts[counts > 0].tolist(), figure.axes[0].collections[0].get_sizes(), strict=True))
    assert areas[500] == pytest.approx(told["500 examples"] ** 2)


@pytest.mark.parametrize("agents, classes", [(1, 2), (60, 10), (100, 100), (5, None)])
def test_a_division_of_any_size_can_be_read(agents: int, classes: int | None) -> None:
    counts = None if classes is None else np.random.default_rng(0).integers(0, 9, (agents, classes))
    looks.check(draw(np.full(agents, 9), counts, "a division"))


def test_names_of_classes_are_as_many_as_classes() -> None:
    x, y = np.zeros((3, 2), np.float32), np.array([0, 1, 2])
    assert Dataset(x, y, x, y, class_names=("a", "b", "c")).outputs == 3
    with pytest.raises(DataError, match="there are 3 classes, but 2 names of classes"):
        Dataset(x, y, x, y, class_names=("a", "b"))
