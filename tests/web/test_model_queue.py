"""The line of requests before the model."""

import asyncio
import threading
import time

import pytest

from agg_pipeline.web.model_queue import ModelQueue, ReplacedError, Urgency


def run(scenario):
    async def whole():
        queue = ModelQueue()
        try:
            return await asyncio.wait_for(scenario(queue), 20)
        finally:
            queue.close()

    return asyncio.run(whole())


class Gate:
    """Work that waits until it may go on, and notes who has worked."""

    def __init__(self):
        self.open = threading.Event()
        self.done = []

    def work(self, name):
        assert self.open.wait(15)
        self.done.append(name)
        return name


async def line(queue, gate, *requests):
    """Start requests one after the other; the first of them holds the model."""
    tasks = []
    for visitor, urgency, name in requests:
        tasks.append(asyncio.ensure_future(queue.run(visitor, urgency, gate.work, name)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


def test_requests_are_served_in_their_order_and_urgent_ones_first():
    async def scenario(queue):
        gate = Gate()
        requests = [
            ("a", Urgency.NOW, "a1"),
            ("b", Urgency.NEXT, "b later"),
            ("c", Urgency.NOW, "c1"),
            ("b", Urgency.NOW, "b1"),
            ("d", Urgency.NEXT, "d later"),
        ]
        tasks = await line(queue, gate, *requests)
        gate.open.set()
        assert await asyncio.gather(*tasks) == [name for _, _, name in requests]
        return gate.done

    assert run(scenario) == ["a1", "c1", "b1", "b later", "d later"]


def test_a_newer_request_of_a_visitor_replaces_one_that_waits():
    async def scenario(queue):
        gate = Gate()
        requests = [
            ("a", Urgency.NOW, "a1"),
            ("a", Urgency.NOW, "a2"),
            ("b", Urgency.NOW, "b1"),
            ("a", Urgency.NOW, "a3"),
        ]
        first, old, other, new = await line(queue, gate, *requests)
        with pytest.raises(ReplacedError):
            await old
        gate.open.set()
        await asyncio.gather(first, other, new)
        return gate.done

    assert run(scenario) == ["a1", "b1", "a3"]


def test_requests_of_nobody_are_not_replaced():
    async def scenario(queue):
        gate = Gate()
        requests = [("a", Urgency.NOW, "a1"), *((None, Urgency.NOW, name) for name in "bc"), ("a", Urgency.NOW, "a2")]
        tasks = await line(queue, gate, *requests)
        gate.open.set()
        await asyncio.gather(*tasks)
        return gate.done

    assert run(scenario) == ["a1", "b", "c", "a2"]


def test_a_request_that_is_given_up_does_not_hold_the_line():
    async def scenario(queue):
        gate = Gate()
        first, given_up, last = await line(
            queue, gate, ("a", Urgency.NOW, "a"), ("b", Urgency.NOW, "b"), ("c", Urgency.NOW, "c")
        )
        given_up.cancel()
        gate.open.set()
        await asyncio.gather(first, last)
        with pytest.raises(asyncio.CancelledError):
            await given_up
        # The model is free again.
        return [*gate.done, await queue.run("d", Urgency.NOW, gate.work, "d")]

    assert run(scenario) == ["a", "c", "d"]


def test_an_error_is_its_visitors_alone():
    def fail():
        raise ValueError("broken")

    async def scenario(queue):
        with pytest.raises(ValueError, match="broken"):
            await queue.run("a", Urgency.NOW, fail)
        return await queue.run("b", Urgency.NOW, lambda: "fine")

    assert run(scenario) == "fine"


def test_one_works_at_a_time():
    working, most = [], []

    def work():
        working.append(1)
        most.append(len(working))
        time.sleep(0.005)
        working.pop()

    async def scenario(queue):
        await asyncio.gather(*(queue.run(str(who), Urgency(who % 2), work) for who in range(20)))

    run(scenario)
    assert (len(most), max(most)) == (20, 1)
