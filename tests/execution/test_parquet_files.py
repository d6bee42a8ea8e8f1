"""Tables that claim more than they hold, or hold other things than they should."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.execution import parquet_files
from agg_pipeline.execution.parquet_files import (
    OF_SHARD,
    TABLE_ERRORS,
    TableLimit,
    parquet_bytes,
    parquet_table,
    read_table,
)
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import UserError
from schemas.tables import IMAGES, MASKS, PROPOSALS

PATH = "images/part-00000.parquet"
ROW = {"image_id": "é", "path": "a.png", "height": 1, "width": 2, "sha256": "0", "licence": "none", "source": 0}
TABLE = pa.Table.from_pylist([ROW], IMAGES)
MASK = {"target_id": "t", "attempt": 0, "granularity": None, "click": 1, "rle": b"0"}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def refused(store, table, schema=IMAGES, **options):
    """The message about a table that is not read."""
    if isinstance(table, pa.Table):
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", **options)
        table = sink.getvalue()
    store.write(PATH, table)
    with pytest.raises(UserError) as error:
        read_table(store, PATH, schema, advice="x")
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(f"{store.url}/{PATH} cannot be read (").removesuffix("); x")


def changed(name, values, kind=None):
    place = IMAGES.get_field_index(name)
    field = pa.field(name, kind or IMAGES.field(name).type, nullable=values[0] is None)
    return TABLE.set_column(place, field, [pa.array(values, field.type)])


@pytest.mark.parametrize(
    "table",
    [
        TABLE.drop_columns(["sha256"]),
        TABLE.append_column("more", pa.array([1])),
        TABLE.select(TABLE.column_names[::-1]),
        changed("height", ["x"], pa.string()),
        changed("height", [1.5], pa.float64()),
        changed("height", [None]),
        changed("path", [None]),
        changed("path", [b"x"], pa.binary()),
        changed("path", ["x"], pa.large_string()),
    ],
)
def test_other_columns_are_refused(store, table):
    assert refused(store, table) == "it does not have the columns of this format"


def test_other_columns_at_the_end_are_read_if_a_newer_version_may_have_added_them(store):
    table = TABLE.append_column("more", pa.array(["x"]))
    store.write(PATH, parquet_bytes(table))
    assert read_table(store, PATH, IMAGES, more=True).to_pylist() == [ROW | {"more": "x"}]
    assert read_table(store, PATH, IMAGES, ["path", "height"], more=True).to_pylist() == [
        {"path": "a.png", "height": 1}
    ]
    store.write(PATH, parquet_bytes(table.select(["more", *IMAGES.names])))
    with pytest.raises(UserError, match="does not have the columns of this format"):
        read_table(store, PATH, IMAGES, more=True)


def test_columns_that_are_not_read_may_be_missing(store):
    store.write(PATH, parquet_bytes(TABLE.drop_columns(["sha256"])))
    assert read_table(store, PATH, IMAGES, ["height", "image_id"]).to_pylist() == [{"height": 1, "image_id": "é"}]


def test_millions_of_rows_are_refused(store):
    rows = 3_000_000
    columns = [pa.array(np.zeros(rows, np.int32)) if pa.types.is_int32(field.type) else pa.repeat("a", rows)
               for field in IMAGES]  # fmt: skip
    table = pa.Table.from_arrays(columns, schema=IMAGES)
    assert refused(store, table, row_group_size=rows) == "it has 3,000,000 rows; the limit is 2,000,000"
    assert (store.sizes([PATH])[PATH]) < 100_000


def test_texts_that_repeat_are_measured_before_they_are_decoded(store):
    """40 GB of run lengths in a small file: one of 4 MB, 10,000 times."""
    rows, value = 10_000, b"\0" * 4_000_000
    one = pa.Table.from_pylist([MASK], MASKS)
    columns = [pa.concat_arrays([one[name].combine_chunks()] * rows) for name in MASKS.names[:-1]]
    columns.append(pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value], pa.binary())))
    schema = pa.schema([*list(MASKS)[:-1], pa.field("rle", columns[-1].type, False)])
    message = refused(
        store,
        pa.Table.from_arrays(columns, schema=schema),
        MASKS,
        use_dictionary=["rle"],
        dictionary_pagesize_limit=1 << 30,
        store_schema=False,
    )
    assert message.startswith("its columns take 40,0")
    assert message.endswith(" bytes; the limit is 268,435,456")


def test_texts_that_repeat_within_the_limit_are_read(store, monkeypatch):
    table = pa.Table.from_pylist([MASK | {"rle": b"x" * 100, "attempt": number} for number in range(50)], MASKS)
    sink = io.BytesIO()
    pq.write_table(table, sink, use_dictionary=True)
    store.write(PATH, sink.getvalue())
    opened = []
    original = pq.ParquetFile
    monkeypatch.setattr(
        parquet_files.pq,
        "ParquetFile",
        lambda *args, **options: opened.append(options.get("read_dictionary")) or original(*args, **options),
    )
    found = parquet_table(store, PATH, MASKS, limit=TableLimit(100, 8_000))
    assert found.equals(table, check_metadata=True)
    assert found.schema.equals(MASKS, check_metadata=True)
    # Its facts, its columns, its rows.
    assert opened == [None, None, ["rle", "target_id"]]
    assert parquet_table(store, PATH, MASKS).equals(table)
    assert opened[3:] == [None, None]
    with pytest.raises(ValueError, match=r"its columns take [67],\d\d\d bytes; the limit is 5,000"):
        parquet_table(store, PATH, MASKS, limit=TableLimit(100, 5_000))
    assert opened[-1] == ["rle", "target_id"]


def test_columns_that_claim_much_are_refused(store):
    store.write(PATH, parquet_bytes(TABLE))
    with pytest.raises(ValueError, match=r"its columns take \d+ bytes; the limit is 50"):
        parquet_table(store, PATH, IMAGES, limit=TableLimit(10, 50))
    assert parquet_table(store, PATH, IMAGES, ["height"], TableLimit(10, 100)).num_rows == 1


def test_large_tables_need_large_files(store):
    """Of 1 KB: no more than a small table. Of larger files: so many bytes for each of theirs."""
    assert [OF_SHARD.of_file(size) for size in (1000, 8 << 20, 16 << 20, 64 << 20, 1 << 40)] == [
        *(1 << 28, 1 << 28, 1 << 29, 2 << 30, 2 << 30)
    ]
    assert TableLimit(10, 1000).of_file(1) == 1000
    zeros = pa.Table.from_pylist([MASK | {"rle": bytes(300 << 20)}], MASKS)
    message = refused(store, zeros, MASKS, use_dictionary=False)
    assert store.sizes([PATH])[PATH] < 100_000
    assert message.startswith("its columns take 314,57")
    assert message.endswith(" bytes; the limit is 268,435,456")


CLICKS = pa.schema([PROPOSALS.field("proposal_id"), PROPOSALS.field("clicks")])
CLICK = {"row": 0, "col": 0, "positive": True}


def test_lists_of_many_values_are_refused_before_they_are_decoded(store, monkeypatch):
    rows = [{"proposal_id": "a", "clicks": [CLICK] * 129}, {"proposal_id": "b", "clicks": None}]
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read", None)
        message = refused(store, pa.Table.from_pylist(rows, CLICKS), CLICKS)
    assert message == "its column clicks.list.element.row has 130 values in 2 rows"
    rows[0]["clicks"] = [CLICK] * 65
    message = refused(store, pa.Table.from_pylist(rows, CLICKS), CLICKS)
    assert message == "its column clicks has a list of 65 values; the limit is 64"
    rows[0]["clicks"] = [CLICK] * 64
    store.write(PATH, parquet_bytes(pa.Table.from_pylist(rows, CLICKS)))
    assert read_table(store, PATH, CLICKS).to_pylist() == rows


def test_large_footer_is_refused(store):
    footer = limits.PARQUET_FOOTER_BYTES + 1
    content = b"PAR1" + bytes(footer) + footer.to_bytes(4, "little") + b"PAR1"
    assert refused(store, content) == "its footer has 16,777,217 bytes; the limit is 16,777,216"
    assert refused(store, parquet_bytes(TABLE)[:-8] + b"\xff\xff\xff\x7fPAR1")
    assert refused(store, b"PAR1" + bytes(100) + b"PAR1")


def test_no_flipped_bit_of_a_footer_ends_the_process(store):
    """Arrow's metadata ends the process for one of these bits: a truth value with the sizes of texts."""
    schema = pa.schema([pa.field("flag", pa.bool_(), nullable=False), pa.field("name", pa.string(), nullable=False)])
    content = parquet_bytes(pa.table({"flag": [True, False] * 10, "name": ["a"] * 20}, schema=schema))
    length = int.from_bytes(content[-8:-4], "little")
    broken = 0
    for place in range(len(content) - 8 - length, len(content) - 8):
        for bit in range(8):
            flipped = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            Path(store.url, "a.parquet").write_bytes(flipped)
            try:
                parquet_table(store, "a.parquet", schema)
            except TABLE_ERRORS:
                broken += 1
    assert broken > 8 * length / 4


