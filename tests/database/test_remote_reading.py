"""Databases in a bucket: what is fetched of them, counted at the server."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from agg_pipeline.database.derived import Piece, derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.reader import inspect_proposals, open_proposals
from agg_pipeline.execution import parquet_files
from agg_pipeline.execution.shard_files import PLAN
from agg_pipeline.storage.store import Store
from schemas.errors import StorageError
from tests.faults.object_store import Fault
from tests.toy_run import make_database

COPIES = 40
"""Copies of the images of the toy database in the larger one."""


@pytest.fixture
def remote(bucket, tmp_path):
    """A database in the bucket."""
    make_database(tmp_path / "db")
    bucket.upload(tmp_path / "db", "bucket/db")
    bucket.answers.clear()
    return bucket


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory):
    """The folder of a database whose only shard has a file of 2 MB, in row groups of 100 KB."""
    folder = tmp_path_factory.mktemp("large")
    toy = open_proposals(make_database(folder / "toy").url)
    noise = np.random.default_rng(0)

    def copied(piece, number):
        tables = {}
        for name, table in piece.tables.items():
            for column in {"image_id", "proposal_id", "parent_id"} & {*table.column_names}:
                texts = pc.binary_join_element_wise(f"c{number:02d}", table[column], "_")
                table = table.set_column(table.column_names.index(column), table.schema.field(column), texts)
            if name == "proposals":
                rle = pa.array([noise.bytes(600) for _ in range(table.num_rows)])
                table = table.set_column(table.column_names.index("rle"), table.schema.field("rle"), rle)
            tables[name] = table
        return Piece(tuple(f"c{number:02d}_{image}" for image in piece.images), tables)

    some = (copied(piece, number) for number in range(COPIES) for piece in pieces(toy))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files, "GROUP_BYTES", 100_000)
        plan = derived_plan([toy], source_runs(toy), "copy", {})
        write_derived(str(folder / "db"), plan, some, images_per_shard=8 * COPIES)
    return folder / "db"


@pytest.fixture
def large(bucket, large_folder):
    """That database in the bucket."""
    bucket.upload(large_folder, "bucket/db")
    bucket.answers.clear()
    return bucket


def fetched(server):
    """(file, bytes) of what was fetched, without listings."""
    found = [(path.split("/bucket/db/")[-1], size) for method, path, size in server.answers if method == "GET"]
    server.answers.clear()
    return [(path, size) for path, size in found if not re.search(r"[?]", path)]


def test_a_finished_database_is_opened_by_two_files(remote):
    opened = open_proposals("s3://bucket/db")
    assert sorted(path for path, _ in fetched(remote)) == ["manifest.json", PLAN]
    assert opened.sidecars == inspect_proposals("s3://bucket/db").sidecars
    assert len(opened.sidecars) == 3


@pytest.mark.parametrize("manifest", [None, b"{", b'{"plan": {"config_hash": "other"}}'])
def test_without_a_manifest_the_sidecars_are_read(remote, tmp_path, manifest):
    files = remote.files()
    if manifest is None:
        files.rm("bucket/db/manifest.json")
    else:
        files.pipe_file("bucket/db/manifest.json", manifest)
    assert open_proposals("s3://bucket/db").sidecars == open_proposals(str(tmp_path / "db")).sidecars


@pytest.mark.usefixtures("remote")
def test_a_manifest_of_another_plan_is_not_believed(tmp_path):
    manifest = Store(str(tmp_path / "db")).read_json("manifest.json")
    manifest["shards"] = [sidecar | {"config_hash": "0" * 32} for sidecar in manifest["shards"]]
    Store("s3://bucket/db").write_json("manifest.json", manifest)
    assert open_proposals("s3://bucket/db").sidecars == open_proposals(str(tmp_path / "db")).sidecars


def test_of_image_fetches_its_row_groups(large, large_folder):
    path = large_folder / "proposals/part-00000.parquet"
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups > 20 and path.stat().st_size > 1_500_000
    opened, local = open_proposals("s3://bucket/db"), open_proposals(str(large_folder))
    fetched(large)
    for image in ("c00_im_0", "c17_im_3", f"c{COPIES - 1}_im_5"):
        rows = opened.of_image(image)
        assert rows.equals(local.of_image(image))
        assert set(rows["image_id"].to_pylist()) == {image}
        asked = fetched(large)
        assert {name for name, _ in asked} == {"proposals/part-00000.parquet"}
        # The end of the file with the footer, and two row groups at most.
        assert sum(size for _, size in asked) < metadata.serialized_size + (1 << 16) + 200_000


def test_a_column_is_fetched_alone_and_no_byte_twice(large, large_folder):
    path = large_folder / "proposals/part-00000.parquet"
    metadata = pq.ParquetFile(path).metadata
    opened = open_proposals("s3://bucket/db")
    fetched(large)
    assert opened.proposals().num_rows == metadata.num_rows
    # All but the four bytes at the beginning.
    assert sum(size for _, size in fetched(large)) == path.stat().st_size - 4
    assert opened.proposals(["bin"]).num_rows == metadata.num_rows
    # The gaps between the columns of small row groups are smaller than what a request is worth.
    assert sum(size for _, size in fetched(large)) < path.stat().st_size / 5


def test_small_files_are_fetched_at_once(remote):
    opened = open_proposals("s3://bucket/db")
    fetched(remote)
    opened.of_image("im_0")
    assert len(fetched(remote)) == 1


def test_a_server_that_fails_is_not_a_damaged_file(remote):
    opened = open_proposals("s3://bucket/db")
    remote.faults.append(Fault(403, path="part-00000"))
    with pytest.raises(StorageError, match=r"^cannot read s3://bucket/db/proposals/part-00000\.parquet: "):
        opened.of_image("im_0")
