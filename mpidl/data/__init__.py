"""Data sets, how they are divided among agents, and the batches that reach the device."""

from mpidl.data.dataset import Dataset
from mpidl.data.source import adapt
from mpidl.registry import Registry

__all__ = ["DATA", "Dataset"]

DATA = Registry("data", adapt)

DATA.add("digits", "mpidl.data.digits:Digits")
DATA.add("fashion-mnist", "mpidl.data.idx:FashionMnist")
DATA.add("mnist", "mpidl.data.idx:Mnist")
DATA.add("cifar10", "mpidl.data.cifar:Cifar10")
DATA.add("cifar100", "mpidl.data.cifar:Cifar100")
DATA.add("libsvm", "mpidl.data.libsvm:LibSvm")
DATA.add("npz", "mpidl.data.npz:Npz")
DATA.add("hdf5", "mpidl.data.hdf5:Hdf5")
DATA.add("text", "mpidl.data.text:Text")
DATA.add("synthetic", "mpidl.data.synthetic:Synthetic")
DATA.add("quadratics", "mpidl.data.quadratics:Quadratics")
DATA.add("blobs", "mpidl.data.blobs:Blobs")
