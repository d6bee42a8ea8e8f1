"""The pickle of the authors' generator: written for their program, and read without running anything."""

import os
import pickle
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.database.exchange.released_import import import_released, owner_of
from agg_pipeline.database.exchange.released_pickle import export_released
from agg_pipeline.database.exchange.released_reading import read_released
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.storage.rle import decode
from schemas.crop import crop_mask
from schemas.errors import UserError
from schemas.numbers import round_to_tenth
from schemas.records import ObjectMask
from tests.toy_run import HEIGHT, WIDTH


@pytest.fixture
def path(database, tmp_path):
    export_released(database, tmp_path / "x.pkl")
    return tmp_path / "x.pkl"


def masks_of(table):
    """Kind, mask and rounded granularities of every proposal, in any order."""
    return sorted(
        (row["image_id"], row["kind"], row["rle"], round_to_tenth(row["semantic"]), round_to_tenth(row["scale"]))
        for row in table.to_pylist()
        if row["kind"] != "object"
    )


def written(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_released(path, lambda _name, _image: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def image(masks=2, **changes):
    arrays = {"mask": np.zeros((masks, 4, 5), np.uint8), "gra": np.full((masks, 2), 0.3)}
    return arrays | changes


def test_pickle_reads_what_the_authors_program_expects(database, path):
    content = pickle.loads(path.read_bytes())  # noqa: S301 - our own
    rows = [row for row in database.proposals().to_pylist() if row["kind"] != "object"]
    assert set(content) == {row["image_id"] for row in rows}
    for name, found in content.items():
        own = [row for row in rows if row["image_id"] == name]
        own.sort(key=lambda row: (row["instance_id"], row["step"], row["kind"] == "complement"))
        assert found["mask"].dtype == np.uint8
        assert found["mask"].shape == (len(own), HEIGHT, WIDTH)
        np.testing.assert_array_equal(found["mask"].astype(bool), [database.mask(row) for row in own])
        expected = [[round_to_tenth(row["semantic"]), round_to_tenth(row["scale"])] for row in own]
        assert found["gra"].tolist() == expected
    assert b"numpy._core" not in path.read_bytes(), "older versions of NumPy don't know that name"


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_the_import_has_the_same_masks_and_rounded_granularities(database, path, toy_dataset, tmp_path, protocol):
    if protocol is not None:
        written(path, pickle.loads(path.read_bytes()), protocol)  # noqa: S301 - our own
    made = import_released(path, toy_dataset, str(tmp_path / "made"))
    assert masks_of(made.proposals()) == masks_of(database.proposals())
    assert list(validate(open_proposals(made.store.url))) == []
    objects = {row["proposal_id"]: row for row in database.proposals().to_pylist() if row["kind"] == "object"}
    for row in made.proposals().to_pylist():
        if row["kind"] == "object":
            assert row == objects[row["proposal_id"]]
        else:
            assert (row["click"], row["clicks"], row["peak_object"], row["peak_proposal"]) == (None,) * 4
    (source,) = made.sources
    assert (source["imported"]["format"], source["dataset"]["name"]) == ("released", "toy")


@pytest.mark.parametrize("change", [{"fingerprint": "0" * 32}, {"split": "train"}])
def test_objects_of_a_data_set_that_was_changed_are_not_those_that_were_imported(path, toy_dataset, tmp_path, change):
    made = import_released(path, toy_dataset, str(tmp_path / "made"))
    assert import_released(path, toy_dataset, str(tmp_path / "made")).plan == made.plan
    with pytest.raises(UserError, match="holds a database; choose another output folder, or use --overwrite"):
        import_released(path, replace(toy_dataset, **change), str(tmp_path / "made"))
    other = import_released(path, replace(toy_dataset, **change), str(tmp_path / "other"))
    assert database_id(other) == database_id(made), "it has the same rows"


def test_one_granularity_per_mask_is_both(tmp_path):
    found = {}
    path = written(tmp_path / "x.pkl", {"a": image(gra=np.array([0.25, 1.0], np.float32))})
    read_released(path, found.__setitem__)
    assert found["a"].shares.tolist() == [[0.25, 0.25], [1.0, 1.0]]


def test_masks_in_any_order_and_type(tmp_path):
    random = np.random.default_rng(0)
    masks = random.random((3, 6, 7)) < 0.5
    for dtype in (np.bool_, np.uint8, np.int64):
        found = {}
        content = {"a": {"mask": np.asfortranarray(masks.astype(dtype)), "gra": np.full(3, 0.5)}}
        read_released(written(tmp_path / "x.pkl", content), found.__setitem__)
        image = found["a"]
        np.testing.assert_array_equal([decode(rle, 6, 7) for rle in image.masks], masks)


class Evil:
    def __init__(self, called, *arguments):
        self.reduced = called, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("place", [lambda evil: evil, lambda evil: {"a": evil}, lambda evil: {"a": image(gra=evil)}])
def test_code_is_not_run(tmp_path, place):
    target = tmp_path / "run"
    for evil in (Evil(os.mkdir, str(target)), Evil(eval, f"__import__('os').mkdir({str(target)!r})")):
        for protocol in (0, 2, 4, 5):
            said = refusal(written(tmp_path / "x.pkl", place(evil), protocol))
            assert "is no pickle of the authors' generator" in said
    assert not target.exists()


STRANGE = {
    "a list": [1],
    "a number in the place of an image": {"a": 3},
    "numbers as names": {1: image()},
    "no gra": {"a": {"mask": np.zeros((1, 4, 5), np.uint8)}},
    "another number of granularities": {"a": image(gra=np.zeros((3, 2)))},
    "flat masks": {"a": image(mask=np.zeros((4, 5), np.uint8))},
    "masks of fractions": {"a": image(mask=np.zeros((2, 4, 5)))},
    "no pixel": {"a": image(mask=np.zeros((2, 0, 5), np.uint8))},
    "nan": {"a": image(gra=np.full((2, 2), np.nan))},
    "more than 1": {"a": image(gra=np.full((2, 2), 1.5))},
    "objects": {"a": image(gra=np.array([[None, 1]] * 2))},
    "big-endian": {"a": image(gra=np.full((2, 2), 0.5, ">f8"))},
    "another dict": OrderedDict(a=image()),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_what_is_no_such_pickle_is_refused_in_one_line(tmp_path, content):
    refusal(written(tmp_path / "x.pkl", content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"\x80\x04}\x8e" + b"\xff" * 8,
        b"\x80\x04}B\xff\xff\xff\xff.",
        b"c" + b"x" * 100_000,
    ],
)
def test_torn_pickles_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    refusal(tmp_path / "x.pkl")


def test_an_array_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    path = written(tmp_path / "x.pkl", {"a": image(mask=np.zeros((2, 40, 50), np.uint8))})
    monkeypatch.setattr("schemas.limits.RELEASED_ARRAY_BYTES", 3999)
    assert "a part of 4,000 bytes; the limit is 3,999" in refusal(path)


SOUND = pickle.dumps({"a": image(), "b": image(1)}, 4)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(0, 255), st.booleans())
def test_a_changed_byte_is_read_or_refused(tmp_path_factory, place, value, cut):
    path = tmp_path_factory.getbasetemp() / "flipped.pkl"
    path.write_bytes(SOUND[:place] + bytes([value]) + (b"" if cut else SOUND[place + 1 :]))
    try:
        read_released(path, lambda _name, _image: None)
    except UserError as error:
        assert "\n" not in str(error)


def test_images_that_the_data_set_lacks_are_left_out(tmp_path, toy_dataset, caplog):
    mask = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    mask[0, 10:20, 10:20] = 1
    content = {"im_0": image(mask=mask), "other": image(mask=mask.copy())}
    made = import_released(written(tmp_path / "x.pkl", content), toy_dataset, str(tmp_path / "made"))
    assert made.images()["image_id"].to_pylist() == ["im_0"]
    assert [row["detail"] for row in made.rejects().to_pylist()] == ["mask 1 of the pickle has no pixel"]
    assert "1 image left out, not in the data set: other" in caplog.text
    card = made.store.read("README.md").decode()
    assert "The granularities are those of the imported file." in card
    assert "A click model was given" not in card
    with pytest.raises(UserError, match=r"has no image of toy, split val; it has other$"):
        import_released(written(tmp_path / "y.pkl", {"other": image()}), toy_dataset, str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"z.pkl is empty: it has no image$"):
        import_released(written(tmp_path / "z.pkl", {}), toy_dataset, str(tmp_path / "none"))


def test_two_images_of_one_name_are_refused(tmp_path, toy_dataset):
    first, second, *_ = toy_dataset.entries
    twice = replace(toy_dataset, entries=(first, replace(second, path="other/im_0.jpg")))
    with pytest.raises(UserError, match="2 images of toy are called so"):
        import_released(written(tmp_path / "x.pkl", {"im_0": image()}), twice, str(tmp_path / "made"))


def test_a_mask_belongs_to_the_object_that_contains_it():
    frame = np.zeros((3, 20, 20), bool)
    frame[0, :10], frame[1, 2:8, 2:8], frame[2, 12:] = True, True, True
    large, small, other = (ObjectMask(n, None, crop_mask(mask, 20, 20)) for n, mask in enumerate(frame))

    def owner(top, left, height, width):
        mask = np.zeros((20, 20), bool)
        mask[top : top + height, left : left + width] = True
        found = owner_of(crop_mask(mask, 20, 20), (large, small, other))
        return None if found is None else found.instance_id

    assert owner(3, 3, 3, 3) == 1
    assert owner(0, 0, 4, 20) == 0
    assert owner(9, 0, 8, 4) == 2
    assert owner(10, 0, 2, 4) is None
