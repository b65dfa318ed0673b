"""The forms in which data sets lie on disk, a module each; none of them trusts a file."""
