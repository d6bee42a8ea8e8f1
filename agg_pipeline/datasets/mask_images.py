"""Reading image files that hold masks: marked pixels, the grey levels of trimaps, and label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from agg_pipeline.datasets.image_formats import is_lossy, opened
from agg_pipeline.datasets.images import eight_bits, is_deep
from agg_pipeline.datasets.stored_pixels import (
    is_premultiplied,
    is_signed_tiff,
    largest_stored,
    scaled_from,
    white_is_zero,
)
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError

OPACITY = ("LA", "La", "PA", "RGBA", "RGBa", "RGBX")
"""Pillow's colour modes whose last channel is the opacity, or means nothing."""
SINGLE: dict[str, type[np.integer[Any]]] = {
    **dict.fromkeys(("1", "L", "P"), np.uint8),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), np.uint16),
    "I": np.int32,
}
"""Pillow's colour modes of one channel of whole numbers, and the type that holds their numbers."""
WITH_OTHER_SIGN: dict[tuple[str, bool], type[np.integer[Any]]] = {("L", True): np.int8, ("I", False): np.uint32}
"""The types that hold the numbers of a TIFF, by mode and by whether they have a sign, where ``SINGLE`` has another."""


def read_marked(store: Store, path: str) -> NDArray[np.bool_]:
    """Read which pixels of a mask image have a colour other than black.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) bool: some channel is not 0. Of a palette image the colours count; opacity does not.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, or has fractions, colours of more than 8
            bits, or colours that are multiplied with their opacity.
    """
    with opened(store, path, "unreadable_annotation") as (image, content):
        return marked_pixels(image, content, path)


def marked_pixels(image: Image, content: bytes, path: str) -> NDArray[np.bool_]:
    """Which pixels of an open mask image have a colour other than black, as ``read_marked`` gives them.

    Args:
        image: the image, as opened.
        content: bytes of its file.
        path: what messages call it.

    Raises:
        ImageError: as ``read_marked``.
    """
    if image.mode == "F":
        raise ImageError("unreadable_annotation", f"{path} has fractions; masks are whole numbers")
    if image.mode in SINGLE and image.mode != "P":
        # Pillow inverts the numbers of 8 bits.
        black = 65535 if image.mode.startswith("I") and white_is_zero(image) else 0
        return np.asarray(np.asarray(image) != black)
    if largest_stored(image, content) > 255:
        what = f"{path} has several channels of more than 8 bits; store it with 8 bits per channel"
        raise ImageError("unreadable_annotation", what)
    _check_opacity(image, path)
    colours: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    marked: NDArray[np.bool_] = np.bitwise_or.reduce(colours, axis=2).astype(np.bool_)
    return marked


def read_grey(store: Store, path: str) -> NDArray[np.uint8]:
    """Read a mask image of any colour mode as grey levels of 8 bits.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) uint8 grey levels; those of 16 bits are scaled.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, has signed or 32-bit pixels, or levels
            that are multiplied with their opacity.
    """
    with opened(store, path, "unreadable_annotation") as (image, _):
        if is_deep(image):
            return eight_bits(image, path, "unreadable_annotation")
        _check_opacity(image, path)
        return np.array(image.convert("L"))


def _check_opacity(image: Image, path: str) -> None:
    """Refuse a mask whose levels are multiplied with an opacity: the levels cannot be told from the products."""
    if is_premultiplied(image) and image.mode in OPACITY and np.asarray(image)[..., -1].min(initial=255) < 255:
        what = f"{path} has levels that are multiplied with their opacity; store it without opacity"
        raise ImageError("unreadable_annotation", what)


def read_labels(store: Store, path: str) -> NDArray[np.integer[Any]]:
    """Read the ids of a label image: grey levels or palette indices.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) ids, of the type that the file needs: uint8, int8, uint16, int32 or uint32. A colour image of 8 bits per
        channel is accepted if all its colours are grey.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, its compression changes values, it has
            colours or fractions, or programs disagree about its ids.
    """
    with opened(store, path, "unreadable_annotation") as (image, content):
        if is_lossy(image, content):
            what = f"{path} is a {image.format} with lossy compression, which changes ids; store it as PNG"
            raise ImageError("unreadable_annotation", what)
        if image.mode == "F":
            raise ImageError("unreadable_annotation", f"{path} has values of type float32, ids are whole numbers")
        problem = _id_problem(image, content)
        if problem is not None:
            raise ImageError("unreadable_annotation", f"{path} {problem}")
        if image.mode in SINGLE:
            return _unscaled(image)
        if image.mode not in ("RGB", *OPACITY):
            raise ImageError("unreadable_annotation", _with_colours(path))
        _check_opacity(image, path)
        values = np.asarray(image)
    colours = values[..., :-1] if image.mode in OPACITY else values
    if (colours != colours[..., :1]).any():
        raise ImageError("unreadable_annotation", _with_colours(path))
    return colours[..., 0].copy()


def _id_problem(image: Image, content: bytes) -> str | None:
    """Why the numbers of a file cannot be taken as ids; None if they can."""
    most = largest_stored(image, content)
    if image.mode not in (*SINGLE, "PA") and most != 255:
        return "has several channels of more or fewer than 8 bits; store the ids as grey levels, in one channel"
    if image.mode.startswith("I") and white_is_zero(image):
        # OpenCV, for example, inverts numbers of 8 bits, and no others.
        return "shows 0 in white (WhiteIsZero), so that programs disagree about its ids; store it as PNG"
    if image.format == "JPEG2000" and most not in (255, 65535):
        return f"has grey levels up to {most}, which programs scale; store the ids with 8 or 16 bits"
    return None


def _unscaled(image: Image) -> NDArray[np.integer[Any]]:
    """The (H, W) numbers of an image of one channel; Pillow scales those of some formats to all 8 or 16 bits."""
    # Pillow forgets how a file is stored when it has decoded it.
    most = scaled_from(image)
    held_as = SINGLE[image.mode]
    if image.format == "TIFF":
        # Pillow has the right bits, but does not tell whether they stand for a sign.
        held_as = WITH_OTHER_SIGN.get((image.mode, is_signed_tiff(image)), held_as)
    if most is None:
        return np.asarray(image).astype(held_as)
    scale = 65535 if image.mode.startswith("I") else 255
    # Rounded, in place because the image may be large; 65535 * 65535 + 32767, the largest number, fits.
    values = np.asarray(image).astype(np.uint32)
    values *= most
    values += scale // 2
    values //= scale
    return values.astype(held_as)


def _with_colours(path: str) -> str:
    return f"{path} has colours; ids are grey levels or palette indices"


def lossy_note(store: Store, path: str) -> str | None:
    """That the compression of a mask image changes values, in one line; None if it does not."""
    try:
        with opened(store, path, "unreadable_annotation") as (image, content):
            lossy = is_lossy(image, content)
    except ImageError:
        return None
    return f"{path} has lossy compression, which changes values along the borders; store it as PNG" if lossy else None


def palette_note(store: Store, path: str) -> str | None:
    """What is odd in the palette of a label image, in one line: the background, index 0, is not black; None if not."""
    try:
        with opened(store, path, "unreadable_annotation") as (image, _):
            if image.mode != "P":
                return None
            colours = np.reshape(image.getpalette() or [], (-1, 3))
    except ImageError:
        return None
    black = np.flatnonzero(~colours.any(axis=1))
    if not len(black) or black[0] == 0:
        return None
    first = ", ".join(map(str, colours[0]))
    return (
        f"{path} shows index 0, the background, in the colour ({first}) and index {black[0]} in black; "
        "ids are the indices, so check that the mask is not inverted"
    )
