#!/usr/bin/env python3
"""Make mpidl/data/digits.h5 from the table of handwritten digits that scikit-learn carries.

    pip download --no-deps scikit-learn && unzip scikit_learn-*.whl sklearn/datasets/data/digits.csv.gz
    python tools/make_digits.py sklearn/datasets/data/digits.csv.gz [mpidl/data/digits.h5]

Each line of the table is 64 pixels, 0 to 16, row by row, and the digit. It is the test part of Optical Recognition of
Handwritten Digits (UCI Machine Learning Repository): 1,797 digits of 13 writers, in the order of the original.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import h5py
import numpy as np

SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
ATTRIBUTES = {
    "title": "Optical Recognition of Handwritten Digits, test part: 1,797 images of 8x8 pixels, 0 to 16",
    "source": "UCI Machine Learning Repository, https://archive.ics.uci.edu/dataset/80, by way of scikit-learn's copy",
    "license": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "citation": "E. Alpaydin and C. Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning "
    "Repository, 1998. https://doi.org/10.24432/C50P49",
    "changes": "stored as HDF5, uint8, values unchanged",
}


def main(source: Path, target: Path) -> None:
    text = gzip.decompress(source.read_bytes())
    if hashlib.sha256(text).hexdigest() != SHA256:
        sys.exit(f"{source} is not the table this program knows (SHA-256 differs); nothing written")
    table = np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.uint8)
    with h5py.File(target, "w") as file:
        file.attrs.update(ATTRIBUTES)
        # No time stamps and fixed settings: the same table gives the same bytes.
        options = {"compression": "gzip", "compression_opts": 9, "shuffle": False, "track_times": False}
        file.create_dataset("images", data=table[:, :64].reshape(-1, 8, 8), chunks=(len(table), 8, 8), **options)
        file.create_dataset("labels", data=table[:, 64], chunks=(len(table),), **options)
    print(f"{target}: {len(table)} images, {target.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    here = Path(__file__).resolve().parent.parent / "mpidl" / "data" / "digits.h5"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else here)
