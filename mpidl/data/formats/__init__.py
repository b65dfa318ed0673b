"""The forms in which data sets lie on disk, one module each; none of them trusts a file."""
