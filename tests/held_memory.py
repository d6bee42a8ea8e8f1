"""How many bytes a state holds, and how many are in use at most while it is made."""

import dataclasses
import tracemalloc

import numpy as np


def arrays_of(value):
    """All arrays that a value of dataclasses, tuples, lists and dictionaries holds, by identity."""
    if isinstance(value, np.ndarray):
        return {id(value): value}
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, tuple | list):
        return {}
    return {key: array for each in value for key, array in arrays_of(each).items()}


def peak_bytes(call):
    """The most bytes that numpy and Python hold at a time during a call, and its result."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()
