"""Errors of the processes of a training, as they come to the first one."""

import pytest

from agg_pipeline.training.training_batches import KILLED, next_batch
from agg_pipeline.training.training_errors import error_of_traceback
from schemas.errors import StorageError, UnusableFileError, UserError

TRACEBACK = (
    'Caught it in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "x", line 1\n'
)


def failing(error):
    """Batches that end with an error."""
    raise error
    yield


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (UserError(f"{TRACEBACK}schemas.errors.UserError: image a is gone"), UserError, "image a is gone"),
        (StorageError(f"{TRACEBACK}schemas.errors.StorageError: no mount\n"), StorageError, "no mount"),
        (RuntimeError(f"{TRACEBACK}schemas.errors.UnusableFileError: a is a pipe"), UserError, "a is a pipe"),
        (UnusableFileError("a", "is a pipe"), UnusableFileError, "a is a pipe"),
        (UserError("of this process: a"), UserError, "of this process: a"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed. "), UserError, KILLED),
        (EOFError(), UserError, KILLED),
        (ConnectionResetError(), UserError, KILLED),
        (RuntimeError("a fault of the program"), RuntimeError, "a fault of the program"),
    ],
)
def test_an_error_of_a_loader_keeps_its_kind(error, kind, message):
    with pytest.raises(kind) as raised:
        next_batch(failing(error))
    assert type(raised.value) is kind
    assert str(raised.value) == message


def test_only_errors_that_can_be_mended_are_made_of_a_traceback():
    assert error_of_traceback("") is None
    assert error_of_traceback(f"{TRACEBACK}ValueError: schemas.errors.UserError: a") is None
    assert str(error_of_traceback("schemas.errors.UserError: a: b")) == "a: b"
