"""Reading an image file that is held in memory, with this program and with OpenCV."""

import cv2
import numpy as np
import pytest

from schemas.errors import ImageError


class Bytes:
    """A store of one file, without a disk."""

    def __init__(self, content):
        self.content = content

    def read_listed(self, _path, _limit, _size=0):
        return self.content


def read(function, content):
    found = function(Bytes(content), "x")
    return found[0] if isinstance(found, tuple) else found


def refusal(function, content):
    with pytest.raises(ImageError) as error:
        read(function, content)
    return error.value.detail


def opencv(content, flags):
    # It reads orders of channels the other way round.
    found = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if found is None and cv2.__version__.startswith("4.10."):
        pytest.skip("OpenCV 4.10 does not read this format")
    return found[..., ::-1] if found is not None and found.ndim == 3 else found
