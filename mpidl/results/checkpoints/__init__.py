"""Checkpoints: the whole state of a run after one of its rounds, from which it goes on exactly.

Beside the run file `<stem>.h5` lies `<stem>.ckpt`, and in it a folder for each checkpoint, `round-000001200`:

    rank-00003.h5     what rank 3 held (parts.py)
    index.h5          what the checkpoint is of, its files with sizes and checksums, and every state whole (index.py)
    index.sha256      the checksum of the index, as `sha256sum -c` reads it

Ranks write into a folder of another name (folder.py). It gets its own once all is on the disk, by one rename: what has
the name is complete. What is read is checked first (reader.py).
"""
