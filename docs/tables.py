"""Writes schemas/README.md from the Arrow schemas: ``.venv/bin/python -m docs.tables``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from schemas.tables import EVALUATION_FILES, FILES, FORMAT_MINOR, FORMAT_VERSION, REASONS, SAMPLING

PAGE = Path(__file__).parents[1] / "schemas" / "README.md"

INTRODUCTION = f"""# Tables and documents

Written by `python -m docs.tables` from `schemas/tables.py`; do not edit it by hand.

This package holds the records that stages hand to each other, the configuration, and the formats of all files: Arrow
schemas of the tables (`tables.py`) and types of the JSON documents (`documents.py`; the same as JSON Schemas in
`json/`, written by `python -m tools.json_schemas`). [The database format](../docs/reference/database-format.md)
describes the files and how they fit together.

## Rules for changes

The format of databases has version {FORMAT_VERSION}.{FORMAT_MINOR}: a major and a minor number, in `plan.json` and in
the metadata of every Parquet file. It is frozen:

- An existing column keeps its name, type, unit, nullability, place and meaning.
- A new column comes after all others. A new column or a new key of a JSON document raises the minor number.
- Readers accept every minor number. They ignore columns and keys that they do not know; commands that write a database
  from others (`merge`, `filter`, `split`, ...) pass such columns on.
- Where an older minor version lacks a column, readers fill in the value that its databases imply (`source` is 0 in
  1.0).
- Any other change raises the major number. Readers refuse other major numbers with a message that names both.
- A reason of rejects may be added with a minor number; readers show unknown reasons unchanged.
- `tests/database/golden` holds a database of every version that was published. These files never change, and each must
  be read, validated and identified as on the day it was written.

## Units and coordinates

Pixels are counted from 0. A point is (`row`, `col`), from the top left. A box is `x`, `y`, `w`, `h`: column and row of
its first pixel, width and height. Masks are compressed COCO run lengths, column by column, for (`height`, `width`).
Every field of the Arrow schemas has its unit and its nullability as metadata (`unit`, `nullable`).
"""


def page() -> str:
    """The text of the page."""
    tables = {**FILES, "sampling": SAMPLING}
    reasons = (f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    parts = [
        INTRODUCTION,
        "## Tables of a database\n",
        *_tables(tables),
        "### Reasons in `rejects`\n\n| reason | meaning |\n| --- | --- |",
        *reasons,
        "\n## Tables of an evaluation\n",
        *_tables(EVALUATION_FILES),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _tables(tables: Mapping[str, pa.Schema]) -> Iterator[str]:
    for name, schema in tables.items():
        yield f"### `{name}`\n\n| column | type | unit and meaning |\n| --- | --- | --- |"
        for field in schema:
            yield f"| `{field.name}` | {_type(field)} | {field.metadata[b'unit'].decode()} |"
        yield ""


def _type(field: pa.Field) -> str:
    return _words(field.type) + (", null" if field.nullable else "")


def _words(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_words(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"struct of {', '.join(f'{part.name} {_words(part.type)}' for part in kind)}"
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
