"""Reading MATLAB files of annotations."""

from __future__ import annotations

import io
from typing import Any

from scipy.io import loadmat

from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError, StorageError, UnusableFileError

HDF5_SIGNATURE = b"\x89HDF"
"""First bytes of a file of MATLAB 7.3, which scipy cannot read."""


def read_mat(store: Store, path: str, variable: str) -> Any:
    """Read one variable of a .mat file.

    Args:
        store: root of the data set.
        path: path of the file below the root.
        variable: name of the variable.

    Returns:
        The value as scipy gives it: a struct is a structured array of shape (1, 1).

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing, broken or of MATLAB 7.3, or lacks the variable.
    """
    try:
        raw = store.read_listed(path, limits.MAT_FILE_BYTES)
        if raw.startswith(HDF5_SIGNATURE):
            raise NotImplementedError
        content = loadmat(io.BytesIO(raw))
    except StorageError:
        raise
    except UnusableFileError as error:
        raise ImageError("unreadable_annotation", f"{path} {error.what}") from error
    except NotImplementedError:
        raise ImageError(
            "unreadable_annotation",
            f"{path} is a file of MATLAB 7.3 (HDF5); convert it: load it in MATLAB or Octave and save it with '-v7'",
        ) from None
    except Exception as error:  # On damaged files scipy raises whatever its parser stumbles over.
        raise ImageError("unreadable_annotation", f"{path} is not a readable .mat file: {error}") from error
    if variable not in content:
        raise ImageError("unreadable_annotation", f"{path} has no {variable}")
    return content[variable]
