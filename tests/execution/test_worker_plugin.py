"""Errors of tasks, as the process that started the run receives them."""

import pickle
from types import SimpleNamespace

import pytest
from distributed.core import error_message

from agg_pipeline.execution import worker_plugin
from agg_pipeline.execution.worker_plugin import run_in_worker
from schemas.errors import StoppedError, StorageError, UserError


class UnsendableError(Exception):
    """As the errors of a library whose attributes cannot be pickled."""

    def __reduce__(self):
        raise TypeError("cannot pickle this")


@pytest.mark.parametrize("kind", [UserError, StorageError, StoppedError])
def test_an_error_is_sent_without_its_cause(monkeypatch, kind):
    plugin = SimpleNamespace(address="tcp://w:1", model=lambda worked: None, check=lambda machine: None)  # noqa: ARG005
    monkeypatch.setattr(worker_plugin, "_plugin", lambda _run: plugin)

    def task():
        try:
            raise UnsendableError
        except UnsendableError as error:
            raise kind("cannot read x") from error

    with pytest.raises(kind, match=r"^worker tcp://w:1: cannot read x$") as found:
        run_in_worker("run", {}, task)
    sent = pickle.loads(error_message(found.value)["exception"].data)  # noqa: S301
    assert (type(sent), str(sent)) == (kind, "worker tcp://w:1: cannot read x")
