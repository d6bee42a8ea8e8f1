"""``agg database validate`` finds every kind of damage and names its place; status and stats of the same databases.

A change of a table is followed by checksums, sidecar, manifest and sampling weights made anew, so that the only thing
left to find is the change itself.
"""

import hashlib
import json
import os
import shutil
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database import manifest
from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.execution.plan import stamp_of
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.report.terminal import SHOWN_FINDINGS
from agg_pipeline.storage.store import Store
from schemas.canonical import content_hash
from schemas.errors import UserError
from schemas.tables import FILES, PROPOSALS
from schemas.words import plural
from tests.e2e.commands import error_of, invoke
from tests.e2e.small_set import HEIGHT
from tests.execution.test_shard_files import sealed

SHARD = "part-00001"
FILE = f"proposals/{SHARD}.parquet"
SIDECAR = f"shards/{SHARD}.json"


@pytest.fixture
def root(finished, tmp_path):
    """A copy of the finished database."""
    return shutil.copytree(finished.out / "database", tmp_path / "out" / "database")


def findings(root):
    """The (where, what) lines of a validation that finds something."""
    result = invoke("proposals", "validate", root)
    assert result.code == 1, result
    cells = [line.split("│")[1:3] for line in result.stdout.splitlines() if line.startswith("│")]
    found = [(where.strip(), what.strip()) for where, what in cells]
    number = int(result.stdout.split(" finding")[0])
    assert len(found) == min(number, SHOWN_FINDINGS)
    return found


def only(root):
    """The one thing that is found."""
    found = findings(root)
    assert len(found) == 1, found
    return found[0]


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(sealed(value) if path.parent.name == "shards" else value))


def refresh(root):
    """Manifest, sampling weights and card as a run would write them now."""
    store = Store(str(root))
    with mock.patch.object(manifest, "_check_published"):
        finish(store, json.loads((root / "plan.json").read_text()), sidecars(store, DATABASE_LAYOUT))


def store_table(root, folder, table):
    """Put a table in place of the shard's, with a sidecar that agrees."""
    if isinstance(table, bytes):
        content = table
    else:
        plan = json.loads((root / "plan.json").read_text())
        content = parquet_bytes(table.replace_schema_metadata(stamp_of(DATABASE_LAYOUT, plan).metadata))
    (root / folder / f"{SHARD}.parquet").write_bytes(content)

    def agree(sidecar):
        file = sidecar["files"][f"{folder}/{SHARD}.parquet"]
        file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if isinstance(table, pa.Table):
            file["rows"] = table.num_rows
            counts, column = {"proposals": ("kinds", "kind"), "rejects": ("rejects", "reason")}.get(folder, (None,) * 2)
            if counts:
                values = table[column].to_pylist()
                sidecar[counts] = {name: values.count(name) for name in {*values, *sidecar[counts]}}

    edit_json(root / SIDECAR, agree)


def read_rows(root, folder):
    return pq.read_table(root / folder / f"{SHARD}.parquet").to_pylist()


def change_rows(root, folder, change):
    """Let ``change`` work on the list of the shard's rows; everything else is made to agree."""
    rows = read_rows(root, folder)
    changed = change(rows)
    store_table(root, folder, pa.Table.from_pylist(rows, FILES[folder]))
    refresh(root)
    return changed


def first(rows, kind="part"):
    return next(row for row in rows if row["kind"] == kind)


def test_clean(root):
    for path in (root, root.parent):
        result = invoke("proposals", "validate", path)
        assert (result.code, result.stderr) == (0, "")
        assert "valid" in result.stdout
    rows = read_rows(root, "proposals")
    assert {row["kind"] for row in rows} == {"object", "part", "complement"}
    assert read_rows(root, "rejects"), "the shard that is damaged below has rows in every table"
    store_table(root, "proposals", pa.Table.from_pylist(rows, PROPOSALS))
    refresh(root)
    assert invoke("proposals", "validate", root).code == 0, "the tools of this test leave a clean database clean"


