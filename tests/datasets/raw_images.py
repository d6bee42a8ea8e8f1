"""Image files written by hand, bit by bit: those that Pillow does not write."""

import struct
import zlib

import numpy as np


def packed(values, bits):
    """The rows of an (H, W) array with so many bits per number, as bytes; W numbers fill whole bytes."""
    if bits == 16:
        return values.astype(">u2").tobytes()
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits((values[..., None] >> shifts & 1).astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()


def png_file(values, bits, colours=0):
    """A PNG of (H, W) or (H, W, C) numbers. colours: the colour type, 0 for grey, 2 RGB, 4 grey and opacity."""
    height, width = values.shape[:2]
    rows = packed(values.reshape(height, -1), bits)
    length = len(rows) // height
    raw = b"".join(b"\0" + rows[start : start + length] for start in range(0, len(rows), length))
    return png_of_chunks(
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    )


def png_of_chunks(*chunks):
    """A PNG of these (name, content) pairs."""
    found = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + found


def tiff_file(values, bits, white=1, signed=False, big=False, deflated=False, **tags):
    """A TIFF of (H, W) or (H, W, C) numbers.

    white: 1 if 0 is black, 0 if 0 is white, 2 for RGB, 3 for a palette; None for no such tag.
    signed, big, deflated: numbers with a sign, in big-endian order, compressed.
    tags: ``planes=2`` for one plane per channel, ``extra`` for the meaning of further channels, ``colours`` for the
        palette, ``subsampling`` for that of colours.
    """
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    planes = np.moveaxis(values.reshape(height, width, channels), 2, 0) if tags.get("planes") == 2 else [values]
    order = ">" if big else "<"

    def strip(plane):
        numbers = plane.reshape(height, -1)
        whole = f"{order}{'i' if signed else 'u'}{bits // 8}"
        data = numbers.astype(whole).tobytes() if bits % 8 == 0 else packed(numbers, bits)
        return zlib.compress(data) if deflated else data

    strips = [strip(plane) for plane in planes]
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    found = {
        **{256: [width], 257: [height], 258: [bits] * channels, 259: [8 if deflated else 1]},
        **({} if white is None else {262: [white]}),
        **{273: starts[:-1], 277: [channels], 278: [height], 279: list(map(len, strips))},
        **{284: [tags.get("planes", 1)], **({320: tags["colours"]} if "colours" in tags else {})},
        **({338: tags["extra"]} if "extra" in tags else {}),
        **({339: [2] * channels} if signed else {}),
        **({530: tags["subsampling"]} if "subsampling" in tags else {}),
    }
    return b"".join(
        (
            b"MM" if big else b"II",
            struct.pack(f"{order}HI", 42, starts[-1]),
            *strips,
            _directory(found, order, starts[-1]),
        )
    )


def _directory(tags, order, start):
    """The directory of a TIFF that lies at ``start``: values of 16 bits, but for places and sizes."""
    rows, further = [], b""
    end = start + 2 + 12 * len(tags) + 4
    for tag, values in tags.items():
        long = tag in (256, 257, 273, 278, 279)
        data = struct.pack(f"{order}{len(values)}{'I' if long else 'H'}", *values)
        if len(data) > 4:
            data, further = struct.pack(f"{order}I", end + len(further)), further + data
        rows.append(struct.pack(f"{order}HHI", tag, 4 if long else 3, len(values)) + data.ljust(4, b"\0"))
    return struct.pack(f"{order}H", len(rows)) + b"".join(rows) + bytes(4) + further


def bmp_file(values, bits, colours=(), down=False, old=False, fields=()):
    """A BMP of (H, W) numbers or palette indices, or of (H, W, 3) RGB.

    colours: RGB colours of the palette. down: the top row comes first. old: with the header of OS/2.
    fields: the bits of red, green and blue in a pixel, as masks.
    """
    height, width = values.shape[:2]
    if bits in (24, 32):
        values = np.dstack([values[..., ::-1], np.zeros((height, width, bits // 8 - 3), np.uint8)])
    numbers = values.reshape(height, -1)
    rows = [numbers.astype("<u2").view(np.uint8) if bits == 16 else numbers] if bits >= 8 else []
    row = rows[0].astype(np.uint8) if rows else _packed_rows(numbers, bits)
    row = np.pad(row, ((0, 0), (0, -row.shape[1] % 4)))
    data = (row if down else row[::-1]).tobytes()
    return _bmp(width, -height if down else height, bits, data, colours, 3 if fields else 0, old, fields)


def _packed_rows(numbers, bits):
    numbers = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % 8)))
    return np.frombuffer(packed(numbers, bits), np.uint8).reshape(len(numbers), -1)


def run_length_bmp_file(indices, bits, colours, literal=False):
    """A BMP of (H, W) palette indices of 4 or 8 bits with run lengths: pairs of one pixel, or literal rows."""
    height, width = indices.shape
    data = b""
    for row in indices[::-1]:
        if literal:
            half = np.pad(row, (0, width % 2)) if bits == 4 else row
            held = half[::2] * 16 + half[1::2] if bits == 4 else row
            data += bytes((0, width, *held, *([0] * (len(held) % 2))))
        else:
            data += b"".join(bytes((1, number * (17 if bits == 4 else 1))) for number in row)
        data += b"\0\0"
    return _bmp(width, height, bits, data + b"\0\1", colours, 2 if bits == 4 else 1)


def _bmp(width, height, bits, data, colours, compression=0, old=False, fields=()):
    palette = b"".join(bytes((*colour[::-1], *([] if old else [0]))) for colour in np.asarray(colours, int).tolist())
    if old:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, len(colours), 0)
    header += struct.pack(f"<{len(fields)}I", *fields)
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + palette + data


def jpeg_2000_of(content, bits, signed=False):
    """A JPEG 2000 of 8 or 16 bits whose numbers are claimed to have so many bits.

    The numbers are as far above the middle of the claimed range as they were above that of 8 or 16 bits.
    """
    changed = bytearray(content)
    depth = bits - 1 | (128 if signed else 0)
    changed[content.index(b"\xff\x4f\xff\x51") + 42] = depth
    changed[content.index(b"ihdr") + 14] = depth
    return bytes(changed)


def pgm_file(values, most):
    """A binary PGM of (H, W) numbers up to ``most``."""
    height, width = values.shape
    return b"P5 %d %d %d\n" % (width, height, most) + values.astype(">u2" if most > 255 else np.uint8).tobytes()


def plain_pgm_file(values, most):
    """A PGM of (H, W) numbers up to ``most``, in digits."""
    height, width = values.shape
    return b"P2 %d %d %d\n" % (width, height, most) + b" ".join(b"%d" % value for value in values.ravel())
