"""Run files: one HDF5 file per run, written by rank 0, readable at any moment.

`mpidl.results.open(path)` reads one; `open_all(paths)` many, folders and patterns; `glance_all(paths, metrics)` of many
what tables need. `run_file.RunFile` writes one.
"""

from mpidl.results.glance import Glance
from mpidl.results.many import Opened, glance_all, open_all
from mpidl.results.reader import Run, open

__all__ = ["Glance", "Opened", "Run", "glance_all", "open", "open_all"]
