"""Reading MATLAB files of annotations."""

from __future__ import annotations

import io
from typing import Any

from scipy.io import loadmat

from agg_pipeline.storage.store import Store
from schemas.errors import ImageError

HDF5 = b"\x89HDF"


def read_mat(store: Store, path: str, variable: str) -> Any:
    """The struct in a variable of a .mat file; ImageError (unreadable_annotation) says what is wrong with it."""
    try:
        raw = store.read(path)
        if raw.startswith(HDF5):
            raise NotImplementedError
        content = loadmat(io.BytesIO(raw))
    except FileNotFoundError:
        raise ImageError("unreadable_annotation", f"{path} does not exist") from None
    except NotImplementedError:
        raise ImageError(
            "unreadable_annotation",
            f"{path} is a file of MATLAB 7.3 (HDF5); convert it: load it in MATLAB or Octave and save it with '-v7'",
        ) from None
    except Exception as error:  # On damaged files scipy raises whatever its parser stumbles over.
        raise ImageError("unreadable_annotation", f"{path} is no readable .mat file: {error}") from error
    if variable not in content:
        raise ImageError("unreadable_annotation", f"{path} has no {variable}")
    return content[variable]
