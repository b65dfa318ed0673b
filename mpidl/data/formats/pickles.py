"""Reading python pickles that hold nothing but containers, strings, numbers and arrays of bytes.

A pickle is a program. This reader knows only the instructions that such data need, and the only names it resolves are
inert stand-ins of its own for what numpy writes, so that whatever a file asks for, nothing of it is run: no function
of numpy or of any other module is ever called. The pure-python unpickler is used because the C one reserves memory for
sizes that it has not seen.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mpidl.errors import DataError

# fmt: off
_ALLOWED = [
    "PROTO", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1",
    "BININT2", "LONG", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BINUNICODE", "SHORT_BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "DICT", "LIST", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
    "GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
]
# fmt: on

# CIFAR-100's training file takes about half a million reads; each can make one object.
_MOST_READS = 5_000_000


class _Bytes:
    """What stands for an array: its pickled state, checked, and nothing else."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _ByteType) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("an array that is not one of bytes")
        if not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {shape} in {len(raw)} bytes")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _ByteType:
    """What stands for the type uint8."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment say nothing about bytes."""


class _Name:
    """What stands for a name: it can be called to make a stand-in, and holds nothing that could be changed."""

    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __call__(self, *arguments: Any) -> Any:
        if self._kind == "reconstruct":
            return _Bytes()
        if self._kind == "dtype" and arguments and arguments[0] in ("u1", b"u1"):
            return _ByteType()
        if self._kind == "encode" and len(arguments) == 2 and arguments[1] == "latin1":
            return arguments[0].encode("latin1")
        raise pickle.UnpicklingError(f"a call of {self._kind} with {len(arguments)} arguments")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"an attempt to change {self._kind}")


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


class _Counted(io.BytesIO):
    """A file that can be read from only so many times."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > _MOST_READS:
            raise pickle.UnpicklingError("more objects than such a file has")
        return super().read(size)


def _skip_frame(reader: Any) -> None:
    """The frames of protocol 4 need not be honoured: what they hold follows in place."""
    reader.read(8)


class _Reader(pickle._Unpickler):
    dispatch = {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _ALLOWED}
    dispatch[pickle.FRAME[0]] = _skip_frame

    def find_class(self, module: str, name: str) -> _Name:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data need")
        return _Name(_NAMES[module, name])


def read_pickle(content: bytes, path: Path) -> dict[bytes, Any]:
    """The dictionary in a pickle; its keys and strings as bytes, its arrays as numpy's, of bytes."""
    try:
        loaded = _Reader(_Counted(content), encoding="bytes").load()
    except Exception as error:
        # A damaged program may go wrong in any way that python has; each of them means that the file is not to be used.
        raise DataError(f"{path} is damaged, or not a pickle of plain data: {_reason(error)}") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path} does not hold a dictionary")
    # pickle itself lets lone surrogates pass, so they are no reason to stop here.
    named = ((key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key, loaded[key]) for key in loaded)
    return {key: value.array if isinstance(value, _Bytes) else value for key, value in named}


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError) and error.args:
        return str(error)
    return "it ends too early" if isinstance(error, EOFError) else f"it makes no sense ({type(error).__name__})"
