"""Plain text for models that predict the next character, split by speaker where it is a play."""

from __future__ import annotations

import re

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.formats.files import find_file, read_limited
from mpidl.data.source import Source
from mpidl.errors import DataError

_MOST_BYTES = 2**30
# A line of its own that ends in a colon, after an empty line or at the start.
_SPEAKER = re.compile(r"(?:\A|(?<=\n\n))([A-Z][^\n:]{0,60}):\n")


class Text(Source):
    """Windows of a text file, each to be continued by one character: tiny-shakespeare, or any UTF-8 text.

    x is `context` characters, y the same window one character later; windows start `stride` characters apart. Where
    the file has "NAME:" lines, every speaker's words, the name lines included, are put together and windows stay within
    them, the speaker being their owner (`split: given`). The last part of each speaker's windows is for test. The
    vocabulary is the distinct characters in the order of their code points.
    """

    file: str = Field("tinyshakespeare/input.txt", description="the text file, UTF-8")
    context: int = Field(80, ge=1, le=65536, description="characters in a window")
    stride: int | None = Field(None, ge=1, description="characters from window to window; null: a whole window")
    speakers: bool = Field(True, description="take 'NAME:' lines for speakers; false: one running text")
    test: float = Field(0.1, gt=0.0, lt=1.0, description="share of the windows, the last ones, for test")

    def load(self) -> Dataset:
        path = find_file(self.root, self.file, "file")
        try:
            text = read_limited(path, _MOST_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error
        characters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        vocabulary, tokens = np.unique(characters, return_inverse=True)
        tokens = tokens.astype(np.uint8 if len(vocabulary) <= 256 else np.int32)
        spans = speaker_spans(text) if self.speakers else {}
        if len(spans) < 2:
            spans = {"": [(0, len(text))]}
        train: list[np.ndarray] = []
        test: list[np.ndarray] = []
        owner: list[np.ndarray] = []
        short = 0
        for spoken in spans.values():
            words = np.concatenate([tokens[start:stop] for start, stop in spoken])
            windows = self._windows(words)
            if not len(windows):
                short += 1
                continue
            first_test = len(windows) - int(self.test * len(windows) + 0.5)
            # Windows that overlap the first one for test are in neither part.
            kept = first_test - -(-self.context // (self.stride or self.context)) + 1
            if kept < 1:
                kept = first_test = len(windows)
            train.append(windows[:kept])
            test.append(windows[first_test:])
            owner.append(np.full(kept, len(owner)))
        if not train or not sum(len(part) for part in test):
            raise DataError(f"{path} is too short for windows of {self.context} characters, some of them for test")
        warnings = (f"{short} of {len(spans)} speakers say too little for one window",) if short else ()
        both, both_test = np.concatenate(train), np.concatenate(test)
        return Dataset(
            both[:, :-1],
            both[:, 1:],
            both_test[:, :-1],
            both_test[:, 1:],
            owner=np.concatenate(owner) if len(spans) > 1 else None,
            task="language",
            classes=len(vocabulary),
            warnings=warnings,
        )

    def _windows(self, tokens: np.ndarray) -> np.ndarray:
        """All windows of context + 1 characters that fit."""
        width = self.context + 1
        if len(tokens) < width:
            return np.empty((0, width), tokens.dtype)
        return np.lib.stride_tricks.sliding_window_view(tokens, width)[:: self.stride or self.context]


def speaker_spans(text: str) -> dict[str, list[tuple[int, int]]]:
    """For each speaker, in order of appearance, where in the text its speeches stand, name lines included."""
    names = list(_SPEAKER.finditer(text))
    spans: dict[str, list[tuple[int, int]]] = {}
    ends = [match.start() for match in names[1:]] + [len(text)]
    for match, end in zip(names, ends, strict=False):
        spans.setdefault(match[1], []).append((match.start(), end))
    return spans
