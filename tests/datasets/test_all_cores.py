"""A function of many images in all cores: order, laziness, and what is left when it stops early."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from agg_pipeline.datasets import all_cores
from agg_pipeline.datasets.all_cores import in_all_cores
from schemas import limits
from schemas.errors import UserError


def process_of(item):
    return item, os.getpid()


def fails_at_nine(item):
    if item == 9:
        raise ValueError("nine")
    return item


def dies(item):
    """Item 1 and 9 exit, 10 is killed, 14 takes too long."""
    if item in (1, 9):
        os._exit(1)
    if item == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 14:
        os.kill(os.getpid(), signal.SIGALRM)
    return item


def told(item, how):
    return f"{item}: {how}"


@pytest.fixture
def few(monkeypatch):
    """Two items in a copy of this process, and the rest by twos in others."""
    monkeypatch.setattr(all_cores, "FEW", 2)
    monkeypatch.setattr(all_cores, "CHUNK", 2)


@pytest.mark.usefixtures("few")
def test_results_are_in_the_order_of_the_items_and_from_other_processes():
    found = list(in_all_cores(process_of, range(31), told))
    assert [item for item, _ in found] == list(range(31))
    processes = [process for _, process in found]
    assert processes[0] == processes[1]
    assert processes[0] not in processes[2:]
    assert os.getpid() not in processes
    assert len(set(processes)) <= 1 + os.cpu_count()
    assert multiprocessing.active_children() == []


def test_few_items_need_one_process():
    found = list(in_all_cores(process_of, range(64), told))
    assert [item for item, _ in found] == list(range(64))
    assert len({process for _, process in found} - {os.getpid()}) == 1
    assert list(in_all_cores(process_of, [], told)) == []
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("few")
def test_processes_are_started_when_they_are_needed_and_end_when_they_are_not():
    found = in_all_cores(process_of, range(1000), told)
    assert multiprocessing.active_children() == []
    assert [next(found)[0], next(found)[0]] == [0, 1]
    assert len(multiprocessing.active_children()) == 1
    assert next(found)[0] == 2
    assert multiprocessing.active_children()
    found.close()
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("few")
def test_exception_of_the_function_is_raised_in_its_place():
    found = in_all_cores(fails_at_nine, range(20), told)
    assert [next(found) for _ in range(8)] == list(range(8))
    with pytest.raises(ValueError, match="nine"):
        list(found)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("few_items", [2, 64])
def test_item_that_kills_its_process_costs_only_itself(monkeypatch, few_items):
    monkeypatch.setattr(all_cores, "FEW", few_items)
    monkeypatch.setattr(all_cores, "CHUNK", 2)
    found = list(in_all_cores(dies, range(20), told))
    assert found == [
        *(0, "1: it died", *range(2, 9), "9: it died", "10: it was killed by SIGKILL", 11, 12, 13),
        *("14: it took more than 600 seconds", *range(15, 20)),
    ]
    assert multiprocessing.active_children() == []


def dies_once(item):
    """The first process that gets an item with a file deletes the file and is killed."""
    if item is not None and item.exists():
        item.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@pytest.mark.parametrize("few_items", [2, 64])
def test_item_whose_process_was_killed_by_somebody_is_tried_again(monkeypatch, tmp_path, few_items):
    monkeypatch.setattr(all_cores, "FEW", few_items)
    items = [tmp_path / "first", None, tmp_path / "third", None, None]
    for item in filter(None, items):
        item.touch()
    assert list(in_all_cores(dies_once, items, told)) == ["done"] * 5


def sleeps(_item):
    time.sleep(60)


def test_item_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(limits, "ITEM_SECONDS", 1)
    assert list(in_all_cores(sleeps, [7], told)) == ["7: it took more than 1 seconds"]


def test_machine_on_which_every_process_dies_is_one_line():
    with pytest.raises(UserError, match="processes that read images die one after the other; is there enough mem"):
        list(in_all_cores(os._exit, [1] * 40, told))
    assert multiprocessing.active_children() == []


def ends(item):
    raise EOFError(f"end of {item}")


@pytest.mark.usefixtures("few")
def test_end_of_a_file_is_no_death():
    with pytest.raises(EOFError, match="end of 0"):
        list(in_all_cores(ends, range(20), told))


@pytest.mark.usefixtures("few")
def test_exception_that_cannot_be_sent_is_raised_all_the_same():
    with pytest.raises(Exception, match="pickle"):
        list(in_all_cores(lambda item: lambda: item, [1], told))


LONG = """
import time
from agg_pipeline.datasets.all_cores import in_all_cores
if __name__ == "__main__":
    try:
        list(in_all_cores(time.sleep, [0.0] * 64 + [0.05] * 10_000, str))
    except KeyboardInterrupt:
        raise SystemExit("stopped")
"""


@pytest.fixture
def long_run(tmp_path):
    """A run in a process group of its own, and the processes that it has started."""
    (tmp_path / "long.py").write_text(LONG)
    command = [sys.executable, str(tmp_path / "long.py")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(process.pid).children(recursive=True)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    yield process, children
    for each in children:
        if each.is_running():
            each.kill()


def ended(children):
    return not psutil.wait_procs(children, timeout=30)[1]


def test_ctrl_c_is_one_line_and_ends_all_processes(long_run):
    process, children = long_run
    # As a terminal does: to every process of the group, also while the others are still starting.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "stopped\n")
    assert ended(children)


def test_processes_end_when_the_run_is_killed(long_run):
    process, children = long_run
    process.kill()
    process.communicate()
    assert ended(children)


def needs_memory(item):
    """Item 1 and 9 need more than there is."""
    if item in (1, 9):
        np.zeros(1 << 62, np.uint8)
    return item


@pytest.mark.usefixtures("few")
def test_item_without_enough_memory_costs_only_itself(capfd):
    found = list(in_all_cores(needs_memory, range(15), told))
    assert found == [f"{n}: there was not enough memory" if n in (1, 9) else n for n in range(15)]
    assert capfd.readouterr().err == ""
