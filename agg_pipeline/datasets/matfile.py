"""Reading MATLAB files of annotations."""

from __future__ import annotations

from typing import Any

from agg_pipeline.datasets.mat5 import MatError, read_variable
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError, UnusableFileError

HDF5_SIGNATURE = b"\x89HDF"
"""First bytes of an HDF5 file."""
HDF5_VERSIONS = (b"\0\2IM", b"\2\0MI")
"""End of the header that MATLAB 7.3 writes before the HDF5."""


def read_mat(store: Store, path: str, variable: str) -> Any:
    """Read one variable of a .mat file.

    Args:
        store: root of the data set.
        path: path of the file below the root.
        variable: name of the variable.

    Returns:
        The value as ``mat5.read_variable`` gives it: a struct is a structured array of shape (1, 1).

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing, broken or of MATLAB 7.3, or lacks the variable.
    """
    try:
        raw = store.read_listed(path, limits.MAT_FILE_BYTES)
    except UnusableFileError as error:
        raise ImageError("unreadable_annotation", f"{path} {error.what}") from error
    if raw.startswith(HDF5_SIGNATURE) or raw[124:128] in HDF5_VERSIONS:
        raise ImageError(
            "unreadable_annotation",
            f"{path} is a file of MATLAB 7.3 (HDF5); convert it: load it in MATLAB or Octave and save it with '-v7'",
        )
    try:
        return read_variable(raw, variable)
    except MatError as error:
        raise ImageError("unreadable_annotation", f"{path} is not a readable .mat file: {error}") from error
    except KeyError:
        raise ImageError("unreadable_annotation", f"{path} has no {variable}") from None
