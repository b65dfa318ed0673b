"""One reader, fed by atheris with what reaches ever more of its code; a process of its own, started by a test.

    python -m tests.full.guided KIND FOLDER SECONDS

KIND is `configuration` or a format of data. An error that is no sentence of mpidl's ends it with atheris' report.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

# What data formats stand on is not watched: it is their own business, and torch is large.
with atheris.instrument_imports(include=["mpidl", "yaml", "gzip", "zipfile", "pickle"]):
    import mpidl.data.formats.cifar
    import mpidl.data.formats.hdf5
    import mpidl.data.formats.idx
    import mpidl.data.formats.libsvm
    import mpidl.data.formats.npz
    import mpidl.data.formats.pickles
    import mpidl.data.formats.text  # noqa: F401
    from mpidl import config, experiment, notation
    from mpidl.data import DATA
    from mpidl.errors import MpidlError

import numpy as np

from tests.data.formats import fuzz

ROOT = Path(__file__).parents[2]
LONGEST = 4096


def read_configuration(content: bytes) -> None:
    """As `mpidl run` reads one, up to what all of its parts say."""
    with contextlib.suppress(UnicodeDecodeError):
        keys = notation.load(content.decode(), "here")
        if isinstance(keys, dict):
            config.validate(experiment.Config, config.expand(keys))


def reader(kind: str, folder: Path) -> tuple[list[bytes], object]:
    """Sound contents, and what reads others."""
    if kind == "configuration":
        return [path.read_bytes() for path in (ROOT / "configs").glob("*.yaml")], read_configuration
    keys, paths = fuzz.prepare(kind, folder)
    source = DATA.parse({"name": kind, "root": str(folder), **keys})
    # Pixels are no part of the format: small files let more be tried.
    path = min(paths, key=lambda path: path.stat().st_size)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        dataset = source.load()
        if np.prod(dataset.x.shape, dtype=float) < 1e5:
            source.deal(dataset, 2, 0)

    return [path.read_bytes()], read


def main(kind: str, folder: Path, seconds: int) -> None:
    corpus, data = folder / "corpus", folder / "data"
    corpus.mkdir(parents=True)
    data.mkdir()
    contents, read = reader(kind, data)
    for number, content in enumerate(contents):
        (corpus / str(number)).write_bytes(content)

    def once(content: bytes) -> None:
        with contextlib.suppress(MpidlError):
            try:
                read(content)
            except MpidlError as error:
                if "\n" in str(error):
                    raise RuntimeError(f"more than a sentence: {error}") from error
                raise

    longest = max(LONGEST, *(2 * len(content) for content in contents))
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000", "-seed=1", f"-max_len={longest}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
