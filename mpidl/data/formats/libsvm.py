"""LibSVM text: one example per line, `label index:value index:value …`, indices ascending from 1."""

from __future__ import annotations

import math
from array import array
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.formats.files import find_file
from mpidl.data.source import Source
from mpidl.errors import DataError
from mpidl.seeding import stream

# Beyond this many numbers, rows are kept sparse and made dense batch by batch.
_MOST_DENSE = 2**27
_MOST_FEATURES = 2**31 - 1


class SparseRows:
    """Compressed sparse rows, dense when taken."""

    portable = True

    def __init__(self, starts: np.ndarray, columns: np.ndarray, values: np.ndarray, features: int) -> None:
        self.starts, self.columns, self.values = starts, columns, values
        self.shape = (len(starts) - 1, features)
        self.dtype = values.dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The rows of these indices, dense."""
        counts = self.starts[indices + 1] - self.starts[indices]
        rows = np.repeat(np.arange(len(indices)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = np.repeat(self.starts[indices], counts) + within
        dense = np.zeros((len(indices), self.shape[1]), dtype=self.dtype)
        dense[rows, self.columns[at]] = self.values[at]
        return dense

    def part(self, indices: np.ndarray) -> SparseRows:
        """Some of the rows."""
        counts = self.starts[indices + 1] - self.starts[indices]
        ranges = [np.arange(self.starts[row], self.starts[row + 1]) for row in indices]
        at = np.concatenate([np.empty(0, np.int64), *ranges])
        starts = np.concatenate([[0], np.cumsum(counts)])
        return SparseRows(starts, self.columns[at], self.values[at], self.shape[1])


def read_libsvm(path: Path) -> tuple[np.ndarray, SparseRows]:
    """Labels, and rows as wide as the highest index."""
    labels, starts = array("d"), array("q", [0])
    columns, values = array("q"), array("d")
    try:
        with path.open(encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                words = line.partition("#")[0].split()
                if words:
                    try:
                        labels.append(_number(words[0]))
                        _append(words[1:], columns, values)
                    except ValueError as error:
                        raise DataError(f"{path}, line {number}: {error}") from error
                    starts.append(len(columns))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not labels:
        raise DataError(f"{path} holds no example")
    # An empty buffer cannot be mapped.
    places = np.frombuffer(columns, np.int64) if columns else np.empty(0, np.int64)
    numbers = np.frombuffer(values, np.float64) if values else np.empty(0)
    width = int(places.max(initial=-1)) + 1
    return np.frombuffer(labels, np.float64), SparseRows(np.frombuffer(starts, np.int64), places, numbers, width)


def _number(text: str) -> float:
    # float() would also take '1_000' and 'nan'.
    value = math.nan if "_" in text else float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not a finite number")
    return value


def _append(words: list[str], columns: array[int], values: array[float]) -> None:
    before = 0
    for word in words:
        index, colon, value = word.partition(":")
        if not colon or not index.isdigit() or len(index) > 10 or not before < int(index) <= _MOST_FEATURES:
            raise ValueError(f"{word[:40]!r} is not index:value with ascending indices from 1")
        before = int(index)
        columns.append(before - 1)
        values.append(_number(value))


class LibSvm(Source):
    """Rows of numbers in LibSVM's text format: a9a, w8a, rcv1, covtype and many others.

    Labels of a classification, whatever their numbers, become 0, 1, … in ascending order. Without a file of test
    examples, a share of the training examples, drawn once and for all, serves as one.
    """

    train: str = Field("a9a", description="file of training examples")
    test: str | None = Field("a9a.t", description="file of test examples; null: use `holdout`")
    holdout: float = Field(0.1, gt=0.0, lt=1.0, description="share of the examples for test where `test` is null")
    task: Literal["classification", "regression"] = Field("classification", description="what the labels are")
    features: int | None = Field(None, ge=1, description="width of a row; null: the highest index in the files")
    sparse: bool | None = Field(None, description="keep rows sparse in host memory; null: where they are large")

    def load(self) -> Dataset:
        path = find_file(self.root, self.train, "train", ("libsvm", "."))
        labels, rows = read_libsvm(path)
        if self.test is None:
            order = stream(0, "holdout").permutation(len(labels))
            aside = max(1, round(self.holdout * len(labels)))
            test, train = np.sort(order[:aside]), np.sort(order[aside:])
            test_labels, test_rows = labels[test], rows.part(test)
            labels, rows = labels[train], rows.part(train)
        else:
            test_labels, test_rows = read_libsvm(find_file(self.root, self.test, "test", ("libsvm", ".")))
        width = max(rows.shape[1], test_rows.shape[1])
        if self.features is not None and width > self.features:
            raise DataError(f"data.features: {path} or its test file has an index {width}, above {self.features}")
        width = self.features or max(1, width)
        y, y_test, classes = labels, test_labels, None
        if self.task == "classification":
            names, y = np.unique(labels, return_inverse=True)
            y_test = np.searchsorted(names, test_labels)
            unknown = names[np.minimum(y_test, len(names) - 1)] != test_labels
            if unknown.any():
                raise DataError(f"the test label {test_labels[unknown][0]:g} is none of the training labels of {path}")
            classes = len(names)
        rows.shape, test_rows.shape = (len(labels), width), (len(test_labels), width)
        sparse = width * (len(labels) + len(test_labels)) > _MOST_DENSE if self.sparse is None else self.sparse
        x, x_test = (part if sparse else part.take(np.arange(part.shape[0])) for part in (rows, test_rows))
        return Dataset(x, y, x_test, y_test, task=self.task, classes=classes)
