"""Starting ranks: the MPI that mpi4py loads, the launcher that belongs to it, its command line, and the wait for it."""
