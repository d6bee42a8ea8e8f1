"""What a command says when its run is stopped."""

import subprocess
import sys

import pytest

from agg_pipeline.cli.start_and_stop import resumable
from schemas.errors import StoppedError, StorageError, UserError


@pytest.mark.parametrize("kind", [StorageError, StoppedError])
@pytest.mark.parametrize(("overwrite", "without"), [(False, ""), (True, " without --overwrite")])
def test_a_run_that_had_to_stop_says_how_to_resume(kind, overwrite, without):
    with pytest.raises(UserError) as error, resumable(overwrite):
        raise kind("the disk is full")
    assert str(error.value) == (
        f"the disk is full; finished shards are kept; run the same command again{without} to resume"
    )


@pytest.mark.parametrize(("overwrite", "without"), [(False, ""), (True, " without --overwrite")])
def test_an_interrupted_run_says_how_to_resume(capsys, overwrite, without):
    with pytest.raises(SystemExit) as end, resumable(overwrite):
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == (
        f"stopped; finished shards are kept; run the same command again{without} to resume\n"
    )


def test_other_errors_pass():
    with pytest.raises(UserError, match=r"^unknown split$"), resumable(overwrite=True):
        raise UserError("unknown split")


def test_a_working_folder_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os; from agg_pipeline.cli.__main__ import run; import sys; os.rmdir({str(gone)!r}); "
        "sys.argv = ['agg', 'data', 'list']; run()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=gone, capture_output=True, text=True)
    assert ended.stderr == "error: the working folder does not exist any more; change to another folder\n"
    assert ended.returncode == 2
