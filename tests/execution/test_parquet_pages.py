"""Pages of Parquet columns: what they take, and files whose footers hide it."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agg_pipeline.execution.parquet_files import TableLimit, parquet_bytes, parquet_table
from agg_pipeline.execution.parquet_pages import pages_of
from agg_pipeline.storage.store import Store
from tests.execution.thrift_structs import ParquetParts, unsigned
from tests.fuzz.mutations import limited

SCHEMA = pa.schema([pa.field("text", pa.string(), False), pa.field("rle", pa.binary(), False)])
CLICKS = pa.schema([pa.field("clicks", pa.list_(pa.field("element", pa.int32(), False)), False)])
LIMIT = TableLimit(10_000, 1 << 20)
PATH = "table.parquet"


def written(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def repeated(name, rows, length):
    """A table with a value of that many bytes in each row of a column."""
    value = "x" * length if name == "text" else b"x" * length
    columns = {"text": ["a"] * rows, "rle": [b"a"] * rows} | {name: [value] * rows}
    return pa.table(columns, SCHEMA)


def refused(tmp_path, content, schema=SCHEMA):
    """The error of reading a file, within little memory."""
    (tmp_path / PATH).write_bytes(content)
    with limited(memory=128 << 20, seconds=20), pytest.raises(ValueError, match=r"^[a-z]") as error:
        parquet_table(Store(str(tmp_path)), PATH, schema, limit=LIMIT)
    return str(error.value)


def columns_of(content):
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    return [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]


def varint(number, length=0):
    """An integer of the compact protocol, made longer by bytes without a value."""
    number, found = number << 1, bytearray()
    while number or not found:
        found.append(number & 127 | 128)
        number >>= 7
    found += b"\x80" * (length - len(found))
    found[-1] &= 127
    return bytes(found)


def footer_with(content, old, new):
    """A file whose footer has other bytes of the same number."""
    length = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - length], content[-8 - length :]
    assert (len(old), footer.count(old)) == (len(new), 1)
    return body + footer.replace(old, new)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("codec", ["none", "zstd", "snappy"])
def test_sizes_are_those_of_the_footer(version, dictionary, codec):
    rows = 3000
    table = pa.table({"text": [f"{n % 7}" * 50 for n in range(rows)], "rle": [b"%d" % n for n in range(rows)]}, SCHEMA)
    options = {"use_dictionary": dictionary, "data_page_version": version, "compression": codec}
    content = written(table, data_page_size=1000, write_batch_size=100, write_page_checksum=True, **options)
    file = io.BytesIO(content)
    for column in columns_of(content):
        pages = pages_of(file, column)
        headers = column.total_uncompressed_size - pages.size
        assert 0 < headers < 12_000
        assert pages.size > 1000
        assert pages.by_number is dictionary


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_files_of_this_project_are_read(tmp_path, rows):
    texts, masks = [f"{n % 2}" for n in range(rows)], [bytes([n % 256]) * n for n in range(rows)]
    table = pa.table({"text": texts, "rle": masks}, SCHEMA)
    (tmp_path / PATH).write_bytes(parquet_bytes(table))
    assert parquet_table(Store(str(tmp_path)), PATH, SCHEMA).equals(table)


@pytest.mark.parametrize("name", SCHEMA.names)
def test_texts_that_share_their_beginnings_are_refused(tmp_path, name):
    """A few bytes for each row, of which each is as long as the first one."""
    table = repeated(name, 4000, 100_000)
    content = written(table, use_dictionary=False, column_encoding={name: "DELTA_BYTE_ARRAY"}, write_statistics=False)
    assert len(content) < 200_000
    expected = "a page has the encoding 7; this format has plain, plain dictionary, run lengths, dictionary"
    assert refused(tmp_path, content) == expected


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_footer_that_hides_the_size_of_a_column(tmp_path, name):
    content = written(repeated(name, 4000, 100_000), use_dictionary=False, compression="zstd", write_statistics=False)
    column = columns_of(content)[SCHEMA.names.index(name)]
    size = varint(column.total_uncompressed_size)
    assert refused(tmp_path, footer_with(content, size, varint(1, len(size)))).startswith("its columns take 400,")


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_footer_that_hides_a_dictionary(tmp_path, name):
    content = written(repeated(name, 4000, 100_000), use_dictionary=[name], compression="zstd", write_statistics=False)
    column = columns_of(content)[SCHEMA.names.index(name)]
    data, dictionary = varint(column.data_page_offset), varint(column.dictionary_page_offset)
    # The dictionary's field has the number 11, two after that of the data pages; 13 is none.
    hidden = varint(column.dictionary_page_offset, len(data)) + b"\x46" + dictionary
    content = footer_with(content, data + b"\x26" + dictionary, hidden)
    assert columns_of(content)[SCHEMA.names.index(name)].has_dictionary_page is False
    assert refused(tmp_path, content).startswith("its columns take 400,")


def clicks(rows):
    """A table with two clicks in each row."""
    return pa.table({"clicks": pa.array([[1, 2]] * rows, CLICKS.field("clicks").type)}, CLICKS)


def changed(table, change):
    """A file of which a part is changed before the footer says where its columns are."""
    parts = ParquetParts(written(table, use_dictionary=False, write_statistics=False))
    parts.place_anew()
    change(parts)
    parts.place_anew()
    return parts.content()


def test_parts_of_a_file_are_put_together_again(tmp_path):
    (tmp_path / PATH).write_bytes(changed(clicks(3), ParquetParts.place_anew))
    assert parquet_table(Store(str(tmp_path)), PATH, CLICKS).equals(clicks(3))


def claims_many_values(count):
    """One row whose list goes on for so many values, each of which is the first entry of a dictionary."""

    def change(parts):
        ((header, _),) = parts.pages[0]
        repeated_levels = unsigned(1 << 1) + b"\0" + unsigned(count - 1 << 1) + b"\1"
        levels = [repeated_levels, unsigned(count << 1) + b"\1"]
        body = b"".join(len(each).to_bytes(4, "little") + each for each in levels) + b"\0" + unsigned(count << 1)
        header[2][1] = len(body)
        header[5][1][1][1], header[5][1][2][1] = count, 8
        dictionary = {1: [5, 2], 2: [5, 4], 3: [5, 4], 7: [12, {1: [5, 1], 2: [5, 0]}]}
        parts.pages[0] = [(dictionary, b"\1\0\0\0"), (header, body)]

    return change


@pytest.mark.parametrize("count", [1 << 28, (1 << 31) - 1])
def test_a_page_that_claims_more_values_than_its_column(tmp_path, count):
    content = changed(clicks(3), claims_many_values(count))
    assert refused(tmp_path, content, CLICKS) == f"the pages of a column hold {count:,} values, and the footer says 6"


def test_a_dictionary_that_claims_more_entries_than_it_has_bytes(tmp_path):
    parts = ParquetParts(parquet_bytes(repeated("text", 50, 10)))
    parts.pages[0][0][0][7][1][1][1] = 1 << 30
    parts.place_anew()
    assert refused(tmp_path, parts.content()) == "the header of a page is damaged"


@pytest.mark.parametrize("rows", [1 << 40, 500_000_000, 1])
def test_a_row_group_with_other_rows_than_the_file(tmp_path, rows):
    def change(parts):
        parts.footer[4][1][1][0][3][1] = rows

    message = refused(tmp_path, changed(clicks(3), change), CLICKS)
    assert message == f"its row groups have {rows:,} rows, and its footer says 3"


def test_a_column_with_other_values_than_rows(tmp_path):
    def change(parts):
        parts.footer[4][1][1][0][3][1] = parts.footer[3][1] = 5_000

    message = refused(tmp_path, changed(repeated("text", 50, 10), change))
    assert message == "its column text has 50 values in 5000 rows"


def test_no_flipped_bit_in_the_header_of_a_page_ends_the_process(tmp_path):
    content = parquet_bytes(repeated("text", 50, 10))
    column = columns_of(content)[0]
    start = column.dictionary_page_offset
    for place in range(start, start + column.total_compressed_size):
        for bit in range(8):
            (tmp_path / PATH).write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with limited(memory=64 << 20, seconds=20):
                try:
                    parquet_table(Store(str(tmp_path)), PATH, SCHEMA, limit=LIMIT)
                except (ValueError, OSError, pa.ArrowException) as error:
                    assert str(error)