@pytest.mark.parametrize("folder", FILES)
def test_flipped_byte(root, folder):
    path = root / folder / f"{SHARD}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert only(root) == (SIDECAR, f"{folder}/{SHARD}.parquet does not have the checksum that its sidecar says")


def test_cut_and_missing_files(root):
    content = (root / FILE).read_bytes()
    (root / FILE).write_bytes(content[:-1])
    (root / f"images/{SHARD}.parquet").unlink()
    assert set(findings(root)) == {
        (SIDECAR, f"{FILE} has {len(content) - 1} bytes, its sidecar says {len(content)}"),
        (SIDECAR, f"images/{SHARD}.parquet is missing"),
    }


@pytest.mark.parametrize("name", ["manifest.json", "sampling.parquet", "README.md"])
def test_missing_summary(root, name):
    (root / name).unlink()
    assert only(root) == (name, "is missing; run the command that made the database again to write it")


@pytest.mark.parametrize("folder", FILES)
def test_row_count_of_the_sidecar(root, folder):
    path = f"{folder}/{SHARD}.parquet"
    rows = pq.read_metadata(root / path).num_rows
    edit_json(root / SIDECAR, lambda sidecar: sidecar["files"][path].update(rows=rows + 1))
    refresh(root)
    assert only(root) == (path, f"has {plural(rows, 'row')}, its sidecar says {rows + 1}")


@pytest.mark.parametrize(("counts", "name"), [("kinds", "part"), ("rejects", "duplicate")])
def test_counts_of_the_sidecar(root, counts, name):
    edit_json(root / SIDECAR, lambda sidecar: sidecar[counts].update({name: 77}))
    refresh(root)
    where, what = only(root)
    assert where == SIDECAR
    assert what.startswith(f"{counts} are not those of the rows")


def test_sidecar_of_another_configuration(root):
    edit_json(root / SIDECAR, lambda sidecar: sidecar.update(config_hash="0" * 32))
    assert only(root) == (SIDECAR, "was made under another configuration than the plan's")


def test_sidecar_that_covers_too_much(root):
    edit_json(root / SIDECAR, lambda sidecar: sidecar.update(images=2))
    assert only(root) == (SIDECAR, "covers 2 images of 1")


def test_sidecar_without_one_of_its_files(root):
    edit_json(root / SIDECAR, lambda sidecar: sidecar["files"].pop(FILE))
    assert only(root) == (SIDECAR, "does not list the files of its shard")


def test_sidecar_of_no_shard(root):
    shutil.copy(root / SIDECAR, root / "shards/part-00009.json")
    rename = {f"{folder}/{SHARD}.parquet": f"{folder}/part-00009.parquet" for folder in FILES}
    for old, new in rename.items():
        shutil.copy(root / old, root / new)

    def belong(sidecar):
        sidecar |= {"shard": 9, "files": {rename[path]: file for path, file in sidecar["files"].items()}}

    edit_json(root / "shards/part-00009.json", belong)
    assert only(root) == ("shards/part-00009.json", "the plan has no shard 9")


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_what_is_no_sidecar(root, content):
    (root / SIDECAR).write_text(content)
    where, what = only(root)
    assert where == SIDECAR
    assert what.startswith(("is not JSON", "is not a sidecar"))


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(seed=1),
        lambda plan: plan["config"]["granularity"].update(weight=0.25),
        lambda plan: plan["model"].update(sha256="0" * 64),
        lambda plan: plan["dataset"].update(fingerprint="0" * 32),
    ],
)
def test_edited_plan(root, change):
    edit_json(root / "plan.json", change)
    assert ("plan.json", "config_hash is not the hash of the plan's content") in findings(root)


def test_plan_of_other_images(root):
    edit_json(root / "plan.json", lambda plan: plan["shards"][1].__setitem__(0, "2008_000009"))
    found = findings(root)
    assert (f"images/{SHARD}.parquet", "image 2008_000001 is not planned for this shard") in found
    assert (f"images/{SHARD}.parquet", "image 2008_000009 of the plan is neither there nor rejected") in found


