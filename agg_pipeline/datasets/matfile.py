"""Reading MATLAB files of annotations."""

from __future__ import annotations

import struct
from typing import Any

from agg_pipeline.datasets.mat5 import MatError, read_variable
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError, UnusableFileError

HDF5_SIGNATURE = b"\x89HDF"
"""First bytes of an HDF5 file."""
HDF5_VERSIONS = (b"\0\2IM", b"\2\0MI")
"""End of the header that MATLAB 7.3 writes before the HDF5."""
VERSION_4_TYPES = frozenset(
    1000 * machine + 10 * numbers + matrix for machine in range(5) for numbers in range(6) for matrix in range(3)
)
"""First integers of files of MATLAB 4: the machine, the type of the numbers, and the class of the matrix."""


def read_mat(store: Store, path: str, variable: str) -> Any:
    """Read one variable of a .mat file.

    Args:
        store: root of the data set.
        path: path of the file below the root.
        variable: name of the variable.

    Returns:
        The value as ``mat5.read_variable`` gives it: a struct is a structured array of shape (1, 1).

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing, broken or of MATLAB 4 or 7.3, or lacks the variable.
    """
    try:
        raw = store.read_listed(path, limits.MAT_FILE_BYTES)
    except UnusableFileError as error:
        raise ImageError("unreadable_annotation", f"{path} {error.what}") from error
    version = _other_version(raw)
    if version:
        how = "load it in MATLAB or Octave and save it with '-v7'"
        raise ImageError("unreadable_annotation", f"{path} is a file of MATLAB {version}; convert it: {how}")
    try:
        return read_variable(raw, variable)
    except MatError as error:
        raise ImageError("unreadable_annotation", f"{path} is not a readable .mat file: {error}") from error
    except KeyError:
        raise ImageError("unreadable_annotation", f"{path} has no {variable}") from None


def _other_version(raw: bytes) -> str:
    """The version of MATLAB that wrote a file in a format of another kind; "" if it is none of these."""
    if raw.startswith(HDF5_SIGNATURE) or raw[124:128] in HDF5_VERSIONS:
        return "7.3 (HDF5)"
    return "4" if any(_is_version_4(raw, order) for order in "<>") else ""


def _is_version_4(raw: bytes, order: str) -> bool:
    """Whether a file begins with a matrix of MATLAB 4: five integers and the name."""
    if len(raw) < 20:
        return False
    kind, _rows, _columns, is_complex, length = struct.unpack_from(f"{order}5I", raw)
    # The length of the name counts the NUL behind it.
    return kind in VERSION_4_TYPES and is_complex < 2 and length > 1 and raw[20:84].find(b"\0") == length - 1
