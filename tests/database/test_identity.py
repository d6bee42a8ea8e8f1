"""The identity of a database, computed a second time as its description says."""

import hashlib
import json
import struct

import pyarrow as pa
import pytest

from agg_pipeline.database.identity import database_id
from agg_pipeline.database.manifest import finish
from agg_pipeline.database.reader import ProposalDatabase, open_proposals
from schemas.tables import FILES

NUMBERS = {pa.int8(): "b", pa.int32(): "i", pa.int64(): "q", pa.float32(): "f", pa.bool_(): "?"}


def column(values, kind):
    found = bytes(value is not None for value in values)
    if pa.types.is_struct(kind):
        for field in kind:
            found += column([None if value is None else value[field.name] for value in values], field.type)
    elif pa.types.is_list(kind):
        lists = [value or [] for value in values]
        found += struct.pack(f"<{len(lists)}q", *map(len, lists))
        found += column([item for value in lists for item in value], kind.value_type)
    elif kind in NUMBERS:
        found += struct.pack(f"<{len(values)}{NUMBERS[kind]}", *(0 if value is None else value for value in values))
    else:
        texts = [b"" if value is None else value if isinstance(value, bytes) else value.encode() for value in values]
        found += struct.pack(f"<{len(texts)}q", *map(len, texts)) + b"".join(texts)
    return found


def recipe(source):
    config = {**source["config"], "batch": dict(source["config"]["batch"])}
    del config["batch"]["images_per_shard"]
    left_out = ("split", "fingerprint", "images", "selection")
    dataset = {key: value for key, value in source["dataset"].items() if key not in left_out}
    facts = {key: source[key] for key in ("algorithm_version", "model", "environment", "seed")}
    text = json.dumps({**facts, "dataset": dataset, "config": config}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def nulls_last(row, names):
    return [(row[name] is None, row[name]) for name in names]


ORDER = {
    "images": ["image_id"],
    "proposals": ["proposal_id"],
    "rejects": ["instance_id", "step", "stage", "reason", "detail"],
}


def columns(name, rows, recipes):
    contents = {field.name: column([row[field.name] for row in rows], field.type) for field in FILES[name]}
    contents["recipe"] = b"".join(recipes[row["source"]] for row in rows)
    del contents["source"]
    return sorted(contents.items())


def by_description(database):
    recipes = [recipe(source) for source in database.sources]
    tables = {name: database.table(name).to_pylist() for name in FILES}
    digests = []
    for image in sorted({row["image_id"] for rows in tables.values() for row in rows}):
        hasher = hashlib.sha256()
        for name, order in ORDER.items():
            rows = [row for row in tables[name] if row["image_id"] == image]
            rows.sort(key=lambda row: [content for _, content in columns(name, [row], recipes)], reverse=True)
            rows.sort(key=lambda row: nulls_last(row, order))
            if not rows:
                continue
            hasher.update(f"{name} {len(rows)}\n".encode())
            for key, content in columns(name, rows, recipes):
                hasher.update(key.encode() + b"\n" + content)
        digests.append(hasher.digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


@pytest.fixture
def database(built):
    return open_proposals(built.url)


def test_it_is_what_its_description_says(database):
    assert len(set(database.table("rejects")["instance_id"].to_pylist())) > 1
    assert database_id(database) == by_description(database)


def changed(database, plan=None, sidecars=None, **tables):
    """The database with another plan, or with functions of its tables."""

    class Changed(ProposalDatabase):
        def table(self, name, columns=None, shards=None):
            table = super().table(name, columns, shards)
            return tables[name](table) if name in tables else table

    return Changed(database.store, plan or database.plan, database.sidecars if sidecars is None else sidecars)


def with_value(name, value):
    def of(table):
        values = [value, *table[name].to_pylist()[1:]]
        place = table.schema.get_field_index(name)
        return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))

    return of


def edited(plan, *keys, value):
    *around, last = keys
    plan = json.loads(json.dumps(plan))
    place = plan
    for key in around:
        place = place[key]
    place[last] = value
    return plan


def test_it_depends_on_rows_and_on_what_made_them(database):
    plan = database.plan
    different = [
        changed(database, proposals=with_value("granularity", 0.25)),
        changed(database, proposals=with_value("label", "x")),
        changed(database, proposals=lambda table: table.slice(1)),
        changed(database, images=with_value("path", "other.png")),
        changed(database, rejects=with_value("detail", "other")),
        changed(database, edited(plan, "seed", value=7)),
        changed(database, edited(plan, "model", "sha256", value="0")),
        changed(database, edited(plan, "dataset", "licence", value="another")),
        changed(database, edited(plan, "config", "loop", "max_draws", value=21)),
        changed(database, sidecars={index: database.sidecars[index] for index in (0, 1)}),
    ]
    assert len({database_id(each) for each in [database, *different]}) == 1 + len(different)


def test_it_does_not_depend_on_how_they_lie(database):
    plan = database.plan
    same = [
        changed(database, proposals=lambda table: table.take(list(range(table.num_rows - 1, -1, -1)))),
        changed(database, proposals=lambda table: pa.concat_tables([table.slice(0, 3), table.slice(3)])),
        changed(database, sidecars=dict(reversed(database.sidecars.items()))),
        changed(database, edited(plan, "config", "batch", "images_per_shard", value=50)),
        changed(database, edited(plan, "dataset", "split", value="some")),
        changed(database, edited(plan, "dataset", "fingerprint", value="x")),
    ]
    assert {database_id(each) for each in same} == {database_id(database)}


def test_it_does_not_depend_on_the_order_of_rows_that_differ_in_their_runs_alone(database):
    """Two runs may drop the same thing for the same reason."""
    plan = edited(database.plan, "sources", value=[database.plan, database.plan | {"seed": 7}])

    def of_run(number, table):
        numbers = pa.array([number] * table.num_rows, pa.int32())
        return table.set_column(table.num_columns - 1, table.schema.field("source"), numbers)

    def twice(*order):
        return changed(
            database, plan, rejects=lambda table: pa.concat_tables(of_run(number, table) for number in order)
        )

    assert database_id(twice(0, 1)) == database_id(twice(1, 0)) == by_description(twice(1, 0))
    assert database_id(twice(0, 1)) != database_id(twice(0, 0))


def test_it_does_not_depend_on_the_order_of_rows_that_differ_in_newer_columns_alone(database):
    field = pa.field("weight", pa.float32())

    def weighted(*weights):
        def of(table):
            first = table.slice(0, 1)
            return pa.concat_tables([first.append_column(field, pa.array([each], field.type)) for each in weights])

        return changed(database, rejects=of)

    assert database_id(weighted(0.5, 0.25)) == database_id(weighted(0.25, 0.5)) != database_id(weighted(0.5, 0.5))


def test_manifest_and_card_say_it(database):
    finish(database.store, database.plan, database.sidecars)
    manifest = database.store.read_json("manifest.json")
    assert manifest["id"] == database_id(database)
    assert [source["id"] for source in manifest["sources"]] == [manifest["id"]]
    assert f"| identity | {manifest['id']} |" in database.store.read("README.md").decode()
