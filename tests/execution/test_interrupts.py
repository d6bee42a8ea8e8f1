"""Signals end a run once, and do not disturb its clean-up."""

import os
import signal

import pytest

from agg_pipeline.execution import interrupts
from agg_pipeline.execution.interrupts import check_interrupt, watch_interrupts

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    watch_interrupts()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts._asked.clear()


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_ends_a_run(number):
    with pytest.raises(KeyboardInterrupt, match=number.name):
        os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt, match=number.name):
        check_interrupt()


def test_further_signals_do_not_disturb_the_clean_up():
    cleaned = []
    with pytest.raises(KeyboardInterrupt):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            for number in (*SIGNALS, signal.SIGINT):
                os.kill(os.getpid(), number)
                cleaned.append(number)
    assert len(cleaned) == 4


def test_a_clean_up_that_hangs_can_be_interrupted(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    monkeypatch.setattr(interrupts, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    watch_interrupts()
    os.kill(os.getpid(), signal.SIGHUP)
    check_interrupt()
