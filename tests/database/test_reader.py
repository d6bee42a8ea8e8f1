"""What consumers of a database get."""

import fsspec
import numpy as np
import pytest

from agg_pipeline.database.reader import mask_of, open_proposals
from agg_pipeline.execution.shard_files import PLAN
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.tables import FILES
from tests.execution.test_shard_files import edit_sidecar


@pytest.fixture
def proposals(built):
    return open_proposals(built.url)


def test_masks_equal_the_originals(proposals, toy_shards):
    table = proposals.proposals()
    masks = dict(zip(table["proposal_id"].to_pylist(), proposals.masks(table), strict=True))
    expected = {}
    for state in toy_shards:
        for target in state.targets:
            expected[f"{target.image.image_id}:{target.object.instance_id}:object:0"] = target.object.mask.full()
        for estimate in state.estimates:
            query = estimate.query
            ids = f"{query.target.image.image_id}:{query.target.object.instance_id}"
            expected[f"{ids}:{query.kind}:{query.part.step}"] = estimate.mask.full()
    assert masks.keys() == expected.keys()
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[name])
        assert mask.dtype == np.bool_


def test_area_box_and_scale_agree_with_the_masks(proposals):
    areas = {}
    for row in proposals.proposals().to_pylist():
        mask = mask_of(row)
        rows, cols = np.nonzero(mask)
        areas[row["proposal_id"]] = int(mask.sum())
        assert row["area"] == mask.sum()
        assert row["bbox"] == {
            "x": cols.min(),
            "y": rows.min(),
            "w": cols.max() - cols.min() + 1,
            "h": rows.max() - rows.min() + 1,
        }
        if row["parent_id"]:
            assert row["scale"] == np.float32(row["area"] / areas[row["parent_id"]])
            assert mask[row["click"]["row"], row["click"]["col"]]


def test_tables_are_in_the_order_of_the_plan(proposals, toy_plan):
    assert [image for ids in toy_plan["shards"] for image in ids if image != "im_6"] == proposals.images()[
        "image_id"
    ].to_pylist()
    assert proposals.plan == toy_plan
    ids = list(dict.fromkeys(proposals.proposals(["image_id"])["image_id"].to_pylist()))
    assert ids == [f"im_{n}" for n in (0, 1, 2, 3, 5, 7)]
    assert proposals.proposals(["bin", "kind"]).column_names == ["bin", "kind"]
    assert set(proposals.rejects()["reason"].to_pylist()) >= {"no_object", "unreadable_image"}


def test_rows_of_one_image_come_from_its_shard_alone(proposals, monkeypatch):
    whole = proposals.proposals()
    expected = [row for row in whole.to_pylist() if row["image_id"] == "im_3"]
    opened = []
    original = Store.open
    monkeypatch.setattr(Store, "open", lambda self, path: opened.append(path) or original(self, path))
    assert proposals.of_image("im_3").to_pylist() == expected
    assert expected
    assert opened == ["proposals/part-00001.parquet"]
    assert proposals.of_image("im_4").num_rows == 0


@pytest.mark.parametrize(
    ("image_id", "hint"),
    [*((wrong, "; did you mean im_3") for wrong in ("im_33", "Im_3", "im_3.jpg")), ("nobody", "")],
)
def test_image_that_is_not_in_the_database_is_named_with_similar_ones(proposals, image_id, hint):
    with pytest.raises(UserError) as error:
        proposals.of_image(image_id)
    message = str(error.value)
    assert message.startswith(f"{proposals.store.url} has no image {image_id!r}{hint}")
    assert bool(hint) == ("did you mean" in message)


def test_image_that_is_planned_but_not_finished(built, proposals):
    said = "plans image 'im_5', but has not finished it; run the command that makes the database again to resume"
    assert proposals.of_image("im_5").num_rows > 0
    # The shard was made for its first two images alone.
    path = "shards/part-00001.json"
    edit_sidecar(built, 1, images=2)
    limited = open_proposals(built.url)
    assert limited.of_image("im_3").num_rows > 0
    with pytest.raises(UserError, match=said):
        limited.of_image("im_5")
    built.remove(path)
    with pytest.raises(UserError, match=said):
        open_proposals(built.url).of_image("im_5")


