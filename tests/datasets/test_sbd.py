"""SBD in its exact layout, written by the test, and the small real set."""

import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from agg_pipeline.datasets import sbd
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError, UserError
from tests.datasets.writers import write_mat_73
from tests.fuzz.mutations import limited

LABELS = np.zeros((20, 30), np.uint8)
LABELS[2:8, 3:9] = 1
LABELS[10:18, 3:9] = 2
LABELS[5:18, 15:29] = 4


def write_mat(path, labels=LABELS, categories=((15,), (3,), (8,), (20,)), compress=True):
    truth = {"Segmentation": labels, "Categories": np.array(categories, np.uint8)}
    savemat(path, {"GTinst": truth}, do_compression=compress)


def write_image(path, height=20, width=30, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "inst").mkdir()
    for number, image_id in enumerate(("2008_000009", "2008_000002", "2008_000010")):
        write_image(tmp_path / "img" / f"{image_id}.jpg", seed=number)
        write_mat(tmp_path / "inst" / f"{image_id}.mat")
    (tmp_path / "train.txt").write_text("2008_000009\n2008_000002\n")
    (tmp_path / "val.txt").write_text("2008_000010\n")
    return tmp_path


def test_objects_are_the_instances_with_their_categories(root):
    dataset = open_dataset("sbd", str(root), "val")
    (entry,) = dataset.entries
    record = dataset.read(entry)
    assert (record.image_id, record.path) == ("2008_000010", "img/2008_000010.jpg")
    assert (record.height, record.width) == (20, 30)
    assert [(instance.instance_id, instance.category) for instance in record.objects] == [
        (1, "person"),
        (2, "bird"),
        (4, "tvmonitor"),
    ]
    for instance in record.objects:
        np.testing.assert_array_equal(instance.mask.full(), instance.instance_id == LABELS)
    assert record.ignore is None
    assert len(record.sha256) == 64


def test_listing_is_sorted_and_the_default_split_is_train(root):
    dataset = open_dataset("sbd", str(root), None)
    assert [entry.image_id for entry in dataset.entries] == ["2008_000002", "2008_000009"]
    assert (dataset.name, dataset.split) == ("sbd", "train")
    sizes = [(root / entry.path).stat().st_size for entry in dataset.entries]
    assert [entry.size for entry in dataset.entries] == sizes


def test_listing_opens_no_image_and_reading_opens_its_own(root, monkeypatch):
    opened = []
    for method in ("read", "open"):
        original = getattr(Store, method)
        monkeypatch.setattr(
            Store,
            method,
            lambda self, path, *limit, original=original: opened.append(path) or original(self, path, *limit),
        )
    dataset = open_dataset("sbd", str(root), "train")
    assert "train.txt" in opened
    assert not [path for path in opened if path.startswith("img")]
    opened.clear()
    dataset.read(dataset.entries[0])
    assert sorted(opened) == ["img/2008_000002.jpg", "inst/2008_000002.mat"]


def test_reader_can_be_sent_to_another_process(root):
    dataset = open_dataset("sbd", str(root), "val")
    read = pickle.loads(pickle.dumps(dataset.read))  # noqa: S301
    assert len(read(dataset.entries[0]).objects) == 3


def test_split_may_be_a_list_file(root, tmp_path_factory):
    listed = tmp_path_factory.mktemp("lists") / "mine.txt"
    listed.write_text("\ufeff2008_000010\r\n 2008_000002 \n\n", encoding="utf-8")
    dataset = open_dataset("sbd", str(root), str(listed))
    assert [entry.image_id for entry in dataset.entries] == ["2008_000002", "2008_000010"]


def test_category_without_a_name_is_unknown(root):
    write_mat(root / "inst" / "2008_000010.mat", categories=((0,), (99,)))
    dataset = open_dataset("sbd", str(root), "val")
    assert [instance.category for instance in dataset.read(dataset.entries[0]).objects] == [None, None, None]


@pytest.mark.parametrize("categories", ["text", {"a": 1}, [], [[0.5], [np.nan]]], ids=str)
def test_categories_that_are_no_class_numbers_are_unknown(root, categories):
    savemat(root / "inst" / "2008_000010.mat", {"GTinst": {"Segmentation": LABELS, "Categories": categories}})
    dataset = open_dataset("sbd", str(root), "val")
    assert [instance.category for instance in dataset.read(dataset.entries[0]).objects] == [None, None, None]


def test_class_numbers_may_be_reals(root):
    truth = {"Segmentation": LABELS, "Categories": np.array([[15.0], [3.0]])}
    savemat(root / "inst" / "2008_000010.mat", {"GTinst": truth})
    dataset = open_dataset("sbd", str(root), "val")
    assert [instance.category for instance in dataset.read(dataset.entries[0]).objects] == ["person", "bird", None]


