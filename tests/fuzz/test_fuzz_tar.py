"""Tar files of any content: the database that was packed, or one line and nothing left."""

import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agg_pipeline.database.publishing.packing import pack
from agg_pipeline.database.publishing.plain_tar import BLOCK
from agg_pipeline.database.publishing.unpacking import unpack
from agg_pipeline.database.reader import open_proposals
from tests.fuzz.mutations import fuzzed, mutated_bytes, outcome
from tests.toy_run import make_database


@cache
def packed():
    """A packed database, and the files in it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-tar-"))
    store = make_database(folder / "database")
    pack(open_proposals(store.url), str(folder / "x.tar"))
    return (folder / "x.tar").read_bytes(), {path: store.read(path) for path in store.files()}


def target(content):
    """Unpack a file into an empty folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-tar-") as name:
        around = Path(name) / "around"
        around.mkdir()
        (Path(name) / "x.tar").write_bytes(content)
        end = outcome(lambda: unpack(str(Path(name) / "x.tar"), str(around / "out")))
        assert end in ("ok", "UserError")
        assert {path.name for path in Path(name).iterdir()} == {"x.tar", "around"}
        found = {str(path.relative_to(around)): path for path in around.rglob("*") if not path.is_dir()}
        assert not any(path.is_symlink() for path in found.values())
        if end == "UserError":
            assert list(around.iterdir()) == []
        else:
            # How to cite the database has no checksum.
            good = {f"out/{path}": each for path, each in packed()[1].items() if path != "CITATION.cff"}
            assert {path: each.read_bytes() for path, each in found.items() if path != "out/CITATION.cff"} == good


def headers():
    """Places of the headers in the packed database."""
    content, place, found = packed()[0], 0, []
    while any(content[place : place + BLOCK]):
        found.append(place)
        place += BLOCK + -(-int(content[place + 124 : place + 135], 8) // BLOCK) * BLOCK
    return found


@st.composite
def changed_header(draw):
    """A packed database with a header that was changed, and whose checksum agrees."""
    content, place = packed()[0], draw(st.sampled_from(headers()))
    block = bytearray(draw(mutated_bytes(content[place : place + BLOCK], 3))[:BLOCK].ljust(BLOCK, b"\0"))
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return content[:place] + bytes(block) + content[place + BLOCK :]


@fuzzed
@given(st.data())
def test_any_bytes(data):
    target(data.draw(mutated_bytes(packed()[0])))


@fuzzed
@given(st.data())
def test_any_header(data):
    target(data.draw(changed_header()))
