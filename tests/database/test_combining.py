"""What must hold for every merge, filter, split, reshard and recompute, whatever the images, conditions and shards."""

import itertools
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.database import merged_images, selecting
from agg_pipeline.database.contents import CITATION, DATABASE_LAYOUT
from agg_pipeline.database.derived import Piece, derived_plan, source_runs, write_derived
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.recomputing import recompute
from agg_pipeline.database.same_image import GROUPS, SAME_MASK, SAME_OBJECT, renamed
from agg_pipeline.database.selecting import filter_database, reshard, shares_of_images, split_database
from agg_pipeline.database.validation import validate
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.storage.rle import decode_crop
from agg_pipeline.storage.store import Store
from schemas.crop import crop_mask, iou
from schemas.errors import StorageError, UserError
from schemas.resolve import override, validated
from schemas.tables import FILES
from tests.database.changed_rows import changed
from tests.toy_run import ENVIRONMENT, MODEL, make_config, make_database, make_dataset, run_shards, write_database

IMAGES = [f"im_{number}" for number in range(8)]
SHARDS = st.integers(1, 10)
NUMBERS = st.floats(0, 1, width=32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The toy database, made in one run."""
    return open_proposals(make_database(tmp_path_factory.mktemp("whole")).url)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run over the same images with another seed, whose masks are others."""
    store, dataset = Store(str(tmp_path_factory.mktemp("other"))), make_dataset()
    config = validated(override(make_config(), {"seed": 1}))
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    write_database(store, plan, run_shards(dataset, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    return open_proposals(store.url)


@pytest.fixture(scope="module")
def foreign(whole, tmp_path_factory):
    """The toy database over images of other content, whose ids are the same."""

    def change(row):
        return row | {"sha256": f"f{row['sha256'][1:]}"}

    return changed(whole, str(tmp_path_factory.mktemp("foreign") / "database"), "images", change)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders for new databases, a new one at each call."""
    root, numbers = tmp_path_factory.mktemp("made"), itertools.count()
    return lambda: str(root / str(next(numbers)))


def findings(database):
    return list(validate(open_proposals(database.store.url)))


def rows_of(database):
    return database.proposals().to_pylist()


@settings(max_examples=8, deadline=None)
@given(
    owners=st.lists(st.integers(0, 3), min_size=8, max_size=8),
    sizes=st.lists(SHARDS, min_size=5, max_size=5),
    data=st.data(),
)
def test_parts_of_a_database_merged_in_any_order_have_its_identity(whole, folders, owners, sizes, data):
    parts = [[image for image, owner in zip(IMAGES, owners, strict=True) if owner == part] for part in set(owners)]
    made = split_database(whole, [folders() for _ in parts], parts)
    made = [reshard(part, folders(), size) for part, size in zip(made, sizes, strict=False)]
    merged = merge(data.draw(st.permutations(made)), folders(), images_per_shard=sizes[-1])
    assert database_id(merged) == database_id(whole)
    assert merged.plan["shards"] == [IMAGES[start : start + sizes[-1]] for start in range(0, 8, sizes[-1])]
    assert findings(merged) == []


@settings(max_examples=4, deadline=None)
@given(sizes=st.lists(SHARDS, min_size=1, max_size=3))
def test_other_shards_keep_the_identity(whole, folders, sizes):
    changed = whole
    for size in sizes:
        changed = reshard(changed, folders(), size)
        assert all(len(ids) == size for ids in changed.plan["shards"][:-1])
    assert database_id(changed) == database_id(whole)
    assert changed.proposals().equals(whole.proposals())
    assert findings(changed) == []


@settings(max_examples=4, deadline=None)
@given(weight=NUMBERS)
def test_granularities_of_the_same_lambda_are_the_same(whole, folders, weight):
    there = recompute(whole, folders(), weight)
    assert findings(there) == []
    assert (database_id(there) == database_id(whole)) == (weight == 0.5)
    back = recompute(there, folders(), 0.5)
    assert there.sources[0].get("as_made", {}) == ({} if weight == 0.5 else {"config.granularity.weight": 0.5})
    assert "as_made" not in back.sources[0]
    assert back.proposals().equals(whole.proposals())
    assert database_id(back) == database_id(whole)
    assert findings(back) == []


CONDITIONS = st.one_of(
    st.sampled_from(sorted(GROUPS)).map(lambda kind: (f"kind = '{kind}'", lambda row: row["kind"] == kind)),
    st.integers(0, 3000).map(lambda area: (f"area > {area}", lambda row: row["area"] > area)),
    st.integers(1, 10).map(lambda number: (f'"bin" <= {number}', lambda row: row["bin"] <= number)),
    st.integers(0, 6).map(lambda step: (f"step < {step}", lambda row: row["step"] is not None and row["step"] < step)),
    st.sampled_from(["cat", "dog"]).map(lambda name: (f"category = '{name}'", lambda row: row["category"] == name)),
    st.integers(30, 90).map(lambda left: (f"bbox.x >= {left}", lambda row: row["bbox"]["x"] >= left)),
)


@settings(max_examples=15, deadline=None)
@given(conditions=st.lists(CONDITIONS, min_size=1, max_size=2), images=st.sets(st.sampled_from(IMAGES), min_size=1))
def test_filter_keeps_what_fulfils_the_condition_and_what_contains_it(whole, folders, conditions, images):
    rows = {row["proposal_id"]: row for row in rows_of(whole)}
    expected = set()
    for row in rows.values():
        if row["image_id"] in images and all(fulfilled(row) for _, fulfilled in conditions):
            while row is not None:
                expected.add(row["proposal_id"])
                row = rows.get(row["parent_id"])
    where = " and ".join(text for text, _ in conditions)
    if not expected:
        with pytest.raises(UserError, match="is selected"):
            filter_database(whole, folders(), where, sorted(images))
        return
    kept = filter_database(whole, folders(), where, sorted(images))
    assert rows_of(kept) == [row for name, row in rows.items() if name in expected]
    assert [image for ids in kept.plan["shards"] for image in ids] == sorted(
        {rows[name]["image_id"] for name in expected}
    )
    assert findings(kept) == []


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_masks_are_left_out_with_those_inside_of_them(whole, folders, data):
    rows = {row["proposal_id"]: row for row in rows_of(whole)}
    exclude = data.draw(st.sets(st.sampled_from(sorted(rows)), min_size=1, max_size=4))

    def is_left_out(row):
        return row is not None and (row["proposal_id"] in exclude or is_left_out(rows.get(row["parent_id"])))

    expected = [row for row in rows.values() if not is_left_out(row)]
    kept = filter_database(whole, folders(), exclude=sorted(exclude))
    assert rows_of(kept) == expected
    assert findings(kept) == []
    where = filter_database(whole, folders(), '"bin" > 3', exclude=sorted(exclude))
    assert not exclude.intersection(row["proposal_id"] for row in rows_of(where))
    assert database_id(kept) != database_id(whole)


def test_masks_to_leave_out_must_be_there(whole, folders):
    with pytest.raises(UserError, match=r"does not have the masks to leave out nothing"):
        filter_database(whole, folders(), exclude=["nothing"])
    with pytest.raises(UserError, match="is selected"):
        filter_database(whole, folders(), exclude=[row["proposal_id"] for row in rows_of(whole)])


SOME = st.sets(st.sampled_from(IMAGES), min_size=1).map(sorted)


@settings(max_examples=8, deadline=None)
@given(first=SOME, second=SOME, size=SHARDS, duplicates=st.sampled_from(["keep", "drop"]))
def test_databases_of_two_models_merge_into_one_that_validates(whole, other, folders, first, second, size, duplicates):
    a, b = filter_database(whole, folders(), images=first), filter_database(other, folders(), images=second)
    merged = merge([a, b], folders(), duplicates, images_per_shard=size)
    assert findings(merged) == []
    assert sorted({*first, *second}) == [image for ids in merged.plan["shards"] for image in ids]
    rows, of_a, of_b = rows_of(merged), rows_of(a), rows_of(b)
    assert [row for row in rows if row["source"] == 0] == of_a
    if duplicates == "keep":
        masks = [row for row in of_b if row["kind"] != "object" or row["image_id"] not in first]
        assert sum(row["source"] == 1 for row in rows) == len(masks)
    else:
        assert not list(repeated(rows))


def repeated(rows):
    """Masks of an object that repeat one of another source."""
    masks = {row["proposal_id"]: decode_crop(row["rle"], row["height"], row["width"]) for row in rows}
    for row, later in itertools.combinations(rows, 2):
        same = all(row[key] == later[key] for key in ("image_id", "instance_id"))
        if same and row["source"] != later["source"] and GROUPS[row["kind"]] == GROUPS[later["kind"]]:
            level = SAME_OBJECT if row["kind"] == "object" else SAME_MASK
            if iou(masks[row["proposal_id"]], masks[later["proposal_id"]]) > level:
                yield row, later


@settings(max_examples=4, deadline=None)
@given(images=SOME, size=SHARDS, duplicates=st.sampled_from(["keep", "drop"]))
def test_part_of_a_database_merged_into_it_changes_nothing_unless_duplicates_are_kept(
    whole, folders, images, size, duplicates
):
    part = filter_database(whole, folders(), images=images)
    merged = merge([whole, part], folders(), duplicates, images_per_shard=size)
    assert findings(merged) == []
    if duplicates == "drop":
        assert database_id(merged) == database_id(whole)
    else:
        twice = [row for row in rows_of(part) if row["kind"] != "object"]
        assert len(rows_of(merged)) == len(rows_of(whole)) + len(twice)


def smaller_objects(entry):
    """The record of an image of the toy set whose first object lacks two rows, 2 % of it at most."""
    record = make_dataset().read(entry)
    objects = []
    for each in record.objects:
        mask = each.mask.full()
        if each.instance_id == 2:
            mask[:6] = False
            assert 0.98 < iou(each.mask, crop_mask(mask, *mask.shape)) < 0.985
        objects.append(replace(each, mask=crop_mask(mask, *mask.shape)))
    return replace(record, objects=tuple(objects))


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_masks_of_a_slightly_different_object_become_those_of_the_one_that_stays(whole, tmp_path, duplicates):
    dataset = replace(make_dataset(), reader=smaller_objects, fingerprint="0" * 32)
    config, store = validated(override(make_config(), {"seed": 1})), Store(str(tmp_path / "smaller"))
    plan = make_plan(DATABASE_LAYOUT, dataset, MODEL, ENVIRONMENT, config)
    write_database(store, plan, run_shards(dataset, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    smaller = open_proposals(store.url)
    for name, order in (("first", [whole, smaller]), ("second", [smaller, whole])):
        # What could not be read is another image in other data.
        merged = merge(order, str(tmp_path / name), duplicates, "rename")
        assert findings(merged) == []
        rows = rows_of(merged)
        areas = {row["proposal_id"]: row["area"] for row in rows if row["kind"] == "object"}
        assert len(areas) == len([row for row in rows_of(order[0]) if row["kind"] == "object"])
        parts = [row for row in rows if row["source"] == 1]
        assert parts
        scales = [row["area"] / areas[row["parent_id"]] for row in parts]
        assert [row["scale"] for row in parts] == pytest.approx(scales)
        assert database_id(recompute(merged, str(tmp_path / f"{name}-again"), 0.5)) == database_id(merged)


@settings(max_examples=4, deadline=None)
@given(images=SOME, size=SHARDS)
def test_images_of_one_id_and_other_content_are_refused_or_renamed(whole, foreign, folders, images, size):
    part = filter_database(foreign, folders(), images=images)
    # What could not be read is the same image, because the data are the same.
    readable = [image for image in images if image != "im_6"]
    if readable:
        with pytest.raises(UserError, match=f"image {readable[0]} of {part.store.url} has other content than that of"):
            merge([whole, part], folders())
    merged = merge([whole, part], folders(), conflicts="rename", images_per_shard=size)
    hashes = {row["image_id"]: row["sha256"] for row in part.images().to_pylist()}
    new_ids = [f"{image}~{hashes[image][:8]}" for image in readable]
    assert [image for ids in merged.plan["shards"] for image in ids] == sorted([*IMAGES, *new_ids])
    assert findings(merged) == []
    if new_ids:
        # Without the images of the other database and what could not be read there, the first one is left.
        mine = filter_database(merged, folders(), images=[image for image in IMAGES if image != "im_6"])
        first = filter_database(whole, folders(), images=[image for image in IMAGES if image != "im_6"])
        assert database_id(mine) == database_id(first)


def test_the_ids_that_are_taken_are_collected_once_for_a_database(whole, foreign, monkeypatch):
    """For each image, 16,000 conflicts took 45 seconds."""
    collected, new_id = [], merged_images._new_id

    def noted(image_id, sha256, taken):
        collected.append(taken)
        return new_id(image_id, sha256, taken)

    monkeypatch.setattr(merged_images, "_new_id", noted)
    images = merged_images.merged_images([whole, foreign], "rename")
    assert len({id(taken) for taken in collected}) == 1 < len(collected)
    assert {image.image_id for image in images} <= collected[0]


@settings(max_examples=4, deadline=None)
@given(shares=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_shares_of_the_images_are_disjoint_and_complete(whole, shares, seed):
    total = sum(shares)
    parts = shares_of_images(whole, [share / total for share in shares], seed)
    assert sorted(itertools.chain(*parts)) == IMAGES
    ends = [round(8 * end / total) for end in itertools.accumulate(shares)]
    assert list(itertools.accumulate(map(len, parts))) == ends


@pytest.mark.parametrize(
    "shares",
    ["nan,1", "nan", "inf,-inf", "inf", "1e400,0", "1,-0", "1,0", "-0.1,1.1", "0.5,0.4", ",".join(["1"] * 100_000)],
)
def test_shares_that_are_none_are_refused(whole, shares):
    with pytest.raises(UserError, match=r"^--shares must be positive numbers whose sum is 1, such as 0\.9,0\.1$"):
        shares_of_images(whole, [float(share) for share in shares.split(",")], 0)
    with pytest.raises(UserError, match="a part of 1e-05 of 8 images has no image"):
        shares_of_images(whole, [1e-5] * 100_000, 0)


def test_no_image_is_lost_although_the_sum_of_the_shares_is_not_exactly_1(whole, monkeypatch):
    images = [f"{number:06}" for number in range(700_000)]
    monkeypatch.setattr(selecting, "finished_images", lambda _database: images)
    monkeypatch.setattr(selecting, "drawn_order", lambda images, *_: range(len(images)))
    parts = shares_of_images(whole, [0.5, 0.4999991], 0)
    assert sum(map(len, parts)) == len(images)


def with_images(whole, folder, renames, hashes):
    """A database of some images of the toy database, under other ids and with other sha256."""
    part = filter_database(whole, f"{folder}-part", images=sorted(renames))
    tables = {name: part.table(name) for name in FILES}
    piece = Piece(tuple(sorted(renames)), tables)
    for before, after in renames.items():
        piece = renamed(piece, before, after)
    rows = [row | {"sha256": hashes[row["image_id"]] * 64} for row in piece.tables["images"].to_pylist()]
    images = pa.Table.from_pylist(rows, piece.tables["images"].schema)
    piece = Piece(tuple(sorted(piece.images)), {**piece.tables, "images": images})
    plan = derived_plan([part], source_runs(part), "test", {"renames": renames, "hashes": hashes})
    return write_derived(folder, plan, [piece])


def contents(database):
    """The sha256 of every image by its id, and the images that each object's rows are of."""
    return {row["image_id"]: row["sha256"][0] for row in database.images().to_pylist()}


def test_images_of_one_id_in_three_databases_stay_three(whole, tmp_path):
    three = [
        with_images(whole, str(tmp_path / str(number)), {f"im_{number}": "x"}, {"x": str(number)})
        for number in (0, 1, 2)
    ]
    merged = merge(three, str(tmp_path / "merged"), conflicts="rename")
    assert findings(merged) == []
    assert contents(merged) == {"x": "0", f"x~{'1' * 8}": "1", f"x~{'2' * 8}": "2"}
    again = merge([merged, *three[::-1]], str(tmp_path / "again"), conflicts="rename")
    assert database_id(again) == database_id(merged)


def test_images_whose_files_are_not_known_are_one_only_if_of_one_run(whole, tmp_path):
    def without(number):
        return changed(whole, str(tmp_path / f"unknown{number}"), "images", lambda row: row | {"sha256": ""})

    first, second = without(1), without(2)
    # Of one run: parts of one database, for example.
    assert database_id(merge([first, second], str(tmp_path / "same"))) == database_id(first)
    said = f"image im_0 of {first.store.url} may be another one than that of {whole.store.url}, because the sha256 of a"
    with pytest.raises(UserError, match=said):
        merge([whole, first], str(tmp_path / "refused"))
    merged = merge([whole, first], str(tmp_path / "renamed"), conflicts="rename")
    assert findings(merged) == []
    run = source_runs(first)[0]["id"]
    # What could not be read is one image of the same data.
    new_ids = {f"{image}~{run[:8]}" for image in IMAGES if image != "im_6"}
    assert {image for ids in merged.plan["shards"] for image in ids} == {*IMAGES, *new_ids}


def test_a_photograph_is_one_image_although_its_id_is_taken(whole, tmp_path):
    one = with_images(whole, str(tmp_path / "one"), {"im_0": "x"}, {"x": "a"})
    two = with_images(whole, str(tmp_path / "two"), {"im_0": "y", "im_1": "x"}, {"y": "a", "x": "b"})
    for name, order in (("ab", [one, two]), ("ba", [two, one])):
        merged = merge(order, str(tmp_path / name), conflicts="rename")
        assert findings(merged) == []
        assert sorted(contents(merged).values()) == ["a", "b"]


def test_a_database_that_is_merged_again_and_again_is_valid_whatever_is_kept(whole, tmp_path):
    first = merge([whole] * 3, str(tmp_path / "first"), "keep")
    second = merge([first, whole, first], str(tmp_path / "second"), "keep")
    assert findings(first) == findings(second) == []
    assert len(rows_of(second)) > 2 * len(rows_of(first)) - len(rows_of(whole))
    assert rows_of(merge([first, whole], str(tmp_path / "third"))) == rows_of(first)


def test_runs_of_one_recipe_over_some_of_the_same_images_give_the_rows_of_one_run(whole, tmp_path):
    """Their shards and their lists of images differ, and so do their descriptions in the plan."""
    dataset = make_dataset()
    entries = tuple(entry for entry in dataset.entries if entry.image_id in ("im_1", "im_4", "im_7"))
    some = replace(dataset, entries=entries, split="some", fingerprint="0" * 32)
    config = make_config()
    store = Store(str(tmp_path / "some"))
    plan = make_plan(DATABASE_LAYOUT, some, MODEL, ENVIRONMENT, config)
    write_database(store, plan, run_shards(some, config))
    finish(store, plan, sidecars(store, DATABASE_LAYOUT))
    merged = merge([whole, open_proposals(store.url)], str(tmp_path / "merged"))
    assert len(merged.plan["sources"]) == 2
    assert database_id(merged) == database_id(whole)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("random() < 0.5", r"random\(\) needs more than the columns of one mask, or gives another answer each time"),
        ("area > (select avg(area) from proposals)", "a query in it needs more"),
        ("row_number() over () <= 3", "a window needs more"),
        ("avg(area) > 3", "is no condition: it is not true or false for each mask"),
        ("now() > timestamp '2020-01-01'", r"now\(\) needs more"),
        ("extract(year from current_date) > 2000", "there is no column 'current_date'; "),
        ("\"Current_Timestamp\" > '2020-01-01'", "there is no column 'Current_Timestamp'; "),
        ("localtime > time '10:00' or localtimestamp > '2020-01-01'", "there is no column 'localtime'; "),
        ("rowid < 3", "there is no column 'rowid'; "),
        ("list_sort(list_transform([area], lambda user: user))[1] > 3 or user = 'me'", "there is no column 'user'; "),
        ("list_transform([area], lambda a: current_date > '2020-01-01')[1]", "there is no column 'current_date'; "),
        ("(current_date::varchar -> '$') is null", "there is no column 'current_date'; "),
        ("CURRENT_LOCALTIMESTAMP() > '2020-01-01'", r"current_localtimestamp\(\) needs more"),
        ("age(timestamp '2020-01-01') > interval 1 day", r"age\(\) needs more"),
        ("area" + "+1" * 400 + " > 5", r"\+1\.\.\.' is nested deeper than 100 levels; filter in several steps$"),
        ("not " * 900 + "area > 5", "is nested deeper than 100 levels"),
        ("(" * 9000 + "area > 5" + ")" * 9000, "is nested deeper than 100 levels"),
        ("area", "is no condition: it is not true or false for each mask"),
        ("", "is no condition"),
        ("area > 1; drop table proposals", "cannot be used"),
        ("kind = 'part') as a, (1=1", "is no single condition$"),
        ("kind = 'part') as wanted from proposals where (true", "cannot be used"),
        ("kind = 'part') as wanted from proposals order by (area", "cannot be used"),
    ],
)
def test_conditions_that_are_not_of_a_mask_alone_are_refused(whole, tmp_path, where, said):
    with pytest.raises(UserError, match=said):
        filter_database(whole, str(tmp_path / "x"), where=where)
    assert not (tmp_path / "x").exists()


def test_a_split_writes_nothing_if_one_of_its_folders_is_taken(whole, tmp_path):
    outs = [str(tmp_path / f"part-{number}") for number in (1, 2)]
    parts = [IMAGES[:1], IMAGES[1:2]]
    filter_database(whole, outs[1], images=IMAGES[2:])
    with pytest.raises(UserError, match=r"part-2 holds a database; choose another output folder"):
        split_database(whole, outs, parts)
    assert not Path(outs[0]).exists()
    assert [database_id(each) for each in split_database(whole, outs, parts, overwrite=True)] == [
        database_id(each) for each in split_database(whole, outs, parts)
    ]


def test_names_in_a_citation_stay_when_the_same_content_is_made_again(whole, tmp_path):
    out = str(tmp_path / "x")
    filter_database(whole, out, images=IMAGES[:2])
    citation = tmp_path / "x" / CITATION
    named = citation.read_text().replace("The authors of this database", "Ada")
    citation.write_text(named)
    filter_database(whole, out, images=IMAGES[:2], overwrite=True)
    assert citation.read_text() == named
    filter_database(whole, out, images=IMAGES[:1], overwrite=True)
    assert "Ada" not in citation.read_text()


def test_conditions_may_use_functions_and_nested_columns(whole, tmp_path):
    where = (
        "lower(Kind) = 'part' and len(clicks) > 1 and proposals.bbox.w > 3 and list_contains([1, 2, 3], bin) "
        'and len([each for each in clicks if each."row" >= 0]) = len(list_filter(clicks, lambda one: one.col >= 0)) '
        f"and {'+'.join(['area'] * 60)} > 0"
    )
    made = filter_database(whole, str(tmp_path / "x"), where=where)
    chosen = [row for row in rows_of(made) if row["kind"] == "part"]
    assert chosen
    assert all(len(row["clicks"]) > 1 and row["bin"] <= 3 for row in chosen)


def test_the_same_command_again_leaves_the_database(whole, tmp_path):
    made = filter_database(whole, str(tmp_path / "x"), images=["im_1"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*") if path.is_file()}
    again = filter_database(whole, str(tmp_path / "x"), images=["im_1"])
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert (again.plan, again.sidecars) == (made.plan, made.sidecars)
    (tmp_path / "x/proposals/part-00000.parquet").unlink()
    assert findings(filter_database(whole, str(tmp_path / "x"), images=["im_1"])) == []
    with pytest.raises(UserError, match="holds a database; choose another output folder"):
        filter_database(whole, str(tmp_path / "x"), images=["im_2"])


@pytest.mark.parametrize(
    ("second", "problem"),
    [(["im_1", "im_9"], "does not have the listed images im_9"), ([], "part 2 has no image"), (["im_0"], "two parts")],
)
def test_a_split_that_is_refused_writes_nothing(whole, tmp_path, second, problem):
    with pytest.raises(UserError, match=problem):
        split_database(whole, [str(tmp_path / "a"), str(tmp_path / "b")], [["im_0"], second])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["disk", "bucket", "memory"])
def place(request, tmp_path):
    """The URL of a new database."""
    if request.param == "disk":
        return str(tmp_path / "made")
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        return "s3://bucket/made"
    return f"memory://{tmp_path.name}/made"


def files_of(url):
    return {path: Store(url).read(path) for path in Store(url).files()}


def test_a_database_that_is_to_be_replaced_stays_until_the_new_one_is_finished(whole, place, tmp_path, monkeypatch):
    filter_database(whole, place, images=["im_0"])
    before = files_of(place)
    with pytest.raises(UserError, match="is selected"):
        filter_database(whole, place, "area < 0", overwrite=True)
    assert files_of(place) == before

    def full(store, path, content, write=Store.write):
        if path == "manifest.json":
            raise StorageError("the disk is full")
        write(store, path, content)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="the disk is full"):
        patch.setattr(Store, "write", full)
        filter_database(whole, place, images=["im_1", "im_2"], overwrite=True)
    assert files_of(place) == before
    assert not (tmp_path / "made/.agg-draft").exists()
    made = filter_database(whole, place, images=["im_1", "im_2"], overwrite=True)
    assert findings(made) == []
    expected = filter_database(whole, str(tmp_path / "expected"), images=["im_1", "im_2"])
    assert files_of(place) == files_of(expected.store.url)
    assert not (tmp_path / "made/.agg-draft").exists()


@pytest.mark.parametrize("moved", range(0, 10, 3))
def test_a_replacement_that_was_killed_is_made_anew(whole, tmp_path, monkeypatch, moved):
    out = str(tmp_path / "made")
    filter_database(whole, out, images=["im_0"])
    moves = []

    def killed(store, path, to, move=Store.move):
        if len(moves) == moved:
            # Nothing of what follows is written or deleted, as if the process had ended.
            patch.setattr(Store, "remove", lambda _store, _path: None)
            raise KeyboardInterrupt
        moves.append(path)
        move(store, path, to)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "move", killed)
        filter_database(whole, out, images=["im_1", "im_2"], overwrite=True)
    for path in (tmp_path / "made").glob("lock*"):
        path.unlink()
    made = filter_database(whole, out, images=["im_1", "im_2"], overwrite=moved % 2 == 0)
    expected = filter_database(whole, str(tmp_path / "expected"), images=["im_1", "im_2"])
    assert files_of(out) == files_of(expected.store.url)
    assert findings(made) == []


def test_a_split_that_failed_in_its_second_part_goes_on(whole, tmp_path):
    outs = [str(tmp_path / "a"), str(tmp_path / "b")]
    (tmp_path / "b").mkdir()
    (tmp_path / "b/notes.txt").write_text("mine")
    with pytest.raises(UserError):
        split_database(whole, outs, [["im_0"], ["im_1"]])
    (tmp_path / "b/notes.txt").unlink()
    assert [findings(part) for part in split_database(whole, outs, [["im_0"], ["im_1"]])] == [[], []]
