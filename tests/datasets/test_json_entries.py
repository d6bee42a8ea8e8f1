"""Documents of many entries: what they cost, and that an image has no more annotations than it may have."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct
from PIL import Image

from agg_pipeline.datasets.json_entries import CHUNK, decode_document, most_entries
from agg_pipeline.datasets.registry import open_dataset
from schemas import limits
from schemas.errors import ImageError, UserError
from tests.held_memory import peak_bytes

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
MIB = 1 << 20
POLYGON = [[1, 1, 3, 1, 3, 3]]
MASK = {"size": [8, 8], "counts": [0, 64]}


@given(st.lists(VALUES, max_size=8), st.booleans())
def test_a_list_has_as_many_entries_as_were_written(values, spaces):
    written = json.dumps({"a": values}, indent=1 if spaces else None, ensure_ascii=spaces).encode()
    assert most_entries(written) == max(1, len(values))


def test_lists_and_chunks_are_added_up():
    written = b'{"a": [' + b"[1,2]," * (CHUNK) + b'0], "b": [1, "\\\\", "x,\\",y", {"c": [1, 2, 3]}]}'
    assert most_entries(written) == CHUNK + 4


@pytest.mark.parametrize(
    "broken",
    [b"", b"]}", b'"', b"\\", b'"' + b'\\"' * 2_000_000 + b"\\", b'"' * 2_000_001, b"[" * 2_000_000, b"}" * 2_000_000],
    ids=lambda content: repr(content[:4]),
)
def test_what_is_no_document_takes_little_time(broken):
    assert most_entries(broken) == 1


def write_coco(root, annotations, images=None, categories=()):
    """A set of one image; annotations are given as JSON."""
    (root / "annotations").mkdir()
    (root / "val").mkdir()
    Image.new("RGB", (8, 8)).save(root / "val/1.jpg")
    images = images or json.dumps([{"id": 1, "file_name": "1.jpg", "height": 8, "width": 8}])
    text = f'{{"images": {images}, "categories": {json.dumps(categories)}, "annotations": {annotations}}}'
    (root / "annotations/instances_val.json").write_text(text)


def annotations_of(count, segmentation):
    one = json.dumps({"id": 0, "image_id": 1, "segmentation": segmentation})
    return f"[{', '.join(one.replace('0', str(number), 1) for number in range(count))}]"


def test_an_image_of_coco_has_as_many_annotations_as_a_label_map_has_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "OBJECTS_PER_IMAGE", 20)
    write_coco(tmp_path, annotations_of(20, POLYGON))
    dataset = open_dataset("coco", str(tmp_path), "val")
    assert len(dataset.read(dataset.entries[0]).objects) == 20
    monkeypatch.setattr(limits, "OBJECTS_PER_IMAGE", 19)
    dataset = open_dataset("coco", str(tmp_path), "val")
    assert dataset.entries[0].annotation is None
    with pytest.raises(ImageError) as error:
        dataset.read(dataset.entries[0])
    assert error.value.reason == "unreadable_annotation"
    assert "instances_val.json: more than 65,535 annotations, the most that an image may have" in error.value.detail


def write_sa1b(root, annotations):
    for folder in ("images", "annotations"):
        (root / folder).mkdir()
    Image.new("RGB", (8, 8)).save(root / "images/a.jpg")
    text = f'{{"image": {{"height": 8, "width": 8}}, "annotations": {annotations}}}'
    (root / "annotations/a.json").write_text(text)
    return open_dataset("sa1b", str(root), "all")


@pytest.mark.parametrize(("limit", "refused"), [(20, False), (19, True), (2, True)])
def test_an_image_of_sa1b_has_as_many_annotations_as_a_label_map_has_objects(tmp_path, monkeypatch, limit, refused):
    monkeypatch.setattr(limits, "OBJECTS_PER_IMAGE", limit)
    dataset = write_sa1b(tmp_path, annotations_of(20, MASK))
    if not refused:
        assert len(dataset.read(dataset.entries[0]).objects) == 20
        return
    with pytest.raises(ImageError) as error:
        dataset.read(dataset.entries[0])
    expected = "annotations/a.json: more than 65,535 annotations, the most that an image may have"
    assert (error.value.reason, error.value.detail) == ("unreadable_annotation", expected)


def refused(function, *arguments):
    with suppress(ImageError, UserError):
        function(*arguments)


TINY = {"numbers": "0", "objects": "{}", "lists": "[]", "texts": '""', "not finite": "NaN", "large": "1e999"}


@pytest.mark.parametrize("entry", TINY.values(), ids=TINY)
def test_millions_of_tiny_entries_of_sa1b_cost_little(tmp_path, entry):
    dataset = write_sa1b(tmp_path, f"[{', '.join([entry] * 3_000_000)}]")
    with pytest.raises(ImageError, match="more than 65,535 annotations"):
        dataset.read(dataset.entries[0])
    peak, _ = peak_bytes(lambda: refused(dataset.read, dataset.entries[0]))
    assert peak < 200 * MIB


@pytest.mark.parametrize("entry", TINY.values(), ids=TINY)
@pytest.mark.parametrize("part", ["images", "annotations"])
def test_millions_of_tiny_entries_of_coco_cost_little(tmp_path, part, entry):
    entries = f"[{', '.join([entry] * 2_000_000)}]"
    write_coco(tmp_path, entries if part == "annotations" else "[]", entries if part == "images" else None)
    with pytest.raises(UserError, match=r"instances_val\.json is not a COCO instance file: its 2,000,00"):
        open_dataset("coco", str(tmp_path), "val")
    peak, _ = peak_bytes(lambda: refused(open_dataset, "coco", str(tmp_path), "val"))
    assert peak < 200 * MIB


class Document(Struct):
    a: Raw
    b: int = 0


@pytest.mark.parametrize("key", ["a", "b", "x", ""])
def test_many_keys_cost_no_memory(key):
    content = ('{"a": 1' + f', "{key}": 1' * 300_000 + "}").encode()
    peak, _ = peak_bytes(lambda: refused(decode_document, content, Document, "x.json", "a document"))
    assert peak < 6 * MIB
    if key in ("x", ""):
        decode_document(content, Document, "x.json", "a document")
        return
    times = 300_001 if key == "a" else 300_000
    with pytest.raises(UserError, match=f"json has the key '{key}' {times:,} times; keep one, because only one would"):
        decode_document(content, Document, "x.json", "a document")


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_a_file_of_broken_entries_is_refused(tmp_path, monkeypatch, part):
    monkeypatch.setattr(limits, "BROKEN_ENTRIES", 20)
    broken = [{"key": "of an entry without an id"}] * 21
    good = {"images": None, "annotations": "[]", "categories": ()}
    chosen = {part: broken if part == "categories" else json.dumps(broken)}
    write_coco(tmp_path, **good | chosen)
    said = (
        rf"val\.json is not a COCO instance file: more than 20 of its {part} cannot be used, for example {part}\[20\]: "
    )
    with pytest.raises(UserError, match=said):
        open_dataset("coco", str(tmp_path), "val")
