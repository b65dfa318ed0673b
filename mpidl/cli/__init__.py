"""The command line: each command parses, calls what does the work, and prints."""
