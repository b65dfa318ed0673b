"""Data sets, how they are divided among agents, and the batches that reach the device."""

from mpidl.data.dataset import Dataset
from mpidl.data.pairs import from_pairs
from mpidl.data.source import Source
from mpidl.data.source import adapt as _adapt
from mpidl.registry import Registry

__all__ = ["DATA", "Dataset", "Source", "from_pairs"]

DATA: Registry[Source] = Registry("data", "mpidl.data.source:Source", _adapt)

DATA.add("digits", "mpidl.data.digits:Digits")
DATA.add("fashion-mnist", "mpidl.data.formats.idx:FashionMnist")
DATA.add("mnist", "mpidl.data.formats.idx:Mnist")
DATA.add("cifar10", "mpidl.data.formats.cifar:Cifar10")
DATA.add("cifar100", "mpidl.data.formats.cifar:Cifar100")
DATA.add("libsvm", "mpidl.data.formats.libsvm:LibSvm")
DATA.add("npz", "mpidl.data.formats.npz:Npz")
DATA.add("hdf5", "mpidl.data.formats.hdf5:Hdf5")
DATA.add("text", "mpidl.data.formats.text:Text")
DATA.add("synthetic", "mpidl.data.generated:Synthetic")
DATA.add("quadratics", "mpidl.data.generated:Quadratics")
DATA.add("blobs", "mpidl.data.generated:Blobs")
