"""Names of files: those that cannot be used cost only their image, and those that differ in form are joined."""

import os
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.datasets.image_stems import found_files, has_ending
from agg_pipeline.datasets.names import entries_of, id_problem, joined, normal_path, text_problem
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.survey import check
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry
from tests.datasets.writers import square, write_photo, write_pixels

SHAPE = 20, 30
COMPOSED = "caf\u00e9"
TAKEN_APART = unicodedata.normalize("NFD", COMPOSED)
MASK = square(SHAPE, 2, 3, 9, 8).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("caf\u00e9 \u65e5\u672c\u3000\u00a0\u200d", None),
        ("x" * 1024, None),
        ("caf\udce9", "is not UTF-8"),
        ("\ud800", "is not UTF-8"),
        ("a\0b", "has a control character"),
        ("a\nb", "has a control character"),
        ("\x1b[31mred", "has a control character"),
        ("a\x9bb", "has a control character"),
        ("a\u2028b", "has a control character"),
        ("x" * 3_000_000, "has 3,000,000 characters; names have up to 1,024"),
    ],
)
def test_names_that_cannot_be_used(name, problem):
    assert text_problem(name) == problem
    assert id_problem(name) == problem


@pytest.mark.parametrize("image_id", ["../x", "a/../b", "/etc/passwd", "..", "a/.."])
def test_ids_that_lead_out_of_the_set(image_id):
    assert id_problem(image_id) == "is a path out of the data set"


@pytest.mark.parametrize("image_id", ["a/b", "..a", "a..b", ".a"])
def test_ids_that_stay_in_the_set(image_id):
    assert id_problem(image_id) is None


def entries(*names):
    return entries_of(names, lambda name: ImageEntry(name, f"{name}.jpg", 1, None), "images/{}.jpg".format)


def test_names_that_become_equal_do_not_collide():
    found = entries("a\udce9", "a\\xe9", "a\\xe9#2", "b")
    assert [(entry.image_id, entry.problem is None) for entry in found] == [
        ("a\\xe9", True),
        ("a\\xe9#2", True),
        ("a\\xe9#3", False),
        ("b", True),
    ]
    assert found[2].problem == ("unreadable_image", "images/a\\xe9.jpg: the name is not UTF-8")
    (long,) = entries("x" * 2000)
    assert (long.image_id, len(long.path)) == ("x" * 100 + "...", 103)


@given(st.lists(st.text(st.sampled_from("ab\\xe9\udce9\n\0#2"), min_size=1), unique=True))
def test_every_name_becomes_one_entry_with_an_id_of_its_own(names):
    found = entries(*names)
    assert len({entry.image_id for entry in found}) == len(names)
    for entry in found:
        assert text_problem(entry.image_id) is None
        entry.path.encode()


def test_order_of_names_stays_if_all_can_be_used():
    assert [entry.image_id for entry in entries("b", "a", "c")] == ["b", "a", "c"]


def test_names_of_the_same_form_are_joined_if_no_other_name_could_be_meant():
    assert joined(["a", COMPOSED], {"a": 1, TAKEN_APART: 2}) == {"a": 1, COMPOSED: 2}
    assert joined([COMPOSED, TAKEN_APART], {TAKEN_APART: 2}) == {TAKEN_APART: 2}
    assert joined([COMPOSED, TAKEN_APART], {TAKEN_APART: 2, COMPOSED: 3}) == {TAKEN_APART: 2, COMPOSED: 3}
    # \u1e9b\u0323 can be written in three ways; of two of them, nobody knows which one is meant.
    ways = ["\u1e9b\u0323", "\u017f\u0323\u0307", "\u017f\u0307\u0323"]
    assert {unicodedata.normalize("NFC", way) for way in ways} == {ways[0]}
    assert joined(ways[:1], dict.fromkeys(ways[1:], 0)) == {}
    assert joined(ways[:2], {ways[2]: 0}) == {}
    assert joined(["A", "b"], {"a": 1, "B": 2}) == {}


