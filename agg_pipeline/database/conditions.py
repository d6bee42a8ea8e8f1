"""Conditions in SQL on masks: pure functions of the columns of one mask, whose answer is always the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from schemas import limits
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.tables import KINDS, REASONS
from schemas.words import excerpt, possible

Rows = Callable[[pa.Table], pa.ChunkedArray]
"""Which rows of ``proposals`` are wanted, as bools."""
PURE = """
    select function_name from duckdb_functions() group by 1
    having bool_and(stability = 'CONSISTENT') and not bool_and(regexp_matches(return_type, '^(DATE|TIME|INTERVAL)'))
"""
"""Names of the functions that always give the same answer. DuckDB says so of some that read the clock, too; no column
holds a time, so those that only give times are left out."""
OTHER_ROWS = {"SUBQUERY": "a query in it", "WINDOW": "a window"}
"""Expressions that need other rows, by DuckDB's name of their class."""


def condition(where: str, columns: pa.Table) -> Rows:
    """A condition in SQL over the columns of ``proposals``, as those of an empty table.

    Raises:
        UserError: it is no condition of a single row alone, such as one that draws or counts; a name that is unknown is
            answered with the columns.
    """
    limit = str(limits.CONDITION_DEPTH)
    connection = duckdb.connect(
        config={"enable_external_access": "false", "threads": "1", "max_expression_depth": limit}
    )
    # Not that of this machine.
    connection.execute("set timezone = 'UTC'")
    query = _query(where)
    _check_single_rows(connection, where, columns.column_names)

    def rows(proposals: pa.Table) -> pa.ChunkedArray:
        connection.register("proposals", proposals)
        try:
            found: pa.Table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(_wrong(where, str(error), proposals.column_names)) from error
        if found.num_rows != proposals.num_rows or found.schema.field("wanted").type != pa.bool_():
            raise UserError(f"--where {excerpt(where)!r} is no condition: it is not true or false for each mask")
        return pc.fill_null(found["wanted"], False)

    rows(columns)
    return rows


def _query(where: str) -> str:
    return f"select ({where}\n) as wanted from proposals"


def _check_single_rows(connection: duckdb.DuckDBPyConnection, where: str, columns: Sequence[str]) -> None:
    """UserError if a condition needs other rows than its own, or gives another answer each time.

    The rows of a shard are asked at a time: such a query would depend on the shards.
    """
    parsed = _parsed(connection, _query(where))
    # Words of a condition may close the bracket around it. Then the query is another one, or has more columns.
    others = [_frame(each) for each in (parsed, _parsed(connection, _query("true")))]
    if not parsed.get("error") and others[0] != others[1]:
        raise UserError(f"--where {excerpt(where)!r} is no single condition")
    pure = {name for (name,) in connection.execute(PURE).fetchall()}
    known = {name.lower() for name in columns}
    for node, names in _expressions(parsed.get("statements", []), known):
        kind, function = node["class"], node.get("function_name")
        if kind in OTHER_ROWS or (kind == "FUNCTION" and function not in pure):
            raise UserError(
                f"--where {excerpt(where)!r} cannot be used: {OTHER_ROWS.get(kind, f'{function}()')} needs more than "
                "the columns of one mask, or gives another answer each time"
            )
        # DuckDB takes other names for functions, such as current_date, or for numbers of rows.
        if kind == "COLUMN_REF" and not _is_known(node["column_names"], names):
            raise UserError(_no_column(".".join(node["column_names"]), columns))


def _parsed(connection: duckdb.DuckDBPyConnection, query: str) -> Json:
    """What DuckDB makes of a query."""
    (text,) = connection.execute("select json_serialize_sql(?)", [query]).fetchone() or ("{}",)
    parsed: Json = json.loads(text)
    return parsed


def _frame(parsed: Json) -> list[Any]:
    """A parsed query without its columns, but for their names and number, and without places in its text."""
    frames = []
    for statement in parsed.get("statements", []):
        node = statement["node"]
        columns = [column["alias"] for column in node.get("select_list", [])]
        frames.append(_without_places({**node, "select_list": columns}))
    return frames


def _without_places(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_places(each) for key, each in tree.items() if not key.startswith("query_location")}
    return [_without_places(each) for each in tree] if isinstance(tree, list) else tree


def _expressions(tree: Any, names: Collection[str]) -> Iterator[tuple[dict[str, Any], Collection[str]]]:
    """Every expression in what DuckDB has parsed, and the names in lower case that it may use."""
    if isinstance(tree, dict) and tree.get("syntax_type") == "LAMBDA_KEYWORD":
        own = {node["column_names"][0].lower() for node, _ in _expressions(tree["lhs"], ()) if "column_names" in node}
        yield from _expressions(tree["expr"], {*names, *own})
        return
    if isinstance(tree, dict) and "class" in tree:
        yield tree, names
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _expressions(each, names)


def _is_known(path: Sequence[str], names: Collection[str]) -> bool:
    """Whether a path such as ``bbox.x`` or ``proposals.bbox.x`` begins with one of the names."""
    first, second = [*map(str.lower, path), ""][:2]
    return first in names or (first == "proposals" and second in names)


def _wrong(where: str, said: str, columns: Sequence[str]) -> str:
    unknown = re.search(r'column "([^"]*)" not found', said)
    if unknown:
        return _no_column(unknown[1], columns)
    if "expression depth" in said:
        return (
            f"--where {excerpt(where)!r} is nested deeper than {limits.CONDITION_DEPTH} levels; filter in several steps"
        )
    if 'at or near ")"' in said and ")" not in where:
        # The bracket that is put around it.
        return f"--where {excerpt(where)!r} cannot be used: something is missing at its end"
    return f"--where {excerpt(where)!r} cannot be used: {excerpt(said.partition(chr(10))[0])}"


def _no_column(name: str, columns: Sequence[str]) -> str:
    texts = f"; a text is written in single quotes, '{name}'" if name in (*KINDS, *REASONS) else ""
    return f"--where: there is no column {excerpt(name)!r}; {possible(name, columns)}{texts}"
