"""Errors of the processes of a training, as they come to the first one."""

import pickle

import pytest

from agg_pipeline.training.training_batches import KILLED, next_batch
from agg_pipeline.training.training_errors import LostProcessError, explaining_lost_processes, sendable
from schemas.errors import StorageError, UnusableFileError, UserError


def failing(error):
    """Batches that end with an error."""
    raise error
    yield


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed. "), UserError, KILLED),
        (EOFError(), UserError, KILLED),
        (ConnectionResetError(), UserError, KILLED),
        (UserError("of this process: a"), UserError, "of this process: a"),
        (RuntimeError("a fault of the program"), RuntimeError, "a fault of the program"),
    ],
)
def test_an_error_of_loading_is_one_line(error, kind, message):
    with pytest.raises(kind) as raised:
        next_batch(failing(error))
    assert type(raised.value) is kind
    assert str(raised.value) == message


@pytest.mark.parametrize("error", [UserError("image a is gone"), StorageError("no mount"), OSError(5, "I/O", "a")])
def test_an_error_in_the_place_of_a_batch_is_raised(error):
    with pytest.raises(type(error)) as raised:
        next_batch(iter([error]))
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("a"), UserError),
        (StorageError("a"), StorageError),
        (LostProcessError("a"), LostProcessError),
        (UnusableFileError("a", "is a pipe"), UserError),
    ],
)
def test_errors_can_be_sent(error, kind):
    sent = pickle.loads(pickle.dumps(sendable(error)))  # noqa: S301
    assert type(sent) is kind
    assert str(sent) == str(error)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("[../third_party/gloo/tcp/pair.cc:547] Connection closed by peer", LostProcessError), ("a fault", RuntimeError)],
)
def test_only_a_lost_connection_is_another_processes_fault(text, kind):
    with pytest.raises(kind), explaining_lost_processes():
        raise RuntimeError(text)