def test_endings_in_capitals_are_found(tmp_path):
    for name in ("a.JPG", "b.jpg", "C.jpg", f"{TAKEN_APART}.Jpg", "d.jpg", "d.JPG", "e.JPG", "e.Jpg"):
        (tmp_path / name).write_bytes(b"12")
    wanted = ["a.jpg", "b.jpg", "c.jpg", f"{COMPOSED}.jpg", "d.jpg", "e.jpg", "f.jpg"]
    assert found_files(Store(str(tmp_path)), wanted) == {
        "a.jpg": ("a.JPG", 2),
        "b.jpg": ("b.jpg", 2),
        f"{COMPOSED}.jpg": (f"{TAKEN_APART}.Jpg", 2),
        "d.jpg": ("d.jpg", 2),
    }
    assert normal_path("a.B/c") == "a.B/c"


@pytest.mark.parametrize(
    ("name", "picture"),
    [("a.JPG", True), ("a.b.tif", True), ("c", True), ("a.png.txt", False), (".a.png", False), ("Thumbs.db", False)],
)
def test_which_files_are_pictures(name, picture):
    assert has_ending(name, {"jpg", "tif", "png"}) == picture


def pair(root, stem, image="jpg", mask="png"):
    write_photo(root / "images" / f"{stem}.{image}", *SHAPE)
    write_pixels(root / "masks" / f"{stem}.{mask}", MASK)


def findings(dataset):
    return [(finding.where, finding.what) for finding in check(dataset)]


def test_files_that_are_no_pictures_are_passed_over(tmp_path):
    pair(tmp_path, "0")
    for folder in ("images", "masks"):
        for name in ("Thumbs.db", "desktop.ini", "0.json", "0.txt", "0.xml", "list.csv", "0.jpg.bak"):
            (tmp_path / folder / name).write_bytes(b"{}")
    dataset = open_dataset("folder", str(tmp_path), None)
    assert [entry.path for entry in dataset.entries] == ["images/0.jpg"]
    assert findings(dataset) == []


def test_picture_of_a_format_that_is_not_read_is_told(tmp_path):
    pair(tmp_path, "0")
    pair(tmp_path, "1")
    for name in ("0.CR2", "2.heic"):
        (tmp_path / "images" / name).write_bytes(b"raw")
    dataset = open_dataset("folder", str(tmp_path), None)
    assert [entry.path for entry in dataset.entries] == ["images/0.jpg", "images/1.jpg", "images/2.heic"]
    write_pixels(tmp_path / "masks" / "2.png", MASK)
    what = "unreadable_image: images/2.heic is no JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or JPEG 2000 image"
    assert findings(open_dataset("folder", str(tmp_path), None)) == [("images/2.heic", what)]


