"""The data set that ships with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpidl.data.dataset import Dataset
from mpidl.data.source import Augmented
from mpidl.errors import DataError
from mpidl.seeding import stream

_TEST = 360


class Digits(Augmented):
    """Handwritten digits, 8×8 grey: 1,437 for training and 360 for test; ships with the package.

    The test part of UCI's Optical Recognition of Handwritten Digits, 1,797 images [Alpaydin and Kaynak 1998,
    doi:10.24432/C50P49, CC BY 4.0], pixels 0 to 16 brought to [0, 1]. The division is fixed, whatever the run's seed:
    a shuffle by stream(0, "digits"), of which the first 360 are for test. Examples have shape (1, 8, 8).
    """

    def load(self) -> Dataset:
        import h5py

        path = Path(__file__).with_name("digits.h5")
        try:
            with h5py.File(path, "r", locking=False) as file:
                images, labels = file["images"][...], file["labels"][...]
        except (OSError, KeyError) as error:
            raise DataError(f"{path} is damaged; install mpidl again") from error
        x = images[:, None].astype(np.float32) / 16
        order = stream(0, "digits").permutation(len(x))
        test, train = np.sort(order[:_TEST]), np.sort(order[_TEST:])
        return Dataset(x[train], labels[train].astype(np.int64), x[test], labels[test].astype(np.int64), classes=10)
