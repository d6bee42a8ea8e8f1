"""Which files are opened at all, the limits that are checked before decoding, and notes on headers."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from agg_pipeline.datasets import image_formats
from agg_pipeline.datasets.image_formats import ENDINGS, FORMATS, header_notes
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.mask_images import read_labels
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import check
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError
from tests.datasets.raw_images import png_of_chunks
from tests.datasets.writers import square, write_photo, write_pixels

SHAPE = 20, 30
RGB = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 300 200
%%EndComments
{} loop
showpage
%%EOF
"""


def file_of(form, **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, form, **options)
    return buffer.getvalue()


def refusal(tmp_path, content, name="x.png", function=read_image):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError) as error:
        function(Store(str(tmp_path)), name)
    assert "\n" not in error.value.detail
    return error.value.detail


def test_postscript_of_any_name_starts_no_program(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *values, **_: started.append(values))
    monkeypatch.setattr(os, "system", lambda command: started.append(command))
    # As another program that uses Pillow in this process would.
    Image.init()
    assert Image.open(io.BytesIO(POSTSCRIPT)).format == "EPS"
    for name in ("x.png", "x.jpg", "x.eps"):
        for function in (read_image, read_labels):
            said = refusal(tmp_path, POSTSCRIPT, name, function)
            assert said == f"{name} is no JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or JPEG 2000 image"
    assert header_notes(Store(str(tmp_path)), "x.png") == ()
    assert started == []


@pytest.mark.parametrize("form", ["EPS", "ICO", "PCX", "SGI", "TGA", "DDS", "ICNS", "PDF", "MSP", "SPIDER", "XBM"])
def test_other_formats_of_pillow_are_not_opened(tmp_path, form):
    Image.init()
    buffer = io.BytesIO()
    modes = {"MSP": "1", "SPIDER": "F", "XBM": "1"}
    Image.fromarray(RGB).convert(modes.get(form, "RGB")).save(buffer, form)
    assert "x.png is no JPEG, PNG, TIFF" in refusal(tmp_path, buffer.getvalue())


def test_every_format_that_is_read_has_an_ending():
    assert FORMATS == ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
    Image.init()
    assert set(FORMATS) == {Image.EXTENSION[f".{ending}"] for ending in ENDINGS if f".{ending}" in Image.EXTENSION} - {
        "MPO",
        "DIB",
    }


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "JPEG"])
def test_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, form):
    content = file_of(form, **({"lossless": True} if form == "WEBP" else {}))
    (tmp_path / "x").write_bytes(content)
    monkeypatch.setattr(limits, "IMAGE_PIXELS", 600)
    np.testing.assert_array_equal(read_image(Store(str(tmp_path)), "x")[0].shape, RGB.shape)
    monkeypatch.setattr(limits, "IMAGE_PIXELS", 599)
    monkeypatch.setattr(Image.Image, "load", lambda _self: pytest.fail("decoded"))
    for function in (read_image, read_labels):
        assert refusal(tmp_path, content, "x", function) == "x is too large: images have up to 599 pixels"


def flat_png(width, height):
    """A small file of a black picture of one bit."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    head = b"".join(number.to_bytes(4, "big") for number in (width, height)) + bytes((1, 0, 0, 0, 0))
    return png_of_chunks((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))


@pytest.mark.parametrize(
    ("width", "height"), [(40_000, 40_000), (13_000, 13_000), (2**31 - 1, 100), (150_000_100, 100)]
)
def test_bombs_cost_no_memory(tmp_path, width, height):
    content = (
        flat_png(width, height)
        if width < 100_000
        else flat_png(100, 100).replace((100).to_bytes(4, "big"), width.to_bytes(4, "big"), 1)
    )
    if width >= 100_000:
        content = content[:29] + zlib.crc32(content[12:29]).to_bytes(4, "big") + content[33:]
    (tmp_path / "x.png").write_bytes(content)
    tracemalloc.start()
    try:
        said = refusal(tmp_path, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said == "x.png is too large: images have up to 150,000,000 pixels"
    assert peak < 4 * len(content) + 2_000_000


LITTLE_MEMORY = """
import sys
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.mask_images import read_grey, read_labels, read_marked
from agg_pipeline.storage.store import Store
from tests.fuzz.mutations import limited
for read in (read_image, read_labels, read_grey, read_marked):
    try:
        with limited(memory=1 << 24):
            read(Store(sys.argv[1]), "a.png")
    except MemoryError:
        print(read.__name__)
