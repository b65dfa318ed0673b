"""mpidl: decentralized and federated training with MPI."""

__version__ = "0.1.0"
