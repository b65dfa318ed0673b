"""What may be written to, and what is spared."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from mpidl.errors import ConfigError
from mpidl.results.output import check_output, write_text
from tests.results.test_full_disk import room_for


@pytest.mark.parametrize("content", ["text", "hdf5"])
def test_overwriting_spares_what_is_no_run_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious.h5"
    path.write_text("precious")
    if content == "hdf5":
        h5py.File(path, "w").close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="no such file of mpidl's, and no other is replaced; choose another"):
        check_output(path, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("length", [251, 255, 256])
def test_a_name_that_is_too_long_for_the_files_beside_it_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ConfigError, match="File name too long; choose another with -o"):
        check_output(tmp_path / ("a" * length))
    check_output(tmp_path / ("a" * 250))


def test_a_text_that_does_not_fit_is_refused_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_text(path, ["whole ", "before"])
    with room_for(1000), pytest.raises(ConfigError, match=r"page.html' cannot be written: File too large; choose"):
        write_text(path, ["x" * 2000])
    assert [each.read_text() for each in tmp_path.iterdir()] == ["whole before"]