def test_mat_without_categories_still_has_its_objects(root):
    savemat(root / "inst" / "2008_000010.mat", {"GTinst": {"Segmentation": LABELS}})
    dataset = open_dataset("sbd", str(root), "val")
    assert [instance.category for instance in dataset.read(dataset.entries[0]).objects] == [None, None, None]


def fingerprint(root):
    return open_dataset("sbd", str(root), "train").fingerprint


def test_fingerprint_changes_with_one_byte_of_an_annotation(root):
    before = fingerprint(root)
    path = root / "inst" / "2008_000009.mat"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(bytes(content))
    assert fingerprint(root) != before
    content[60] ^= 1
    path.write_bytes(bytes(content))
    assert fingerprint(root) == before


def test_fingerprint_changes_with_an_images_size_and_with_the_list(root):
    before = fingerprint(root)
    with (root / "img" / "2008_000009.jpg").open("ab") as file:
        file.write(b"x")
    grown = fingerprint(root)
    assert grown != before
    (root / "train.txt").write_text("2008_000009\n")
    assert fingerprint(root) not in (before, grown)


def test_fingerprint_does_not_depend_on_the_order_of_files_or_of_the_list(root, tmp_path_factory):
    before = fingerprint(root)
    other = tmp_path_factory.mktemp("copy")
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file():
            target = other / path.relative_to(root)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    (other / "train.txt").write_text("2008_000002\n2008_000009\n")
    assert fingerprint(other) == before


@pytest.mark.parametrize("gone", ["img", "inst"])
def test_missing_folder_is_named_beside_what_is_there(root, gone):
    (root / gone).rename(root / "elsewhere")
    with pytest.raises(UserError, match=r"is not the root of sbd: expected img, inst, found elsewhere, .*train\.txt"):
        open_dataset("sbd", str(root), "train")


def test_missing_list_names_those_that_are_there(root):
    (root / "train.txt").unlink()
    said = r"unknown split 'train', because .*train\.txt does not exist; possible: val, or a list file \(\*\.txt\)$"
    with pytest.raises(UserError, match=said):
        open_dataset("sbd", str(root), "train")


def test_missing_root_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist; name the root folder of sbd, which holds img, inst "):
        open_dataset("sbd", str(tmp_path / "nowhere"), "train")


@pytest.mark.parametrize(("text", "said"), [("a\nb\na\n", "lists a more than once"), ("\n \n", "lists no image")])
def test_bad_split_file_is_refused(root, text, said):
    (root / "train.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        open_dataset("sbd", str(root), "train")


def test_split_file_that_is_no_text_is_refused(root):
    (root / "train.txt").write_bytes(b"\xff\xfe\x00\x80abc")
    with pytest.raises(UserError, match=r"train\.txt"):
        open_dataset("sbd", str(root), "train")


def test_unknown_data_set_names_the_known_ones():
    with pytest.raises(UserError, match=r"coco, .*demo, .*sbd"):
        open_dataset("sbb", "", "train")


def refused(root, reason):
    """The detail of the error that reading the val image gives; listing must still work."""
    dataset = open_dataset("sbd", str(root), "val")
    with pytest.raises(ImageError) as error:
        dataset.read(dataset.entries[0])
    assert error.value.reason == reason
    assert str(root) not in error.value.detail
    return error.value.detail


def test_truncated_jpeg_is_refused_when_it_is_read(root):
    path = root / "img" / "2008_000010.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    refused(root, "unreadable_image")


def test_missing_files_are_refused_when_they_are_read(root):
    (root / "inst" / "2008_000010.mat").unlink()
    assert "inst/2008_000010.mat does not exist" in refused(root, "unreadable_annotation")
    (root / "img" / "2008_000010.jpg").unlink()
    refused(root, "unreadable_image")


@pytest.mark.parametrize(
    "content",
    [
        {"GTcls": {"Segmentation": LABELS}},
        {"GTinst": {"Boundaries": LABELS}},
        {"GTinst": LABELS},
        {"GTinst": LABELS.astype(float)},
        {"GTinst": "text"},
        {"GTinst": {"Segmentation": LABELS.astype(float) / 2}},
        {"GTinst": {"Segmentation": "text"}},
        {"GTinst": {"Segmentation": np.zeros((20, 30, 2), np.uint8)}},
    ],
    ids=[
        "no GTinst",
        "no Segmentation",
        "map itself",
        "map of reals",
        "a text",
        "halves",
        "text map",
        "three axes",
    ],
)
def test_mat_that_lacks_what_it_should_hold_is_refused(root, content):
    savemat(root / "inst" / "2008_000010.mat", content)
    assert "GTinst" in refused(root, "unreadable_annotation")


def test_map_of_another_size_is_refused(root):
    write_mat(root / "inst" / "2008_000010.mat", LABELS.T)
    assert "30x20" in refused(root, "size_mismatch")


def test_map_without_instances_has_no_objects(root):
    write_mat(root / "inst" / "2008_000010.mat", np.zeros_like(LABELS))
    dataset = open_dataset("sbd", str(root), "val")
    assert dataset.read(dataset.entries[0]).objects == ()


def test_map_and_class_numbers_that_are_far_too_large_are_not_converted(root):
    # As integers of eight bytes, 40 million numbers take 320 MB.
    large = np.zeros((4000, 10_000), np.uint8)
    contents = [{"GTinst": {"Segmentation": LABELS, "Categories": large}}, {"GTinst": {"Segmentation": large}}]
    paths = [root / "inst" / f"{image_id}.mat" for image_id in ("2008_000002", "2008_000010")]
    for path, content in zip(paths, contents, strict=True):
        savemat(path, content, do_compression=True)
    dataset = open_dataset("sbd", str(root), "train")
    with limited(memory=160 << 20):
        assert [each.category for each in dataset.read(dataset.entries[0]).objects] == [None, None, None]
    with limited(memory=160 << 20):
        assert "Segmentation of inst/2008_000010.mat is 4000x10000, its image 20x30" in refused(root, "size_mismatch")


class Bytes:
    """A store of one file, without a disk."""

    def __init__(self, content):
        self.content = content

    def read_listed(self, _path, _limit, _size=0):
        return self.content


def mat_bytes(compress):
    buffer = io.BytesIO()
    write_mat(buffer, compress=compress)
    return buffer.getvalue()


def raises_image_errors_only(content):
    try:
        labels, codes = sbd._instances(Bytes(content), "x.mat", LABELS.shape)
        categories = [sbd._category(codes, instance_id) for instance_id in (1, 2**40)]
    except ImageError as error:
        assert error.reason in ("unreadable_annotation", "size_mismatch")
        assert "\n" not in error.detail
    else:
        assert labels.shape == LABELS.shape
        assert {*categories} <= {None, *sbd.CATEGORIES}
        assert categories[1] is None


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_image_errors(content):
    raises_image_errors_only(content)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=100)
