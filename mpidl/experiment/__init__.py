"""A run, from its configuration to its end. Importing this brings no torch and starts no MPI."""

from mpidl.experiment.schema import Config, check, load, output_path, received

__all__ = ["Config", "check", "load", "output_path", "received"]
