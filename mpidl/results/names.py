"""The few names of a run file that the writer and the reader share; the README describes its layout."""

from __future__ import annotations

SCHEMA_VERSION = 1

STATUSES = ("running", "finished", "diverged", "interrupted", "failed")

MOST_AGENTS = 100_000
"""Far beyond what one can train, and few enough that a graph of them still fits into memory."""

# What a record can be plotted against: dimension scales of every metric.
SCALES = ("round", "epoch", "seconds", "bytes")

# The curve that a NeXus viewer opens with: the first of these that the run has.
SIGNALS = ("test_accuracy_consensus", "test_accuracy_server", "test_loss_consensus", "test_loss_server", "train_loss")

# Superblock 0 and version-1 object headers carry no checksum, so that a header torn between two pages is still a
# header, and every HDF5 tool since 1.6 reads them.
LIBVER = ("earliest", "v110")
