"""The layout of a run file, in words and in the few names that the writer and the reader share."""

from __future__ import annotations

SCHEMA_VERSION = 1

STATUSES = ("running", "finished", "diverged", "interrupted", "failed")

# What a record can be plotted against: dimension scales of every metric.
SCALES = ("round", "epoch", "seconds", "bytes")

# The curve that a NeXus viewer opens with: the first of these that the run has.
SIGNALS = ("test_accuracy_consensus", "test_accuracy_server", "test_loss_consensus", "test_loss_server", "train_loss")

# Superblock 0 and version-1 object headers carry no checksum, so that a header torn between two pages is still a
# header, and every HDF5 tool since 1.6 reads them.
LIBVER = ("earliest", "v110")

SCHEMA = """\
/                       attributes: schema_version, mpidl_version, name, agents,
                        status (running, finished, diverged, interrupted, failed),
                        created, updated, finished (UTC; finished is empty until the end)
/config                 the configuration with all defaults, as YAML text; saved as a file, it can be run again
/provenance             attributes: git_commit, git_dirty, argv, hosts, gpus, job_id, mpi, …; versions/ of packages
/graph                  absent where there is none; of round 0: edges [E, 2] (from, to), weights [E],
                        self_weights [agents]; attributes name, period (0: drawn anew each round)
/metrics                attribute records: how many records are committed; rows beyond it do not count
/metrics/<name>         [record] or [record, agent], float64, NaN where not measured; attributes units, description
/metrics/round          int64, and epoch, seconds, bytes, float64: dimension scales of every metric
/timing/<meter>         [record, rank], float64: seconds and counters of each rank since it started
/events                 attribute records; time (seconds since 1970, UTC), round, kind, text: [event]
/snapshots              absent unless checkpoint.snapshots says how often; attributes records (as above), names, shapes
/snapshots/round        [record]
/snapshots/<model>      [record, P], or [record, agent, P] for local: the parameters in the order of names
/entry                  for NeXus viewers: NXentry whose `data` is a link to /metrics (NXdata)
"""
