"""Run files: one HDF5 file per run, written by rank 0, readable at any moment.

`mpidl.results.open(path)` reads one; `run_file.RunFile` writes one.
"""

from mpidl.results.reader import Run, open

__all__ = ["Run", "open"]