@given(st.integers(0, 400), st.booleans())
def test_mat_cut_short_raises_nothing_but_image_errors(length, compress):
    raises_image_errors_only(mat_bytes(compress)[:length])


def test_map_without_an_image_is_a_stray(root):
    write_mat(root / "inst" / "2008_999999.mat")
    (stray,) = open_dataset("sbd", str(root), "val").strays()
    assert stray == "inst/2008_999999.mat belongs to no image in img"


def test_file_of_matlab_73_says_how_to_convert_it(root):
    write_mat_73(root / "inst" / "2008_000010.mat")
    said = refused(root, "unreadable_annotation")
    assert "inst/2008_000010.mat is a file of MATLAB 7.3" in said
    assert "save it with '-v7'" in said


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("values", [LABELS, LABELS.astype(float), LABELS * 1j, csc_matrix(LABELS * 1.0), "text"])
def test_file_of_matlab_4_says_how_to_convert_it(root, values, order):
    path = root / "inst" / "2008_000010.mat"
    savemat(path, {"GTinst": values}, format="4")
    content = path.read_bytes()
    if order == ">":
        kind, *numbers = struct.unpack("<5I", content[:20])
        path.write_bytes(struct.pack(">5I", kind + 1000, *numbers) + content[20:])
    said = refused(root, "unreadable_annotation")
    how = "convert it: load it in MATLAB or Octave and save it with '-v7'"
    assert said == f"inst/2008_000010.mat is a file of MATLAB 4; {how}"


@pytest.mark.parametrize("content", [b"", bytes(10), bytes(500), b"\0\0\0\0" * 4 + b"\2\0\0\0ab" * 30, b"text " * 100])
def test_other_content_is_of_no_version(root, content):
    (root / "inst" / "2008_000010.mat").write_bytes(content)
    said = refused(root, "unreadable_annotation")
    assert said == "inst/2008_000010.mat is not a readable .mat file: it has no header of level 5"


def test_real_val_images_agree_with_their_files(shared):
    root = shared / "data" / "sbd-mini"
    dataset = open_dataset("sbd", str(root), "val")
    assert [entry.image_id for entry in dataset.entries] == sorted((root / "val.txt").read_text().split())
    assert len(dataset.entries) == 115
    several = 0
    for entry in dataset.entries:
        assert entry.size == (root / entry.path).stat().st_size
        record = dataset.read(entry)
        assert max(record.height, record.width) <= 448
        truth = loadmat(root / "inst" / f"{entry.image_id}.mat")["GTinst"][0, 0]
        instances, codes = truth["Segmentation"], truth["Categories"].ravel()
        assert record.pixels.shape == (*instances.shape, 3)
        assert [instance.instance_id for instance in record.objects] == sorted(set(np.unique(instances).tolist()) - {0})
        for instance in record.objects:
            np.testing.assert_array_equal(instance.mask.full(), instances == instance.instance_id)
            code = codes[instance.instance_id - 1]
            assert instance.category == (sbd.CATEGORIES[code - 1] if code else None)
        several += len(record.objects) > 1
    assert several > 5
    assert not dataset.strays()
