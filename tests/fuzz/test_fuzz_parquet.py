"""Tables of a database of any content: findings, or one line."""

import hashlib
import io
import tempfile
from contextlib import redirect_stdout
from functools import cache, partial
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.database.counts import finished_counts
from agg_pipeline.database.reader import inspect_proposals, mask_of, open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.parts import AnnotatedPart
from agg_pipeline.execution.parquet_files import parquet_bytes
from agg_pipeline.proposals.recall import part_recall
from agg_pipeline.proposals.summary_tables import print_stats
from agg_pipeline.report.gallery import write_gallery
from agg_pipeline.training.mask_rows import choose_rows
from agg_pipeline.training.proposal_samples import ProposalMasks
from agg_pipeline.training.training_images import ImageReader
from schemas.errors import UserError
from schemas.tables import FILES
from schemas.words import printable
from tests.execution.test_shard_files import sealed
from tests.execution.thrift_structs import ParquetParts
from tests.fuzz.mutations import fuzzed_in_every_way, mutated_bytes, outcome
from tests.toy_run import make_database, make_dataset

SIDECAR = "shards/part-00000.json"
FOOTER_START = 700
"""Bytes at the end of a file that are changed more often than others: its footer."""


@cache
def database():
    """A finished database, and the tables of its first shard."""
    store = make_database(Path(tempfile.mkdtemp(prefix="fuzz-parquet-")) / "database")
    return store, {name: store.read(f"{name}/part-00000.parquet") for name in FILES}, store.read_json(SIDECAR)


def target(name, content):
    """Put a table into the database, with a sidecar that agrees, and read it in every way."""
    store, files, sidecar = database()
    path = f"{name}/part-00000.parquet"
    facts = {
        "rows": sidecar["files"][path]["rows"],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    store.write(path, content)
    store.write_json(SIDECAR, sealed(sidecar | {"files": sidecar["files"] | {path: facts}}))
    try:
        for finding in validate(inspect_proposals(store.url)):
            assert "\n" not in finding.what.strip()
        _used(store)
        opened = inspect_proposals(store.url)
        for table in FILES:
            opened.table(table).to_pylist()
        for row in opened.proposals().to_pylist():
            mask_of(row)
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        store.write(path, files[name])
        store.write_json(SIDECAR, sidecar)


def _used(store):
    """Read the database as the gallery, the statistics and a fine-tuning do."""
    opened, dataset = open_proposals(store.url), make_dataset()
    readers = (_gallery, _statistics, *(partial(_training, definition=definition) for definition in ("both", "scale")))
    for read in readers:
        try:
            read(opened, dataset)
        except UserError as error:
            assert printable(str(error)) == str(error)


def _gallery(opened, dataset):
    write_gallery(opened, dataset, opened.store.above().below("report"), "gallery.html", 2, 0)


def _statistics(opened, dataset):
    """The annotated parts are the objects."""
    objects = {entry.image_id: dataset.read(entry).objects for entry in dataset.entries[:6]}
    with redirect_stdout(StringIO()):
        recall = part_recall(
            opened, lambda image: [AnnotatedPart("x", each.mask) for each in objects.get(image, ())], 2, 0
        )
        print_stats(opened, recall)
    finished_counts(opened)


def _training(opened, dataset, definition):
    read = {entry.path: dataset.read(entry) for entry in dataset.entries[:6]}
    reader = ImageReader(lambda path: (read[path].pixels, read[path].sha256), lambda path: read[path].sha256)
    rows = choose_rows([opened], "agg", definition)
    masks = ProposalMasks([opened], {"toy": reader}, rows)
    for row in range(min(5, len(rows))):
        try:
            masks.open(row)
        except KeyError as error:
            # An image that the data set does not have, which its own readers report.
            assert error.args[0] not in read


def _variant(name):
    content = database()[1][name]
    footer = mutated_bytes(content[-FOOTER_START:]).map(lambda end: content[:-FOOTER_START] + end)
    flipped = st.builds(partial(_flipped, content), st.integers(0, len(content) - 1), st.integers(0, 7))
    return st.tuples(st.just(name), st.one_of(footer, mutated_bytes(content), flipped))


NUMBERS = (0, 1, -1, 2, 3, 7, 127, 2**20, 2**28, 2**31 - 1, -(2**31), 2**40, 2**62)
"""Numbers that a footer or the header of a page may claim."""


def _renumbered(name):
    """A table of which a few numbers in the footer and in the headers of its pages are others."""

    def apply(edits, placed):
        parts = ParquetParts(database()[1][name])
        numbers = parts.numbers()
        for place, number in edits:
            kind = numbers[place % len(numbers)][0]
            numbers[place % len(numbers)][1] = max(-(2 ** LARGEST[kind]), min(number, 2 ** LARGEST[kind] - 1))
        if placed:
            parts.place_anew()
        return parts.content()

    edits = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(NUMBERS)), min_size=1, max_size=3)
    return st.tuples(st.just(name), st.builds(apply, edits, st.booleans()))


LARGEST = {4: 15, 5: 31, 6: 63}
"""Bits of the types of numbers."""


@fuzzed_in_every_way
@given(st.sampled_from(sorted(FILES)).flatmap(_renumbered))
def test_numbers(variant):
    assert outcome(lambda: target(*variant)) == "ok"


def _flipped(content, place, bit):
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


@fuzzed_in_every_way
@given(st.sampled_from(sorted(FILES)).flatmap(_variant))
def test_parquet(variant):
    assert outcome(lambda: target(*variant)) == "ok"


def _values(kind):
    """Values of a column, at the ends of its type or beside those that occur."""
    if pa.types.is_integer(kind):
        ends = (0, 1, -1, 2, 10, 11, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1)))
        return st.sampled_from([number for number in ends if number.bit_length() < kind.bit_width])
    if pa.types.is_floating(kind):
        return st.sampled_from((0.0, -1.0, 0.5, 2.0, float("nan"), float("inf")))
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_binary(kind):
        return st.binary(max_size=8)
    if pa.types.is_string(kind):
        return st.sampled_from(("", "im_0", "im_1", "im_9", "object", "part", "zzz", "a\0", "\x1b[2J", "../x"))
    if pa.types.is_list(kind):
        return st.lists(_values(kind.value_type), max_size=30)
    return st.fixed_dictionaries({field.name: _values(field.type) for field in kind})


def _edits(name):
    """Edits of the rows of a table: values replaced, in one row or in all, and rows left out or doubled."""
    fields = st.sampled_from(list(FILES[name]))
    value = fields.flatmap(lambda field: st.tuples(st.just(field.name), _values(field.type)))
    places = st.one_of(st.none(), st.integers(0, 100))
    edits = st.tuples(st.sampled_from(("replace", "replace", "drop", "double")), places, value)
    return st.tuples(st.just(name), st.lists(edits, min_size=1, max_size=2))


def _edited(name, edits):
    rows = pq.read_table(io.BytesIO(database()[1][name])).to_pylist()
    for how, place, (column, value) in edits:
        chosen = range(len(rows)) if place is None else [place % len(rows)] if rows else []
        if how == "replace":
            for number in chosen:
                rows[number] = rows[number] | {column: value}
        else:
            count = 0 if how == "drop" else 2
            rows = [row for number, row in enumerate(rows) for _ in range(count if number in chosen else 1)]
    return parquet_bytes(pa.Table.from_pylist(rows, FILES[name]))


@fuzzed_in_every_way
@given(st.sampled_from(sorted(FILES)).flatmap(_edits))
def test_rows(variant):
    name, edits = variant
    content = _edited(name, edits)
    assert outcome(lambda: target(name, content)) == "ok"
