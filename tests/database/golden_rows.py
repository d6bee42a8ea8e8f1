"""The rows of a database as PyArrow alone reads them."""

import pyarrow.parquet as pq

TABLES = ("proposals", "images", "rejects")


def all_rows(folder):
    """The rows of every table, as JSON can hold them; masks as the text of their run lengths."""
    found = {}
    for name in TABLES:
        rows = [row for path in sorted((folder / name).iterdir()) for row in pq.read_table(path).to_pylist()]
        found[name] = [_plain(row) for row in rows]
    found["sampling"] = pq.read_table(folder / "sampling.parquet").to_pylist()
    return found


def _plain(row):
    return {key: value.decode("ascii") if isinstance(value, bytes) else value for key, value in row.items()}