def test_plan_that_lists_an_image_twice_or_not_at_all(root):
    edit_json(root / "plan.json", lambda plan: plan["shards"].append(["2008_000000"]))
    assert {what for where, what in findings(root) if where == "plan.json"} == {
        "an image is planned twice",
        "plans 5 of 4 images",
    }


def test_plan_without_its_hash(root):
    edit_json(root / "plan.json", lambda plan: plan.pop("config_hash"))
    assert "plan.json is not the plan of a proposal database: object missing required field config_hash" in error_of(
        invoke("proposals", "validate", root)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["totals"].update(objects=99),
        lambda manifest: manifest["shards"].pop(),
        lambda manifest: manifest.update(licence="public domain"),
    ],
)
def test_edited_manifest(root, change):
    edit_json(root / "manifest.json", change)
    assert only(root) == ("manifest.json", "differs from what the plan and the sidecars give")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("area", lambda row: row["area"] + 1, "the mask has"),
        ("bbox", lambda row: row["bbox"] | {"w": row["bbox"]["w"] + 1}, "bbox is not the tight box of the mask"),
        ("bbox", lambda row: row["bbox"] | {"x": row["bbox"]["y"], "y": row["bbox"]["x"]}, "bbox is not"),
        ("scale", lambda row: row["scale"] - 0.01, "scale is"),
        ("semantic", lambda row: 1 - row["semantic"] / 2, "semantic is"),
        ("granularity", lambda row: np.nextafter(np.float32(row["granularity"]), np.float32(2)), "granularity is"),
        ("bin", lambda row: row["bin"] % 10 + 1, "bin is"),
        ("peak_object", lambda _: None, "peaks or click are missing"),
        ("rle", lambda row: row["rle"][:-1], "the rle does not decode to height x width"),
        ("rle", lambda _: b"\xff\x00", "the rle does not decode to height x width"),
        ("height", lambda row: row["height"] + 1, "height and width are not those of the image"),
        ("parent_id", lambda row: row["parent_id"] + "0", "is not in the database"),
        ("parent_id", lambda row: row["proposal_id"], "the parent is not its object"),
        ("proposal_id", lambda row: row["proposal_id"] + "7", "the proposal_id is not image:object:kind:step"),
        ("step", lambda row: row["step"] + 20, "the proposal_id is not image:object:kind:step"),
        ("image_id", lambda _: "2008_000003", "image 2008_000003 is not in the images of this shard"),
        ("kind", lambda _: "whole", "unknown kind 'whole'"),
        ("click", lambda _: {"row": HEIGHT, "col": 0}, f"the click at ({HEIGHT}, 0) lies outside of the image"),
        (
            "clicks",
            lambda row: [row["clicks"][0], *row["clicks"][1:], {"row": 0, "col": -1, "positive": False}],
            "the click at (0, -1) lies outside of the image",
        ),
        ("clicks", lambda row: [*row["clicks"], row["clicks"][0]], "clicks are not one positive click and negative"),
    ],
)
def test_wrong_value_of_a_part(root, column, value, said):
    def change(rows):
        row = first(rows)
        row[column] = value(row)
        return row["proposal_id"]

    if column == "kind":
        # There are no sampling weights of an unknown kind; those that are there are kept.
        rows = read_rows(root, "proposals")
        name = change(rows)
        store_table(root, "proposals", pa.Table.from_pylist(rows, PROPOSALS))
    else:
        name = change_rows(root, "proposals", change)
    found = findings(root)
    assert any(where == f"{FILE}: {name}" and said in what for where, what in found), found
    assert {where for where, _ in found} <= {f"{FILE}: {name}", "manifest.json", "sampling.parquet"}
    if column in ("area", "scale", "semantic", "granularity", "bin", "bbox", "rle", "parent_id", "image_id", "click"):
        # Of a wrong area, the scale says so as well.
        assert len(found) <= (4 if column == "area" else 1), found


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("granularity", 0.5, "an object has scale, semantic and granularity 1 and bin 10"),
        ("bin", 9, "an object has scale, semantic and granularity 1 and bin 10"),
        ("step", 0, "an object has no step"),
        ("peak_object", 0.5, "an object has no peak_object"),
    ],
)
def test_wrong_value_of_an_object(root, column, value, said):
    def change(rows):
        row = first(rows, "object")
        row[column] = value
        return row["proposal_id"]

    name = change_rows(root, "proposals", change)
    assert only(root) == (f"{FILE}: {name}", said)


