"""The workers of a run, and what is asked of their scheduler."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pickle import PicklingError
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, Future
from distributed.utils import format_dashboard_link

from agg_pipeline.execution.worker_facts import Facts
from agg_pipeline.execution.worker_plugin import run_in_worker
from schemas.errors import StoppedError

LOG = logging.getLogger(__name__)
SHARDS_IN_FLIGHT = 2
"""Shards of one worker: one is in the model while another one loads or writes."""
ANSWER_SECONDS = 120.0
"""A run ends if the scheduler gives no answer for this time."""
_attempts = itertools.count()


@dataclass(frozen=True)
class WorkerState:
    """What the scheduler knows of a worker.

    Attributes:
        sign: when it was last heard of, by the scheduler's clock: when it joined, then at each heartbeat.
        paused: whether it starts no task, because its memory is nearly full.
        memory: its memory, bytes.
        limit: its memory limit, bytes; 0 for none.
        tasks: number of tasks that it is running.
    """

    sign: float
    paused: bool
    memory: int
    limit: int
    tasks: int


@dataclass(frozen=True)
class Workers:
    """A Dask cluster whose workers all hold the model of a run.

    Attributes:
        client: connection to the scheduler.
        run: unique name of the run.
        machine: what the run's first worker said of its machine; empty before it has.
        lost: addresses of workers that get no task any more, because their GPU has failed; they are added here.
        began_with: number of workers when the first one was ready. While fewer are there, one that died may come back.
    """

    client: Client
    run: str
    machine: Facts = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    began_with: int = 0

    def addresses(self) -> list[str]:
        """Addresses of the workers that are there now."""
        return addresses(self.client)

    def usable(self) -> list[str]:
        """Addresses of the workers that are there now and get tasks."""
        return [address for address in self.addresses() if address not in self.lost]

    def count(self) -> int:
        """Number of workers that are there now and get tasks."""
        return len(self.usable())

    def states(self) -> dict[str, WorkerState]:
        """What the scheduler knows of each worker, by address."""
        return {
            address: WorkerState(
                float(worker["last_seen"]),
                worker.get("status") == "paused",
                int(worker.get("metrics", {}).get("memory", 0)),
                int(worker.get("memory_limit") or 0),
                int(worker.get("metrics", {}).get("task_counts", {}).get("executing", 0)),
            )
            for address, worker in self._scheduler()["workers"].items()
        }

    def submit(
        self, name: str, executor: str, function: Callable[..., Any], *args: Any, place: str | None = None
    ) -> Future:
        """Submit a task.

        Args:
            name: of the task; a number is added.
            executor: ``model`` or ``cpu``.
            function: what the task runs.
            args: its arguments; futures among them become their results.
            place: address of the worker that takes it if it is still there; None for any worker.
        """
        places = [place] if place is not None else []
        if self.lost and place in (None, *self.lost):
            places = self.usable()
        # When all of these have died, even a lost worker may take the task. It fails there, and is submitted again.
        # Otherwise it would wait without an end, because a worker that replaces a dead one has another address.
        where = {"workers": places, "allow_other_workers": True} if places else {}
        with connected(), dask.annotate(executor=f"{executor}-{self.run}"):
            key = f"{name}-{self.run}-{next(_attempts)}"
            task = (run_in_worker, self.run, self.machine, function, *args)
            return self.client.submit(*task, key=key, pure=False, **where)

    def dashboard(self) -> str:
        """Address of the page on which Dask shows what the cluster does; "" if the scheduler has none."""
        found = self._scheduler()
        port = found["services"].get("dashboard")
        return format_dashboard_link(urlsplit(found["address"]).hostname, port) if port else ""

    def _scheduler(self) -> dict[str, Any]:
        """What the scheduler says of itself and its workers."""
        with connected():
            found: dict[str, Any] = self.client.sync(self.client.scheduler.identity, callback_timeout=ANSWER_SECONDS)
        return found

    def listen(self) -> SimpleQueue[Any]:
        """A queue of the messages that tasks ``send`` from now on."""
        messages: SimpleQueue[Any] = SimpleQueue()
        with connected():
            self.client.subscribe_topic(self.run, lambda event: messages.put(event[1]))
        return messages


def addresses(client: Client) -> list[str]:
    """Addresses of the workers that are there now, as the scheduler at the other end of a connection knows them."""
    with connected():
        return list(client.nthreads(callback_timeout=ANSWER_SECONDS))


@contextmanager
def connected() -> Iterator[None]:
    """Around what asks the scheduler or sends something to it: a lost connection is one line, and so is no answer.

    Dask and the network raise many kinds of errors then, depending on the instant.
    """
    try:
        yield
    except (TypeError, PicklingError):
        # A task that cannot be sent is a mistake in this program.
        raise
    except TimeoutError as error:
        raise StoppedError(
            f"the Dask scheduler has not answered for {ANSWER_SECONDS:.0f} s (stopped, or too busy)"
        ) from error
    except Exception as error:
        raise lost(error) from error


def lost(error: BaseException) -> StoppedError:
    """The error of a lost connection to the scheduler."""
    LOG.info("lost the scheduler: %r", error)
    return StoppedError("the connection to the Dask scheduler is lost")
