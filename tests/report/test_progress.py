"""What is said while a run works, line by line, by a clock that the tests set."""

import io
from itertools import pairwise
from math import ceil

from rich.console import Console

from agg_pipeline.evaluation.terminal_summary import RunningNoc
from agg_pipeline.execution.chain import Done, Times
from agg_pipeline.execution.job import RunStart
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.report import progress
from agg_pipeline.report.progress import Pace, RunProgress


class Run:
    """A run of shards of ten images, with a clock that stands still."""

    def __init__(self, missing, workers, finished=(), note=lambda _sidecar: ""):
        self.now = 1000.0
        self.shown = RunProgress(note, lambda: self.now)
        self.calls = self.shown.callbacks()
        self.calls.started(RunStart(missing + 10 * len(finished), finished, missing, workers, "the CPU"))

    def at(self, seconds, images, batches):
        self.now = 1000.0 + seconds
        self.calls.advanced(images, batches)

    def finish(self, seconds, images, sidecar=None):
        self.calls.finished(Done(ShardTask(0, "toy", (None,) * 10, None, None), sidecar or {}, Times()))
        self.at(seconds, images, 9)


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_the_time_left_comes_from_the_first_finished_work(capsys):
    run = Run(20, 2)
    assert lines(capsys) == ["20 images to do with 2 workers on the CPU"]
    run.at(5, 0.0, 0)
    run.at(7, 1.0, 2)
    run.at(7.9, 1.5, 4)
    assert lines(capsys) == [], "less than three seconds of work are too few"
    run.at(9, 2.0, 4)
    assert lines(capsys) == ["2 of 20 images, 0.50 images/s, about 36 s left"]
    run.at(18.9, 4.5, 6)
    assert lines(capsys) == [], "ten seconds have not passed"
    run.at(19, 7.0, 8)
    assert lines(capsys) == ["7 of 20 images, 0.50 images/s, about 26 s left"]


def test_before_each_worker_has_finished_a_batch_there_is_no_estimate(capsys):
    run = Run(20, 3)
    lines(capsys)
    run.at(0, 0.0, 0)
    run.at(9, 1.0, 0)
    assert lines(capsys) == []
    run.at(60, 2.0, 2)
    assert lines(capsys) == ["2 of 20 images"]
    run.at(64, 3.2, 3)
    assert lines(capsys) == ["3 of 20 images, 20 s per image, about 5 min 36 s left"]


def test_the_count_never_goes_back_and_the_last_line_says_how_long_it_took(capsys):
    run = Run(20, 1)
    run.at(10, 0.0, 0)
    run.at(20, 9.5, 2)
    # The shard's worker has died, and it is redone.
    run.at(40, 0.5, 2)
    run.finish(60, 10.5)
    run.finish(100, 20)
    assert lines(capsys) == [
        "20 images to do with 1 worker on the CPU",
        "0 of 20 images",
        "9 of 20 images, 0.95 images/s, about 11 s left",
        "9 of 20 images, 0.32 images/s, about 33 s left",
        "10 of 20 images, 0.21 images/s, about 45 s left",
        "20 of 20 images in 1 min 40 s, 0.20 images/s",
    ]


def test_a_short_run_says_only_that_it_is_done(capsys):
    run = Run(10, 2)
    run.at(1, 0.0, 2)
    run.finish(2, 10)
    assert lines(capsys)[1:] == ["10 of 10 images in 2 s, 5.00 images/s"]


def test_lines_become_rarer_in_a_long_run(capsys):
    run = Run(100_000, 2)
    lines(capsys)
    for seconds in range(0, 100_000, 5):
        run.at(seconds, seconds, 2)
    shown = [int(line.split()[0]) for line in lines(capsys)]
    gaps = [after - before for before, after in pairwise(shown)]
    assert gaps[:3] == [10, 10, 10]
    assert all(gap == max(10, 5 * ceil(shown[n] / 100)) for n, gap in enumerate(gaps))
    assert gaps[-1] > 4000


def test_finished_shards_and_the_noc_so_far(capsys):
    def sidecar(masks, clicks):
        return {"noc": {"object": {"target": 0.9, "masks": masks, "clicks": clicks}}}

    run = Run(20, 2, finished=(sidecar(2, 10),), note=RunningNoc())
    run.at(0, 0.0, 2)
    run.at(10, 5.0, 4)
    run.finish(20, 12, sidecar(2, 4))
    run.finish(40, 20, sidecar(4, 4))
    assert lines(capsys) == [
        "finished already: 10 of 30 images",
        "20 images to do with 2 workers on the CPU",
        "5 of 20 images, 0.50 images/s, about 30 s left, NoC@90 5.00 (2 objects)",
        "12 of 20 images, 0.60 images/s, about 13 s left, NoC@90 3.50 (4 objects)",
        "20 of 20 images in 40 s, 0.50 images/s, NoC@90 2.25 (8 objects)",
    ]


def test_nothing_to_do(capsys):
    Run(0, 1, finished=({}, {}))
    assert lines(capsys) == ["finished already: 20 of 20 images"]


def test_a_terminal_has_a_bar(monkeypatch):
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120, highlight=False)
    monkeypatch.setattr(progress, "wide_console", lambda: console)
    run = Run(20, 1, note=lambda _sidecar: "a note")
    run.at(0, 0.0, 1)
    run.finish(10, 12.7)
    run.at(10, 12.7, 2)
    run.shown.close()
    for word in ("12/20", "1.27 images/s, about 6 s left", "a note"):
        assert word in written.getvalue()


def test_pace_of_nothing():
    pace = Pace(5, 1, 0.0)
    assert (pace.rate, str(pace), pace.elapsed) == (None, "", 0.0)
