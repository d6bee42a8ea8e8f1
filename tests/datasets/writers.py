"""Files in the layouts of published sets, as small as can be, for the tests of their readers."""

import json

import numpy as np
from PIL import Image
from scipy.io import savemat


def square(shape, top, left, height, width):
    """A mask of the shape with one rectangle in it."""
    frame = np.zeros(shape, bool)
    frame[top : top + height, left : left + width] = True
    return frame


def write_photo(path, height=20, width=30, seed=0):
    """A JPEG or PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_pixels(path, values):
    """An image file of exactly these values: uint8, uint16 or bool, grey or colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def pascal_colours():
    """The (256, 3) colour map of PASCAL VOC: the bits of the index, spread over the channels from the top."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * shift + channel) & 1) << (7 - shift)).astype(np.uint8)
    return colours


def write_palette(path, indices, colours=None):
    """A palette PNG, by default with PASCAL's colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(indices, np.uint8)).convert("P")
    image = Image.frombytes("P", image.size, np.asarray(indices, np.uint8).tobytes())
    image.putpalette((pascal_colours() if colours is None else np.asarray(colours, np.uint8)).ravel().tolist())
    image.save(path)


def structs(rows, fields):
    """A row of MATLAB's structs."""
    found = np.zeros((1, len(rows)) if rows else (0, 0), [(field, object) for field in fields])
    for number, row in enumerate(rows):
        for field, value in zip(fields, row, strict=True):
            found[0, number][field] = value
    return found


def write_anno(path, objects):
    """``Annotations_Part/<id>.mat`` as published. objects: (class, its number, mask, [(part name, mask)])."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (name, np.float64(number), mask.astype(np.uint8), structs(
            [(label, part.astype(np.uint8)) for label, part in parts], ("part_name", "mask")
        ))
        for name, number, mask, parts in objects
    ]  # fmt: skip
    things = structs(rows, ("class", "class_ind", "mask", "parts"))
    savemat(path, {"anno": structs([(path.stem, things)], ("imname", "objects"))}, do_compression=True)


def write_mat_73(path):
    """The start of a file that MATLAB saves with ``-v7.3``: its header and the magic number of HDF5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
    header = text.ljust(116) + bytes(8) + b"\x00\x02" + b"IM"
    path.write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(200))


def write_class_names(root, names):
    """``class_names.json`` of PartImageNet. names: class index -> name."""
    categories = [{"id": number, "name": name} for number, name in names.items()]
    (root / "class_names.json").write_text(json.dumps({"categories": categories}))
