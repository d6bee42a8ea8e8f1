"""Dask clusters that are made to fail: schedulers and workers in processes of their own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from tests.faults.processes import PATIENCE, Commands, Running

LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


class Cluster:
    """A scheduler and its workers.

    Args:
        commands: what starts and ends the processes.
        folder: place of their files.
    """

    def __init__(self, commands: Commands, folder: Path) -> None:
        self.commands = commands
        self.folder = folder
        self.workers: list[Running] = []
        self.start_scheduler()

    def start_scheduler(self) -> None:
        """Start a scheduler, which forgets what another one knew."""
        description = self.folder / f"scheduler{time.monotonic_ns()}.json"
        self.scheduler = self._start("scheduler", "--port", 0, "--scheduler-file", description)
        self.scheduler.wait_for(lambda: description.exists() and description.read_text(), "the scheduler's address")
        self.address = json.loads(description.read_text())["address"]

    def start_worker(
        self, *options: object, prefix: Iterable[object] = (), environment: Mapping[str, str] | None = None
    ) -> Running:
        """Start a worker, and wait until it has joined."""
        given = (self.address, "--nthreads", 2, *(options or ("--no-nanny",)))
        worker = self._start("worker", *given, prefix=prefix, environment=environment)
        self.workers.append(worker)
        worker.wait_for(lambda: "Registered to" in worker.result().stderr, "a worker that has joined")
        return worker

    def _start(
        self,
        name: str,
        *arguments: object,
        prefix: Iterable[object] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        place = self.folder / f"{name}{time.monotonic_ns()}"
        place.mkdir()
        program = (sys.executable, "-m", f"distributed.cli.dask_{name}")
        return self.commands.start(
            *(*arguments, *LOOPBACK), program=program, prefix=prefix, environment=environment, cwd=place
        )

    def restart(self) -> None:
        """Another scheduler, without workers, in the place of one that was killed."""
        for worker in self.workers:
            worker.clean_up()
        self.workers = []
        self.start_scheduler()

    def stop_workers(self) -> None:
        """Kill all workers, and wait until the scheduler has noticed."""
        for worker in self.workers:
            worker.clean_up()
        self.workers = []
        self.wait_for_workers(0)

    def wait_for_workers(self, number: int) -> None:
        """Wait until the scheduler knows so many workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            deadline = time.monotonic() + PATIENCE
            while len(client.scheduler_info(n_workers=-1)["workers"]) != number:
                assert time.monotonic() < deadline
                time.sleep(0.1)


def under_nanny(nanny: Running) -> psutil.Process:
    """The worker process that a nanny watches."""
    (worker,) = [each for each in nanny.family() if "spawn_main" in " ".join(each.cmdline())]
    return worker