def test_rle_of_another_mask(root):
    def change(rows):
        part = first(rows)
        complement = next(row for row in rows if row["kind"] == "complement" and row["bbox"] != part["bbox"])
        part["rle"], complement["rle"] = complement["rle"], part["rle"]
        return {part["proposal_id"], complement["proposal_id"]}

    names = change_rows(root, "proposals", change)
    found = findings(root)
    assert {where for where, _ in found} == {f"{FILE}: {name}" for name in names}
    assert any("the mask has" in what for _, what in found)
    assert any("bbox" in what for _, what in found)


def test_part_outside_of_its_object(root):
    def change(rows):
        objects = [row for row in rows if row["kind"] == "object"]
        part = first(rows)
        other = next(row for row in objects if row["instance_id"] != part["instance_id"])
        part |= {column: other[column] for column in ("rle", "area", "bbox")}
        return part["proposal_id"]

    name = change_rows(root, "proposals", change)
    assert (f"{FILE}: {name}", "the mask has pixels outside its object") in findings(root)


def test_repeated_row(root):
    name = change_rows(root, "proposals", lambda rows: rows.append(first(rows)) or rows[-1]["proposal_id"])
    assert only(root) == (f"{FILE}: {name}", "the proposal_id is not unique")


def test_object_without_its_row(root):
    def change(rows):
        row = first(rows, "object")
        rows.remove(row)
        return row["proposal_id"]

    name = change_rows(root, "proposals", change)
    rows = read_rows(root, "proposals")
    orphans = {f"{FILE}: {row['proposal_id']}" for row in rows if row["parent_id"] == name}
    assert orphans
    assert set(findings(root)) == {(orphan, f"its parent {name} is not in the database") for orphan in orphans}


def test_image_without_proposals(root):
    change_rows(root, "rejects", lambda rows: rows.clear())
    change_rows(root, "proposals", lambda rows: rows.clear())
    assert only(root) == (f"images/{SHARD}.parquet", "image 2008_000001 has neither proposals nor rejects")


def test_image_that_is_missing_from_images(root):
    change_rows(root, "rejects", lambda rows: rows.clear())
    change_rows(root, "images", lambda rows: rows.clear())
    found = findings(root)
    assert (f"images/{SHARD}.parquet", "image 2008_000001 of the plan is neither there nor rejected") in found
    assert {what for where, what in found if where.startswith(FILE)} == {
        "image 2008_000001 is not in the images of this shard"
    }


def test_image_twice(root):
    change_rows(root, "images", lambda rows: rows.append(rows[0]))
    assert only(root) == (f"images/{SHARD}.parquet", "has an image twice")


def test_unknown_reason(root):
    change_rows(root, "rejects", lambda rows: rows[0].update(reason="ugly"))
    assert only(root) == (f"rejects/{SHARD}.parquet", "unknown reason 'ugly' for image 2008_000001")


@pytest.mark.parametrize("column", ["count", "share", "weight"])
def test_wrong_sampling_weights(root, column):
    path = root / "sampling.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1][column] *= 2
    path.write_bytes(parquet_bytes(pa.Table.from_pylist(rows, table.schema)))
    assert only(root) == ("sampling.parquet", "differs from what the rows give")


@pytest.mark.parametrize("folder", FILES)
def test_changed_schema(root, folder):
    table = pq.read_table(root / folder / f"{SHARD}.parquet")
    bare = pa.schema([field.remove_metadata() for field in table.schema])
    changes = {
        "the units are lost": table.cast(bare),
        "a column more": table.append_column("extra", pa.nulls(table.num_rows)),
        "a column less": table.drop_columns(table.column_names[-1]),
        "another order": table.select(table.column_names[::-1]),
    }
    for name, changed in changes.items():
        store_table(root, folder, changed)
        assert only(root) == (f"{folder}/{SHARD}.parquet", "does not have the schema of this format"), name


