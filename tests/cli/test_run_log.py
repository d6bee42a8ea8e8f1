"""``log.txt``: what is in it, when it is written, and what ``-v`` shows."""

import logging
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import fsspec
import pytest

from agg_pipeline.cli.run_log import ALL, LOG, logged, run_log, show_messages
from agg_pipeline.execution.job import Progress
from agg_pipeline.report.printed import PRINTED
from schemas.errors import UserError

SAYS = logging.getLogger("agg_pipeline.execution.resuming")


@pytest.fixture(autouse=True)
def as_before():
    """The loggers as they were, for the tests that follow."""
    logger = logging.getLogger(ALL)
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


def messages(text):
    """The lines without time and level; they are checked."""
    lines = [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|DEBUG) +(.*)", line) for line in text]
    assert all(lines), text
    return [line[2] for line in lines]


def test_a_log_has_versions_command_messages_and_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agg", "proposals", "run", "--out", "a folder"])
    out = tmp_path / "out"
    with run_log(str(out)) as log:
        SAYS.info("before")
        assert not out.exists()
        log.begin()
        SAYS.warning("shard %d is damaged", 3)
        logging.getLogger(PRINTED).info("40 of 40 images")
        SAYS.debug("details")
        assert (out / LOG).read_text().endswith("40 of 40 images\n"), "written at once"
    found = messages((out / LOG).read_text().splitlines())
    assert found[0] == "started: agg proposals run --out 'a folder'"
    assert found[1].startswith("in ")
    assert re.match(r"with Python 3\.\d+\.\d+, agg-pipeline \d+\.\d+.*, torch \d.*, dask \d.*, numpy \d", found[2])
    assert found[3:6] == ["before", "shard 3 is damaged", "40 of 40 images"]
    assert re.fullmatch(r"finished after \d+\.\d s", found[6])
    assert len(found) == 7


def test_a_resumed_run_appends(tmp_path):
    for _ in range(2):
        with run_log(str(tmp_path)) as log:
            log.begin()
    found = messages((tmp_path / LOG).read_text().splitlines())
    assert [line.split()[0] for line in found] == ["started:", "in", "with", "finished"] * 2


def test_a_folder_that_is_moved_away_is_not_made_again(tmp_path):
    out = tmp_path / "out"
    with run_log(str(out)) as log:
        log.begin()
        out.rename(tmp_path / "moved")
        SAYS.warning("more")
    assert not out.exists()


def test_a_refused_run_leaves_no_log(tmp_path):
    with pytest.raises(UserError), run_log(str(tmp_path / "out")):
        raise UserError("the folder is another run's")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("disk full"), "failed: disk full after"),
        (KeyboardInterrupt(), "stopped after"),
        (SystemExit(130), "ended with exit code 130 after"),
        (SystemExit(None), "ended with exit code 0 after"),
    ],
)
def test_how_a_run_ended(tmp_path, error, said):
    with pytest.raises(type(error)), run_log(str(tmp_path)) as log:
        log.begin()
        raise error
    assert said in (tmp_path / LOG).read_text().splitlines()[-1]


def test_an_object_store_gets_the_log_at_the_end():
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/logged/log.txt", b"earlier\n")
    with run_log("memory://logged") as log:
        log.begin()
        SAYS.info("in between")
        assert filesystem.cat_file("/logged/log.txt") == b"earlier\n"
    lines = filesystem.cat_file("/logged/log.txt").decode().splitlines()
    assert lines[0] == "earlier"
    assert messages(lines[1:])[3] == "in between"
    filesystem.rm("/logged", recursive=True)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    (tmp_path / "file").touch()
    with run_log(str(tmp_path / "file")) as log:
        log.begin()
        SAYS.info("unheard")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["pipe", "full pipe", "folder", "full device", "link"])
def test_what_lies_in_the_place_of_a_log_stops_nothing(tmp_path, kind, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.write_text("mine\n")
    if kind == "folder":
        (out / LOG).mkdir()
    elif "pipe" in kind:
        os.mkfifo(out / LOG)
    else:
        (out / LOG).symlink_to("/dev/full" if kind == "full device" else other)
    reader = os.open(out / LOG, os.O_RDONLY | os.O_NONBLOCK) if kind == "full pipe" else None
    with run_log(str(out)) as log:
        log.begin()
        SAYS.info("x" * 100_000)
        SAYS.info("unheard")
    if reader is not None:
        os.close(reader)
    assert capsys.readouterr().err == ""
    assert other.read_text() == "mine\n"


def test_the_log_begins_when_the_run_owns_its_folder(tmp_path):
    told = []
    start = SimpleNamespace()
    with run_log(str(tmp_path)) as log:
        progress = logged(Progress(told.append, print), log)
        assert not (tmp_path / LOG).exists()
        progress.started(start)
        assert (tmp_path / LOG).exists()
    assert told == [start]
    assert progress.finished is print


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [(0, ["WARNING: w"]), (1, ["INFO: i", "WARNING: w"]), (2, ["DEBUG: d", "INFO: i", "WARNING: w"])],
)
def test_what_is_shown_of_messages(capsys, verbosity, shown):
    for _ in range(2):
        show_messages(verbosity)
    SAYS.debug("d")
    SAYS.info("i")
    SAYS.warning("w")
    logging.getLogger(PRINTED).info("on stdout already")
    assert capsys.readouterr().err.splitlines() == shown


def test_details_are_logged_when_they_are_shown(tmp_path):
    show_messages(2)
    with run_log(str(tmp_path)) as log:
        log.begin()
        SAYS.debug("details")
    assert "details" in (tmp_path / LOG).read_text()


def test_it_imports_neither_torch_nor_dask():
    code = "import agg_pipeline.cli.run_log, sys; print({'torch', 'dask', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_control_characters_are_shown_in_the_log_and_on_stderr(tmp_path, capsys, monkeypatch):
    # What pytest captures of messages goes to its main process, which cannot take a half of a pair of UTF-16.
    monkeypatch.setattr(logging.getLogger(ALL), "propagate", False)
    hostile = "caf\udce9 \x1b[31mred\u202e"
    show_messages(0)
    with run_log(str(tmp_path / "out")) as log:
        log.begin()
        SAYS.warning("%s", hostile)
    shown = "caf\\xe9 \\x1b[31mred\\u202e"
    assert capsys.readouterr().err == f"WARNING: {shown}\n"
    assert f"WARNING {shown}\n" in (tmp_path / "out" / LOG).read_text(encoding="utf-8")