"""


def test_lack_of_memory_says_nothing_about_an_image(tmp_path):
    Image.new("L", (9000, 9000)).save(tmp_path / "a.png")
    # In a process of its own: this one may have enough free memory left from earlier tests.
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["read_image", "read_labels", "read_grey", "read_marked"]


def test_compressed_texts_are_not_unpacked_without_limit(tmp_path):
    text = b"k\0\0" + zlib.compress(bytes(60_000_000), 9)
    content = file_of("PNG")
    packed = png_of_chunks((b"zTXt", text))[8:]
    (tmp_path / "x.png").write_bytes(content[:33] + packed * 20 + content[33:])
    tracemalloc.start()
    try:
        said = refusal(tmp_path, content[:33] + packed * 20 + content[33:])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "too large" in said.lower()
    assert peak < 20_000_000


def test_jpeg_of_endless_scans_is_refused(tmp_path, monkeypatch):
    content = file_of("JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start:-2]
    monkeypatch.setattr(limits, "JPEG_SCANS", 50)
    (tmp_path / "x.jpg").write_bytes(content)
    read_image(Store(str(tmp_path)), "x.jpg")
    said = refusal(tmp_path, content[:start] + scan * 51 + content[-2:], "x.jpg")
    assert said == "x.jpg: a JPEG of more than 50 scans"


def test_images_are_opened_in_one_place_alone():
    ways = ("Image.open(", "imread", "imdecode", "import imageio")
    root = Path(image_formats.__file__).parents[1]
    found = [path.name for path in root.rglob("*.py") if any(way in path.read_text() for way in ways)]
    assert found == ["image_formats.py"]


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def turned(root, orientation, form="JPEG", size=SHAPE):
    """A folder set of one picture with this tag, and a mask of the given size."""
    (root / "images").mkdir(parents=True)
    ending = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif"}[form]
    Image.fromarray(RGB).save(root / "images" / f"a.{ending}", form, exif=exif(orientation))
    write_pixels(root / "masks" / "a.png", square(size, 2, 3, 9, 8).astype(np.uint8))
    return open_dataset("folder", str(root), None)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation_that_swaps_sizes_is_named_by_the_mismatch(tmp_path, form):
    dataset = turned(tmp_path, 6, form, SHAPE[::-1])
    with pytest.raises(ImageError) as error:
        dataset.read(dataset.entries[0])
    assert (error.value.reason, error.value.detail) == (
        "size_mismatch",
        "masks/a.png is 30x20, its image 20x30 (rows x columns); height and width are swapped; "
        "EXIF orientation 6: other programs show the picture on its side, with height and width swapped",
    )


@pytest.mark.parametrize(("orientation", "way"), [(2, "mirrored"), (3, "upside down"), (4, "mirrored, upside down")])
def test_orientation_that_keeps_sizes_is_a_finding(tmp_path, orientation, way):
    (finding,) = check(turned(tmp_path, orientation))
    assert (finding.where, finding.what) == (
        "images/a.jpg",
        f"EXIF orientation {orientation}: other programs show the picture {way}; its masks may lie that way",
    )


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_upright_pictures_have_no_finding(tmp_path, orientation):
    assert list(check(turned(tmp_path, orientation))) == []


def test_tiff_is_turned_as_its_tag_says(tmp_path):
    dataset = turned(tmp_path, 6, "TIFF", SHAPE[::-1])
    record = dataset.read(dataset.entries[0])
    np.testing.assert_array_equal(record.pixels, np.rot90(RGB, -1))
    assert list(check(dataset)) == []


def test_file_of_several_pictures_is_a_finding(tmp_path):
    write_photo(tmp_path / "images" / "a.tif", *SHAPE)
    write_pixels(tmp_path / "masks" / "a.png", square(SHAPE, 2, 3, 9, 8).astype(np.uint8))
    assert list(check(open_dataset("folder", str(tmp_path), None))) == []
    pages = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    pages[0].save(tmp_path / "images" / "a.tif", save_all=True, append_images=pages[1:])
    (finding,) = check(open_dataset("folder", str(tmp_path), None))
    assert finding.what == "the file holds several pictures; the first one is used"


def inverted(path, mask):
    """A palette mask that shows index 0 in white and index 1 in black: the object is index 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", mask.shape[::-1], (~mask).astype(np.uint8).tobytes())
    image.putpalette([255] * 3 + [0] * 3)
    image.save(path)


@pytest.mark.parametrize(("name", "images", "masks"), [("davis", "img", "gt"), ("folder", "images", "masks")])
def test_palette_that_shows_the_background_in_white(tmp_path, name, images, masks):
    mask = square(SHAPE, 2, 3, 9, 8)
    write_photo(tmp_path / images / "a.jpg", *SHAPE)
    inverted(tmp_path / masks / "a.png", mask)
    dataset = open_dataset(name, str(tmp_path), None)
    (instance,) = dataset.read(dataset.entries[0]).objects
    found = [finding.what for finding in check(dataset)]
    if name == "davis":
        # As the field's readers do, by what is shown.
        np.testing.assert_array_equal(instance.mask.full(), mask)
        assert found == []
        return
    np.testing.assert_array_equal(instance.mask.full(), ~mask)
    assert found == [
        "masks/a.png shows index 0, the background, in the colour (255, 255, 255) and index 1 in black; "
        "ids are the indices, so check that the mask is not inverted"
    ]