def test_text_that_is_not_utf8_is_refused(store):
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    table = TABLE.set_column(0, IMAGES.field(0), [broken])
    assert "UTF8" in refused(store, table).replace("-", "")


def test_long_text_is_refused(store):
    most = limits.STORED_TEXT_LENGTH
    message = refused(store, changed("image_id", ["x" * 10_000_000]).cast(IMAGES))
    assert message == "its column image_id has a text of 10,000,000 characters; the limit is 4,096"
    store.write(PATH, parquet_bytes(changed("image_id", ["é" * most]).cast(IMAGES)))
    assert read_table(store, PATH, IMAGES).num_rows == 1


def test_a_pipe_in_the_place_of_a_table_is_one_line(store, tmp_path):
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / PATH)
    with pytest.raises(UserError, match="is a pipe"):
        read_table(store, PATH, IMAGES, limit=OF_SHARD)


def groups_of(content):
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def test_row_groups_are_about_a_megabyte():
    texts = pa.table({"image_id": ["x" * 1016] * 3000, "bin": pa.array([1] * 3000, pa.int8())})
    # A row has 1016 bytes of text, and 8 for every column.
    size = 1016 + 2 * 8
    assert groups_of(parquet_bytes(texts)) == [2**20 // size, 2**20 // size, 3000 - 2 * (2**20 // size)]
    assert groups_of(parquet_bytes(texts.slice(0, 10))) == [10]


def test_table_without_rows_has_no_row_group(store):
    """``datasets`` of Hugging Face refuses a row group without rows. Databases of earlier versions have them."""
    empty = IMAGES.empty_table()
    assert groups_of(parquet_bytes(empty)) == []
    earlier = io.BytesIO()
    pq.write_table(empty, earlier)
    assert groups_of(earlier.getvalue()) == [0]
    for content in (parquet_bytes(empty), earlier.getvalue()):
        store.write(PATH, content)
        assert read_table(store, PATH, IMAGES).equals(empty)
        assert parquet_table(store, PATH, IMAGES, ["path"], holding=("image_id", "a")).num_rows == 0


def test_row_groups_do_not_depend_on_how_arrow_keeps_the_rows(monkeypatch):
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 1000)
    whole = pa.table({"image_id": [f"im_{number}" for number in range(400)], "step": pa.array([1] * 400, pa.int32())})
    cut = pa.concat_tables([whole.slice(0, 150), whole.slice(150)])
    longer = pa.concat_tables([whole, whole]).combine_chunks().slice(400)
    assert len(groups_of(parquet_bytes(whole))) > 1
    assert parquet_bytes(cut) == parquet_bytes(whole) == parquet_bytes(longer)


def test_row_groups_without_a_text_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 1000)
    ids = sorted(f"im_{number:03d}" for number in range(300))
    table = pa.table({"image_id": ids, "rle": pa.array([b"x"] * 300)})
    store = Store(str(tmp_path))
    store.write("t.parquet", parquet_bytes(table))
    for image in ("im_000", "im_150", "im_299"):
        read = parquet_table(store, "t.parquet", table.schema, holding=("image_id", image))
        assert image in read["image_id"].to_pylist()
        assert 0 < read.num_rows < 150
    assert parquet_table(store, "t.parquet", table.schema, holding=("image_id", "a")).num_rows == 0
    # There are no statistics of other columns.
    assert parquet_table(store, "t.parquet", table.schema, holding=("rle", "y")).num_rows == 300