def test_folder_without_pictures_says_what_it_has(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    for name in ("a.json", "b.json", "c.txt", "d.txt"):
        (tmp_path / "images" / name).write_bytes(b"{}")
    with pytest.raises(
        UserError, match=r"images has no file that is a picture; it has a\.json, b\.json, c\.txt, \.\.\."
    ):
        open_dataset("folder", str(tmp_path), None)


def test_accents_may_be_written_in_either_way(tmp_path):
    write_photo(tmp_path / "images" / f"{TAKEN_APART}.jpg", *SHAPE)
    write_pixels(tmp_path / "masks" / f"{COMPOSED}.png", MASK)
    pair(tmp_path, "0")
    dataset = open_dataset("folder", str(tmp_path), None)
    assert findings(dataset) == []
    assert [entry.image_id for entry in dataset.entries] == ["0", TAKEN_APART]
    (tmp_path / "mine.txt").write_text(f"{COMPOSED}\n")
    listed = open_dataset("folder", str(tmp_path), str(tmp_path / "mine.txt"))
    assert [entry.image_id for entry in listed.entries] == [TAKEN_APART]


def test_name_that_is_not_utf_8_costs_only_its_image(tmp_path):
    pair(tmp_path, "good")
    for folder, ending in ((b"images", b"jpg"), (b"masks", b"png")):
        os.link(
            tmp_path / folder.decode() / f"good.{ending.decode()}",
            os.fsencode(tmp_path) + b"/" + folder + b"/caf\xe9." + ending,
        )
        os.link(
            tmp_path / folder.decode() / f"good.{ending.decode()}",
            tmp_path / folder.decode() / f"a\x1bb.{ending.decode()}",
        )
    dataset = open_dataset("folder", str(tmp_path), None)
    assert [entry.image_id for entry in dataset.entries] == ["a\\x1bb", "caf\\xe9", "good"]
    assert findings(dataset) == [
        ("images/a\\x1bb.jpg", "unreadable_image: images/a\\x1bb.jpg: the name has a control character"),
        ("images/caf\\xe9.jpg", "unreadable_image: images/caf\\xe9.jpg: the name is not UTF-8"),
    ]
    with pytest.raises(ImageError) as error:
        dataset.read(dataset.entries[1])
    assert error.value.reason == "unreadable_image"
    np.testing.assert_array_equal(dataset.read(dataset.entries[2]).objects[0].mask.full(), MASK > 0)


@pytest.fixture
def voc(tmp_path):
    """PASCAL VOC's layout with the images a and b."""
    for image_id in ("a", "b"):
        write_photo(tmp_path / "JPEGImages" / f"{image_id}.jpg", *SHAPE)
        write_pixels(tmp_path / "SegmentationObject" / f"{image_id}.png", MASK)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    return tmp_path


def of_list(root, content):
    (root / "ImageSets" / "Segmentation" / "val.txt").write_bytes(content)
    return open_dataset("pascal_voc", str(root), "val")


@pytest.mark.parametrize(
    ("line", "image_id", "what"),
    [
        (b"../../etc/passwd", "../../etc/passwd", "the name is a path out of the data set"),
        (b"/etc/passwd", "/etc/passwd", "the name is a path out of the data set"),
        (b"a\0b", "a\\x00b", "the name has a control character"),
        (b"\x1b[31mred", "\\x1b[31mred", "the name has a control character"),
        (b"caf\xe9", "caf\\xe9", "the name is not UTF-8"),
        (b"x" * 3_000_000, "x" * 100 + "...", "the name has 3,000,000 characters; names have up to 1,024"),
    ],
    ids=["out", "root", "NUL", "escape", "Latin-1", "long"],
)
def test_broken_line_of_a_list_costs_only_itself(voc, line, image_id, what):
    dataset = of_list(voc, b"a\nb\n" + line + b"\n")
    (entry,) = [entry for entry in dataset.entries if entry.problem]
    assert entry.image_id == image_id
    assert entry.problem[1].endswith(f": {what}")
    assert [entry.image_id for entry in dataset.entries if not entry.problem] == ["a", "b"]
    assert len(findings(dataset)) == 1


@pytest.mark.parametrize(
    "content",
    [b"/JPEGImages/a.jpg /SegmentationObject/a.png\n", b"a.jpg\n", b"JPEGImages/a.jpg\n", b"a 1\nb 0\n", b"x\ny\n"],
)
def test_list_without_any_image_of_the_set_is_one_error(voc, content):
    with pytest.raises(UserError) as error:
        of_list(voc, content)
    first = sorted(content.decode().splitlines())[0]
    assert str(error.value) == (
        f"no image that split val lists is in {voc}/JPEGImages, for example {first}; "
        "a list holds one image id per line, such as a"
    )


def test_endings_in_capitals_and_accents_of_listed_images(voc):
    (voc / "JPEGImages" / "a.jpg").rename(voc / "JPEGImages" / "a.JPG")
    (voc / "JPEGImages" / "b.jpg").rename(voc / "JPEGImages" / f"{TAKEN_APART}.jpg")
    (voc / "SegmentationObject" / "b.png").rename(voc / "SegmentationObject" / f"{TAKEN_APART}.PNG")
    dataset = of_list(voc, f"a\n{COMPOSED}\n".encode())
    assert [(entry.image_id, entry.path) for entry in dataset.entries] == [
        ("a", "JPEGImages/a.JPG"),
        (COMPOSED, f"JPEGImages/{TAKEN_APART}.jpg"),
    ]
    assert findings(dataset) == []
    assert len(dataset.read(dataset.entries[1]).objects) == 1
