"""When a run gives up waiting for its workers."""

import re
from concurrent.futures import CancelledError

import pytest
from distributed.comm import CommClosedError

from agg_pipeline.execution import waiting
from agg_pipeline.execution.waiting import finished, first_done
from agg_pipeline.execution.workers import WorkerState
from schemas.errors import StoppedError, UserError


def state(sign, paused=False, tasks=0):
    return WorkerState(sign, paused, 900 << 20, 1000 << 20, tasks)


class Silent:
    """Stands for workers: what the scheduler knows of them at each look, until the last look stays."""

    def __init__(self, *looks, machine=None):
        self.looks = list(looks)
        self.machine = machine or {}

    def states(self):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on while tasks are waited for, none of which is ever done."""
    now = [1000.0]

    def nothing_done(*_arguments, timeout, **_options):
        now[0] += timeout
        raise TimeoutError

    monkeypatch.setattr(waiting, "wait", nothing_done)
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("looks", "seconds", "what"),
    [
        # A new worker every five seconds, each of which dies before it has said anything.
        ([{f"tcp://{n}": state(100.0 + n)} for n in range(30)], 121, "(tcp://24 joined it and could not start: "),
        # A worker that joins, and is never heard of again.
        ([{}, {"tcp://a": state(107.0)}], 121, "(tcp://a joined it and could not start: "),
        ([{}], 121, "(it has none)"),
        # A worker that worked for twenty seconds.
        ([{"tcp://a": state(100.0 + 5 * n)} for n in range(4)] + [{}], 140, "(it has none)"),
    ],
)
def test_workers_that_never_work_end_the_run(clock, looks, seconds, what):
    with pytest.raises(UserError, match=re.escape(what)):
        first_done(Silent(*looks), [None])
    assert clock[0] - 1000 == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize(
    ("looks", "machine"),
    [
        # It worked in this wait, or in one before.
        ([{"tcp://a": state(100.0 + n)} for n in range(2)], {}),
        ([{"tcp://a": state(100.0)}], {"torch": "2.13"}),
    ],
)
def test_the_version_of_a_worker_that_has_worked_is_not_blamed(clock, looks, machine):
    with pytest.raises(UserError) as error:
        first_done(Silent(*looks, machine=machine), [None])
    assert str(error.value) == (
        "no worker of the Dask cluster has worked for 120 s (tcp://a gives no sign of life; does it hang?)"
    )
    assert clock[0] - 1000 == pytest.approx(127, abs=8)


def test_reports_are_signs_of_life(clock):
    """Heartbeats stop when a clock is set back, because Dask waits for a time of day."""

    def news():
        if clock[0] > 1400:
            raise KeyboardInterrupt
        return clock[0] < 1300

    with pytest.raises(KeyboardInterrupt):
        first_done(Silent({"tcp://a": state(100.0, tasks=1)}), [None], news)


def test_a_worker_that_reports_no_longer_ends_the_run(clock):
    with pytest.raises(UserError, match=r"^no worker of the Dask cluster has worked for 120 s "):
        first_done(Silent({"tcp://a": state(100.0)}, machine={"torch": "2"}), [None], lambda: clock[0] < 1300)
    assert clock[0] - 1000 == pytest.approx(300 + 120, abs=6)


def living(paused, times=200):
    return [{"tcp://a": state(100.0 + n), "tcp://b": state(100.0 + n, paused)} for n in range(times)]


def test_a_paused_worker_is_named_when_nothing_advances(clock):
    with pytest.raises(UserError) as error:
        first_done(Silent(*living(paused=True)), [None])
    assert str(error.value).startswith(
        "worker tcp://b is paused, and nothing has advanced for 60 s: it uses 900 MiB of its memory limit of 1000 MiB; "
    )
    assert clock[0] - 1000 == pytest.approx(65, abs=6)


def test_a_paused_worker_may_wait_while_others_advance(clock):
    limit = 1000.0 + 400

    def news():
        if clock[0] > limit:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        first_done(Silent(*living(paused=True)), [None], news)


def test_a_paused_worker_may_wait_while_another_runs_a_task_without_reports(clock):
    looks = [
        {"tcp://a": state(100.0 + n, tasks=1), "tcp://b": state(100.0 + n, paused=True, tasks=1)} for n in range(40)
    ]
    with pytest.raises(UserError, match=r"^worker tcp://b is paused"):
        first_done(Silent(*looks, *({**look, "tcp://a": state(900.0 + n)} for n, look in enumerate(looks))), [None])
    # 40 looks with a running task, five seconds apart, then 60 s without one.
    assert clock[0] - 1000 == pytest.approx(40 * 5 + 60, abs=12)


def test_a_slow_task_is_waited_for(clock):
    def news():
        if clock[0] > 1400:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        first_done(Silent(*living(paused=False)), [None], news)


@pytest.mark.parametrize("error", [CancelledError(), CommClosedError("gone")])
def test_a_lost_scheduler_is_one_line(monkeypatch, error):
    def fail(*_arguments, **_options):
        raise error

    class Cancelled:
        def result(self, **_options):
            raise error

    monkeypatch.setattr(waiting, "wait", fail)
    for ask in (lambda: first_done(Silent({}), [None]), lambda: finished(Silent({}), Cancelled())):
        with pytest.raises(StoppedError, match=r"^the connection to the Dask scheduler is lost$"):
            ask()


class Late:
    """A stand-in for a future: asking for its result times out a given number of times."""

    def __init__(self, times, status="finished"):
        self.times = times
        self.status = status

    def result(self, timeout):
        assert timeout == waiting.ANSWER_SECONDS
        self.times -= 1
        if self.times >= 0:
            raise TimeoutError
        return "result"


def test_a_result_that_is_late_is_waited_for_while_the_scheduler_answers():
    silent = Silent({}, {}, {})
    assert finished(silent, Late(2)) == "result"
    # The scheduler was asked twice.
    assert len(silent.looks) == 1


def test_a_result_is_not_waited_for_when_the_scheduler_does_not_answer():
    class Stopped:
        def states(self):
            raise StoppedError("no answer")

    with pytest.raises(StoppedError, match=r"^no answer$"):
        finished(Stopped(), Late(99))


def test_a_task_may_raise_a_timeout_itself():
    with pytest.raises(TimeoutError):
        finished(Silent({}), Late(1, "error"))
