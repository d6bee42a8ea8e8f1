"""Whether processes can meet in the folder of temporary files."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agg_pipeline.storage.temporary_folder import check_temporary_folder
from schemas.errors import UserError


def folder_of(length, below):
    """A folder whose path has so many bytes."""
    left = length - len(str(below)) - 1
    folder = below / "x".ljust(left, "x")
    folder.mkdir()
    assert len(str(folder)) == length
    return folder


@pytest.fixture
def below():
    """A folder with a short path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_longest_path_is_the_longest_in_which_processes_meet(below, monkeypatch):
    code = (
        "from multiprocessing.connection import Listener, arbitrary_address\n"
        "Listener(family='AF_UNIX', address=arbitrary_address('AF_UNIX')).close()\n"
    )
    for length, fits in ((75, True), (76, False)):
        folder = folder_of(length, below)
        ended = subprocess.run([sys.executable, "-c", code], env={"TMPDIR": str(folder)}, capture_output=True)
        assert (ended.returncode == 0) == fits, ended
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        if fits:
            check_temporary_folder()
        else:
            said = "has a path of 76 bytes, and processes can only meet in one of at most 75; set TMPDIR to"
            with pytest.raises(UserError, match=rf"{said} .* \({re.escape(str(folder))}\)$"):
                check_temporary_folder()


def test_a_folder_in_which_nothing_can_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"^cannot write temporary files: No such file or directory; set TMPDIR to a "):
        check_temporary_folder()
