"""How a process joins the others of its launch: it starts MPI, where that can end well.

Not a part of startup.py, since failures.py needs it without torch.
"""

from __future__ import annotations

import os
import warnings

from mpi4py import MPI

from mpidl.comm.start import launchers


def join(place: launchers.Place) -> None:
    """Starts MPI; LaunchError where that would end this process in MPI's own words."""
    launchers.refuse_unknown_pmix(place, MPI.Get_library_version(), os.environ)
    with warnings.catch_warnings():
        # Of mpi4py, in each process: `refuse_solo` says it once, with the cure.
        warnings.filterwarnings("ignore", "suspicious MPI execution environment", RuntimeWarning)
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