def test_shard_that_is_not_finished_is_left_out(built):
    built.remove("shards/part-00001.json")
    proposals = open_proposals(built.url)
    assert list(proposals.sidecars) == [0, 2]
    assert "im_3" not in proposals.proposals()["image_id"].to_pylist()
    with pytest.raises(KeyError):
        proposals.table("images", shards=[1])


def test_database_without_shards_has_empty_tables(tmp_path, toy_plan):
    store = Store(str(tmp_path))
    store.write_json(PLAN, toy_plan)
    proposals = open_proposals(str(tmp_path))
    for name, schema in FILES.items():
        assert proposals.table(name).num_rows == 0
        assert proposals.table(name).schema.equals(schema)
    assert proposals.sampling_weights().shape == (0,)


@pytest.mark.parametrize("kinds", [("object", "part", "complement"), ("part",), ("part", "complement"), ("annotated",)])
def test_sampling_weights_are_the_inverse_shares_of_the_chosen_kinds(proposals, kinds):
    rows = proposals.proposals().to_pylist()
    chosen = [row["bin"] for row in rows if row["kind"] in kinds]
    expected = [len(chosen) / chosen.count(row["bin"]) if row["kind"] in kinds else 0.0 for row in rows]
    np.testing.assert_allclose(proposals.sampling_weights(kinds), expected)
    assert bool(chosen) == (kinds != ("annotated",))


def test_unknown_kind_is_a_user_error(proposals):
    with pytest.raises(UserError, match="parts"):
        proposals.sampling_weights(["parts"])


def test_output_folder_of_a_run_opens_like_the_database_in_it(built):
    out = built.url.rpartition("/")[0]
    assert open_proposals(out).store == built
    assert open_proposals(built.url).store == built
    assert open_proposals(out + "/").proposals().num_rows > 0


def test_wrong_folders_are_user_errors(tmp_path, built):
    with pytest.raises(UserError, match="is not a proposal database, because it does not exist"):
        open_proposals(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is not a proposal database, because it has neither"):
        open_proposals(str(tmp_path))
    plan = built.read_json(PLAN)
    built.write_json(PLAN, plan | {"format_version": 99})
    with pytest.raises(UserError, match="format 99"):
        open_proposals(built.url)
    built.write(PLAN, b"{")
    with pytest.raises(UserError, match="not JSON"):
        open_proposals(built.url)


def test_plan_of_another_program_is_a_user_error(tmp_path):
    (tmp_path / PLAN).write_text("[]")
    with pytest.raises(UserError):
        open_proposals(str(tmp_path))


def test_object_store_gives_the_same_tables(built, toy_plan):
    remote = Store("memory://reader-test/db")
    try:
        for path in built.files():
            remote.write(path, built.read(path))
        here, there = open_proposals(built.url), open_proposals("memory://reader-test/db")
        for name in FILES:
            assert there.table(name).equals(here.table(name))
        assert there.of_image("im_3").equals(here.of_image("im_3"))
        assert there.plan == toy_plan
    finally:
        fsspec.filesystem("memory").rm("/reader-test", recursive=True)


def test_folder_with_files_of_others_opens(built):
    whole = open_proposals(built.url)
    for path in (
        ".gitattributes",
        ".git/config",
        ".DS_Store",
        "notes.txt",
        "images/Thumbs.db",
        "shards/._part-00000.json",
    ):
        built.write(path, b"\0")
    proposals = open_proposals(built.url)
    assert proposals.sidecars == whole.sidecars
    for name in FILES:
        assert proposals.table(name).equals(whole.table(name))


def test_sidecars_are_read_once(built, monkeypatch):
    read = []
    original = Store.read_all
    monkeypatch.setattr(
        Store, "read_all", lambda self, paths, limit: read.extend(paths) or original(self, paths, limit)
    )
    proposals = open_proposals(built.url)
    proposals.proposals(["bin"])
    proposals.images()
    proposals.of_image("im_3")
    assert sorted(read) == [f"shards/part-0000{n}.json" for n in range(3)]