@pytest.mark.parametrize(
    ("name", "images", "masks"),
    [("grabcut", "data_GT", "boundary_GT"), ("davis", "img", "gt"), ("berkeley", "images", "masks")],
)
def test_lossy_mask_of_a_published_set_is_a_finding(tmp_path, name, images, masks):
    write_photo(tmp_path / images / "a.jpg", *SHAPE)
    write_pixels(tmp_path / masks / "a.jpg", square(SHAPE, 2, 3, 9, 8).astype(np.uint8) * 255)
    (finding,) = check(open_dataset(name, str(tmp_path), None))
    assert finding.what == (
        f"{masks}/a.jpg has lossy compression, which changes values along the borders; store it as PNG"
    )


@pytest.mark.parametrize("name", ["grabcut", "berkeley"])
def test_trimap_of_16_bits_is_scaled(tmp_path, name):
    images, masks = {"grabcut": ("data_GT", "boundary_GT"), "berkeley": ("images", "masks")}[name]
    trimap = square(SHAPE, 2, 3, 9, 8).astype(np.uint16) * 65535
    trimap[:2] = 32896
    write_photo(tmp_path / images / "a.jpg", *SHAPE)
    write_pixels(tmp_path / masks / "a.png", trimap)
    dataset = open_dataset(name, str(tmp_path), None)
    record = dataset.read(dataset.entries[0])
    np.testing.assert_array_equal(record.objects[0].mask.full(), trimap == 65535)
    np.testing.assert_array_equal(record.ignore.full(), trimap == 32896)


def resized(labels, how):
    """A label map that was made smaller and larger again."""
    image = Image.fromarray(labels)
    smaller = image.resize((labels.shape[1] // 2, labels.shape[0] // 2), how)
    return np.asarray(smaller.resize(image.size, how))


def test_ids_that_interpolation_leaves_along_borders_are_found(tmp_path):
    labels = np.zeros((60, 80), np.uint8)
    labels[10:50, 10:40], labels[20:40, 45:70], labels[:8, 60:] = 20, 140, 60
    write_photo(tmp_path / "images" / "a.jpg", 60, 80)
    for how, clean in ((Image.Resampling.NEAREST, True), (Image.Resampling.BILINEAR, False)):
        write_pixels(tmp_path / "masks" / "a.png", resized(labels, how))
        found = [finding.what for finding in check(open_dataset("folder", str(tmp_path), None))]
        if clean:
            assert found == []
            continue
        (what,) = found
        assert what == (
            "49 of 53 object ids (2, 3, 4, ...) lie only along the borders of others, with a lower and a higher id "
            "beside every pixel; interpolation leaves such ids: resize masks without it"
        )


def test_thin_objects_that_lie_side_by_side_are_no_such_ids(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 5], labels[:, 6], labels[3, 10:20], labels[9:12, 9:12] = 1, 2, 3, 4
    write_photo(tmp_path / "images" / "a.jpg", *SHAPE)
    write_pixels(tmp_path / "masks" / "a.png", labels)
    assert list(check(open_dataset("folder", str(tmp_path), None))) == []


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg", "zstd", "lzma"]
)
def test_the_decoder_of_tiff_prints_nothing(tmp_path, capfd, compression):
    buffer = io.BytesIO()
    picture = Image.fromarray(RGB).convert("1" if compression == "group4" else "L")
    try:
        picture.save(buffer, "TIFF", compression=compression)
    except OSError:
        pytest.skip("this build of Pillow cannot write the compression")
    broken = 0
    for place in range(8, len(buffer.getvalue())):
        content = bytearray(buffer.getvalue())
        content[place] ^= 0xFF
        (tmp_path / "a.tif").write_bytes(content)
        try:
            read_image(Store(str(tmp_path)), "a.tif")
        except ImageError:
            broken += 1
    assert broken > 10
    assert capfd.readouterr() == ("", "")


def test_what_pillow_logs_is_not_printed(tmp_path):
    """In a process of its own: pytest handles what is logged."""
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "TIFF")
    samples = buffer.getvalue().index(struct.pack("<HHI", 277, 3, 1)) + 8
    (tmp_path / "a.tif").write_bytes(buffer.getvalue()[:samples] + b"\xff" + buffer.getvalue()[samples + 1 :])
    code = (
        "import sys\n"
        "from agg_pipeline.datasets.image_formats import header_notes\n"
        "from agg_pipeline.storage.store import Store\n"
        "print(header_notes(Store(sys.argv[1]), 'a.tif'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("()\n", "")
