"""Run files: one HDF5 file per run, written by rank 0, readable at any moment.

`mpidl.results.open(path)` reads one, `open_all(paths)` many, folders and patterns; `run_file.RunFile` writes one.
"""

from mpidl.results.many import Opened, open_all
from mpidl.results.reader import Run, open

__all__ = ["Opened", "Run", "open", "open_all"]