def test_changed_schema_of_the_sampling_weights(root):
    path = root / "sampling.parquet"
    table = pq.read_table(path)
    path.write_bytes(parquet_bytes(table.set_column(2, "count", table["count"].cast(pa.int32()))))
    assert only(root) == ("sampling.parquet", "does not have the schema of this format")


def test_what_is_no_parquet(root):
    store_table(root, "proposals", b"PAR1 but not for long PAR1")
    where, what = only(root)
    assert where == FILE
    assert what.startswith("cannot be read as Parquet")


def test_sampling_weights_that_are_no_parquet(root):
    (root / "sampling.parquet").write_bytes(b"")
    where, what = only(root)
    assert where == "sampling.parquet"
    assert what.startswith("cannot be read as Parquet")


def test_flipped_bytes_in_the_sampling_weights(root):
    content = (root / "sampling.parquet").read_bytes()
    for position in range(4, len(content), 97):
        flipped = bytearray(content)
        flipped[position] ^= 0x20
        (root / "sampling.parquet").write_bytes(flipped)
        result = invoke("proposals", "validate", root)
        assert result.code in (0, 1), "some bytes of a Parquet file mean nothing, but none brings the command down"


def test_every_damage_is_listed(root):
    change_rows(root, "rejects", lambda rows: rows[0].update(reason="ugly"))
    change_rows(root, "proposals", lambda rows: first(rows).update(bin=first(rows)["bin"] % 10 + 1))
    (root / "proposals/part-00003.parquet").unlink()
    assert [where.split(":")[0] for where, _ in findings(root)] == [
        f"rejects/{SHARD}.parquet",
        FILE,
        "shards/part-00003.json",
    ]


@pytest.fixture
def interrupted(root):
    """What a run leaves that is killed: two of four shards, of one of the others the first file, no summaries."""
    for index in (1, 3):
        for path in root.rglob(f"part-0000{index}.*"):
            if (index, path.parent.name) != (3, "proposals"):
                path.unlink()
    for name in ("manifest.json", "sampling.parquet", "README.md"):
        (root / name).unlink()
    assert list(sidecars(Store(str(root)), DATABASE_LAYOUT)) == [0, 2]
    return root


def table_of(result):
    assert (result.code, result.stderr) == (0, ""), result
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    return {cell[0]: cell[1:] for cell in cells}


def test_status_and_stats_of_a_finished_database(root):
    status = table_of(invoke("proposals", "status", root.parent))
    assert status["finished shards"] == ["4 of 4"]
    assert status["images in them"] == ["4 of 4"]
    assert status["state"] == ["complete"]
    manifest = json.loads((root / "manifest.json").read_text())
    totals = manifest["totals"]
    assert status["objects"] == [str(totals["objects"])]
    assert status["proposals"] == [str(totals["proposals"]["part"] + totals["proposals"]["complement"])]
    result = invoke("proposals", "stats", root)
    stats = table_of(result)
    assert stats["object"][-2:] == ["8", "8"]
    for kind in ("part", "complement"):
        assert sum(map(int, stats[kind][:-1])) == int(stats[kind][-1]) == manifest["totals"]["proposals"][kind]
    for reason, count in manifest["totals"]["rejects"].items():
        assert stats[reason][-1] == str(count)
    assert f"in {manifest['totals']['bytes']} bytes" in result.stdout


def test_status_stats_and_validation_of_an_interrupted_database(interrupted):
    status = table_of(invoke("proposals", "status", interrupted))
    assert status["finished shards"] == ["2 of 4"]
    assert status["images in them"] == ["2 of 4"]
    assert status["state"] == ["stopped: 2 of 4 images; run the same command again to resume"]
    assert table_of(invoke("proposals", "stats", interrupted))["object"][-2:] == ["4", "4"]
    summaries = ["manifest.json", "sampling.parquet", "README.md"]
    assert [where for where, _ in findings(interrupted)] == ["proposals/part-00003.parquet", *summaries]
    edit_json(interrupted / "plan.json", lambda plan: plan.update(seed=3))
    assert ("plan.json", "config_hash is not the hash of the plan's content") in findings(interrupted)


