"""The entries of a JSON document, read in pieces of any size."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.database.exchange import json_entry_stream
from agg_pipeline.database.exchange.json_entry_stream import entries
from schemas.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(alphabet='"\\[]{},: aé\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def read(content, chunk=1 << 22):
    json_entry_stream.CHUNK = chunk
    try:
        return list(entries(io.BytesIO(content), "x.json", "a file"))
    finally:
        json_entry_stream.CHUNK = 1 << 22


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text(alphabet='"\\[]{},ab', max_size=4), VALUES, max_size=4), st.integers(1, 40), st.booleans()
)
def test_parts_are_those_of_the_document(document, chunk, spaced):
    content = (json.dumps(document, indent=1) if spaced else json.dumps(document, separators=(",", ":"))).encode()
    found = {}
    for entry in read(content, chunk):
        assert content[entry.start : entry.start + len(entry.content)] == entry.content or not entry.listed
        if entry.listed:
            found.setdefault(entry.key, []).append(json.loads(entry.content))
        else:
            found[entry.key] = json.loads(entry.content)
    assert found == {key: value for key, value in document.items() if value != []}


def test_a_mark_of_the_byte_order_is_passed_over():
    (entry,) = read(b'\xef\xbb\xbf{"a": [17]}')
    assert entry == ("a", b"17", 10, True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is cut short"),
        (b'{"a": [1, 2', "it is cut short"),
        (b'{"a": "x', "it is cut short"),
        (b"[1]", "it does not begin with an object"),
        (b'{"a": [1]} {', "something follows the end of the object"),
        (b'{"a": [1]} x', "something follows the end of the object"),
        (b'{"a": [1,,2]}', "an entry of a is empty"),
        (b"{a: [1]}", "'a:' is in the place of a key"),
        (b'{"a": [1], "a": [2]}', "has the key 'a' twice; keep one"),
    ],
)
def test_broken_documents_are_refused_in_one_line(content, problem):
    with pytest.raises(UserError) as caught:
        read(content)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_part_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("schemas.limits.EXCHANGE_ENTRY_BYTES", 1000)
    with pytest.raises(UserError, match="a part of it has more than 1,000 bytes"):
        read(b'{"a": ["' + b"x" * 5000, 100)


def test_keys_without_end_do_not_fill_the_memory():
    with pytest.raises(UserError, match="it has more than 1,000 keys"):
        read(b"{" + b",".join(b'"%d":1' % number for number in range(2000)) + b"}")