def test_status_and_stats_before_the_first_shard(root):
    shutil.rmtree(root / "shards")
    status = table_of(invoke("proposals", "status", root))
    assert (status["finished shards"], status["proposals"]) == (["0 of 4"], ["0"])
    assert "0 masks" in invoke("proposals", "stats", root).stdout


def test_stats_name_a_truncated_table(root):
    path = root / FILE
    path.write_bytes(path.read_bytes()[:-10])
    error = error_of(invoke("proposals", "stats", root))
    assert error.startswith(f"{path} cannot be read (")
    assert error.endswith("; run the command that made it again with --verify, which makes damaged shards again")


def test_annotated_parts_of_another_set(root):
    assert "has a part in --parts; are these the same images?" in error_of(
        invoke("proposals", "stats", root, "--parts", "demo")
    )


def test_the_hash_covers_what_the_plan_says(root):
    """A forged hash makes the plan agree with itself, but no longer with the shards."""

    def forge(plan):
        plan["seed"] = 5
        described = {key: value for key, value in plan.items() if key not in ("shards", "config_hash")}
        plan["config_hash"] = content_hash(described)

    edit_json(root / "plan.json", forge)
    assert {what for _, what in findings(root)} == {"was made under another configuration than the plan's"}


@pytest.mark.parametrize("name", ["part-00009.parquet", ".tmp-part-00001.parquet-0"])
def test_file_of_no_finished_shard(root, name):
    (root / "proposals" / name).write_bytes(b"")
    what = "belongs to no finished shard; run the command that made the database again"
    assert only(root) == (f"proposals/{name}", what)


@pytest.mark.parametrize(
    "name",
    ["extra.parquet", "part-1.parquet", "part-00009.PARQUET", "copy.parq", "deep/part-00000.parquet", "notes.txt"],
)
def test_foreign_table(root, name):
    path = root / "proposals" / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(root / FILE, path)
    assert only(root) == (
        f"proposals/{name.partition('/')[0]}",
        "is not of this database, but whoever reads its folder reads it, too",
    )


@pytest.mark.parametrize("name", ["notes.txt", "notes.parquet", "shards/x.json", "shards/part-0.json", "more/"])
def test_what_lies_beside_a_database_is_not_of_it(root, name):
    if name.endswith("/"):
        (root / name).mkdir()
    else:
        (root / name).write_text("mine")
    assert only(root) == (name.rstrip("/"), "is not of this database; move it to another folder")


@pytest.mark.parametrize("name", ["shards/part-00009.json", "shards/part-00000.json", "manifest.json"])
def test_folder_in_the_place_of_a_file(root, name):
    (root / name).unlink(missing_ok=True)
    (root / name).mkdir()
    assert (name, "is a folder in the place of a file") in findings(root)


@pytest.mark.parametrize("name", [".gitattributes", "Thumbs.db", "shards/.DS_Store", "proposals/._part-00001.parquet"])
def test_hidden_files_are_passed_over(root, name):
    (root / name).write_text("mine")
    assert invoke("proposals", "validate", root).code == 0


def test_edited_card(root):
    (root / "README.md").write_text("x")
    assert only(root) == ("README.md", "was changed after it was written")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON: input data was truncated"),
        ("[" * 200_000, "is nested deeper than 64 levels"),
        ('{"summaries": 1}', "expected object, got int"),
    ],
)
def test_manifest_that_cannot_be_read(root, content, said):
    (root / "manifest.json").write_text(content)
    where, what = only(root)
    assert where == "manifest.json"
    assert said in what


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: plan.update(shards=3), "expected array, got int, at shards"),
        (lambda plan: plan.update(shards=[1, 2]), "expected array, got int, at shards[0]"),
        (lambda plan: plan.update(shards=[[[1]], [{}], [None]]), "expected str, got array, at shards[0][0]"),
        (lambda plan: plan.update(dataset="sbd"), "expected object, got str, at dataset"),
        (lambda plan: plan.update(dataset={}), "object missing required field name, at dataset"),
        (lambda plan: plan["dataset"].update(name=["sbd"]), "expected str, got array, at dataset.name"),
        (lambda plan: plan["dataset"].update(images="6"), "expected int, got str, at dataset.images"),
        (lambda plan: plan["dataset"].update(split="a\0"), "expected str without NUL and lone surrogates, at dataset"),
        (lambda plan: plan.update(seed=float("nan")), "is not JSON"),
        (lambda plan: plan.update(seed="x"), "expected int, got str, at seed"),
        (lambda plan: plan.update(config="x"), "expected object, got str, at config"),
        (lambda plan: plan["config"].pop("preset"), "object missing required field preset, at config"),
        (lambda plan: plan["config"].update(preset=3), "expected str, got int, at config.preset"),
        (lambda plan: plan["config"].update(source="x"), "invalid enum value 'x', at config.source"),
        (lambda plan: plan.update(model=None), "expected object, got null, at model"),
        (lambda plan: plan.update(format_version=[1]), "has format [1]"),
        (lambda plan: plan.update(config_hash=None), "expected str, got null, at config_hash"),
        (lambda plan: plan["dataset"].update(split="\ud800"), "is not JSON"),
    ],
)
def test_plan_of_other_types_is_one_line(root, change, said):
    edit_json(root / "plan.json", change)
    for command in ("validate", "status", "stats"):
        assert said in error_of(invoke("proposals", command, root))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.update(zzz=1), "unknown configuration key 'zzz'"),
        (lambda config: config["granularity"].update(weight="x"), "a value of type float is needed"),
        (
            lambda config: config["granularity"].update(weight=1e308),
            "'granularity.weight' is 1e+308; it must be",
        ),
    ],
)
def test_configuration_that_is_none_is_a_finding_about_the_plan(root, change, said):
    edit_json(root / "plan.json", lambda plan: change(plan["config"]))
    changed, unreadable = findings(root)
    assert changed == ("plan.json", "config_hash is not the hash of the plan's content")
    assert unreadable[0] == "plan.json"
    assert said in unreadable[1]
    assert unreadable[1].endswith("; the shards cannot be checked without it")


@pytest.mark.parametrize(("height", "width"), [(40_000, 40_000), (1, 2**31 - 1), (-5, -7)])
def test_masks_of_impossible_sizes_are_not_decoded(root, height, width):
    def resize(rows):
        for row in rows:
            row |= {"height": height, "width": width}

    change_rows(root, "images", resize)
    change_rows(root, "proposals", resize)
    assert {what for _, what in findings(root)} == {"the rle does not decode to height x width"}


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/dev/zero", "http://127.0.0.1:9/x", "a\0b", "a/../../b"])
def test_images_outside_of_the_data_set(root, path):
    change_rows(root, "images", lambda rows: rows[0].update(path=path))
    where, what = only(root)
    assert where == f"images/{SHARD}.parquet"
    assert what.startswith("names the image ")
    assert what.endswith(", which is no path in the data set")
    assert "no path in the data set; agg database validate lists all damage" in refused_images(root)


def refused_images(root):
    with pytest.raises(UserError) as error:
        open_proposals(str(root)).images()
    return str(error.value)


@pytest.mark.parametrize("number", [0, 11, -1, 127])
def test_bins_that_cannot_be_are_one_line_for_readers(root, number):
    rows = read_rows(root, "proposals")
    first(rows)["bin"] = number
    store_table(root, "proposals", pa.Table.from_pylist(rows, PROPOSALS))
    with pytest.raises(UserError, match=f"has the bin {number}, which is not from 1 to 10"):
        open_proposals(str(root)).sampling_weights()


def test_object_without_area(root):
    name = change_rows(root, "proposals", lambda rows: first(rows, "object").update(area=0) or rows[0]["proposal_id"])
    assert any(where == f"{FILE}: {name}" and what.startswith("area is 0") for where, what in findings(root))


def test_a_pipe_in_the_place_of_the_card(root):
    (root / "README.md").unlink()
    os.mkfifo(root / "README.md")
    assert only(root) == ("README.md", "is a pipe")
