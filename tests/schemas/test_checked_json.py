"""JSON that is decoded and checked."""

import json
import pickle
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import pytest

from schemas.checked_json import JsonError, MismatchError, Name, PlainName, checked, decode, mended
from schemas.errors import UserError
from schemas.limits import JSON_DEPTH, TEXT_LENGTH


@dataclass(frozen=True)
class Part:
    """A value with a range, a mapping and a default."""

    size: Annotated[int, msgspec.Meta(ge=1, le=9)]
    names: dict[str, str] = field(default_factory=dict)


def refused(content, kind=Any):
    with pytest.raises(UserError) as error:
        decode(content, kind, "plan.json")
    assert str(error.value).isprintable()
    return str(error.value)


def test_valid_documents_are_decoded():
    assert decode('{"size": 3, "names": {"é": "\\ud83d\\ude00"}, "more": null}', Part, "p") == Part(3, {"é": "😀"})
    assert decode(b"\xef\xbb\xbf[1, -2.5e3, true]", list, "p") == [1, -2500.0, True]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("", "input data was truncated"),
        ("{", "input data was truncated"),
        ("[1]2", "trailing characters (byte 4)"),
        ("[NaN]", "invalid character (byte 1)"),
        ("[-Infinity]", "invalid character (byte 2)"),
        ('["\\udc00 text"]', "invalid utf-16 surrogate pair (byte 8)"),
        (b'["\xff"]', "it is not UTF-8"),
        ('["\ud800"]', "it is not UTF-8"),
        ('["\x1b"]', "invalid character (byte 2)"),
        (b"\x00", "invalid character (byte 0)"),
    ],
)
def test_what_is_not_json_is_refused(content, detail):
    assert refused(content) == f"plan.json is not JSON: {detail}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "plan.json: expected object, got array"),
        ("{}", "plan.json: object missing required field size"),
        ('{"size": true}', "plan.json: expected int, got bool, at size"),
        ('{"size": 1.5}', "plan.json: expected int, got float, at size"),
        ('{"size": "1"}', "plan.json: expected int, got str, at size"),
        ('{"size": 0}', "plan.json: expected int >= 1, at size"),
        ('{"size": 10000000000000000000000}', "plan.json: expected int <= 9, at size"),
        ('{"size": 1, "names": {"a": 1}}', "plan.json: expected str, got int, at names[...]"),
    ],
)
def test_values_of_another_type_are_refused(content, message):
    assert refused(content, Part) == message


def test_numbers_that_no_type_holds_are_refused():
    assert refused("[1e400]") == "plan.json: number out of range, at [0]"
    assert refused(f"[{'1' * 5000}]") == "plan.json: integer value out of range, at [0]"


def test_nesting_has_a_limit():
    deepest = "[" * JSON_DEPTH + "]" * JSON_DEPTH
    assert json.dumps(decode(deepest, list, "p")) == deepest
    message = f"plan.json is nested deeper than {JSON_DEPTH} levels"
    assert refused(f"[{deepest}]") == message
    assert refused('{"a":' * 100_000) == message
    assert refused("[" * 3_000_000) == message


def test_brackets_in_texts_are_no_nesting():
    text = '[{"\\' * 1000
    assert decode(json.dumps([text, [text]]), list, "p") == [text, [text]]


def test_content_in_a_message_is_short_and_printable():
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        size: int = 1

    assert refused('{"a\\u001b]0;": 1}', Strict) == "plan.json: object contains unknown field a\\x1b]0;"
    assert len(refused(json.dumps({"a" * 10_000: 1}), Strict)) < 400


def test_values_are_checked_like_documents():
    assert checked({"size": 3, "names": {}}, Part, "it") == Part(3)
    with pytest.raises(UserError) as error:
        checked({"size": True}, Part, "it")
    assert str(error.value) == "it: expected int, got bool, at size"


def test_nesting_is_counted_inside_of_dataclasses():
    @dataclass(frozen=True)
    class Plan:
        config: dict[str, Any]

    levels = JSON_DEPTH - 2
    assert decode('{"config": {"a": ' + "[" * levels + "]" * levels + "}}", Plan, "p")
    assert "nested deeper" in refused('{"config": {"a": [' + "[" * levels + "]" * levels + "]}}", Plan)


@pytest.mark.parametrize("name", ["\0", "\n", "a\n", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029"])
def test_plain_names_are_without_control_characters(name):
    with pytest.raises(UserError) as error:
        decode(json.dumps([name]), list[PlainName], "x.json")
    assert str(error.value) == "x.json: expected str without control characters and lone surrogates, at [0]"
    assert decode(json.dumps([f"né e{ord(name[-1])}"]), list[PlainName], "x.json") == [f"né e{ord(name[-1])}"]


def test_names_are_short_and_without_nul():
    assert decode(json.dumps("a" * TEXT_LENGTH), Name, "p") == "a" * TEXT_LENGTH
    assert refused(json.dumps("a" * (TEXT_LENGTH + 1)), Name) == "plan.json: expected str of length <= 1024"
    assert refused('{"size": 1, "names": {"a": "\\u0000"}}', dict[str, int | dict[str, Name]]) == (
        "plan.json: expected str without NUL and lone surrogates, at [...][...]"
    )


def test_numbers_in_texts_and_whole_fractions_are_integers_where_they_may_be():
    assert decode('{"size": "7"}', Part, "p", strict=False).size == 7
    assert decode('{"size": 7.0}', Part, "p", strict=False).size == 7
    with pytest.raises(UserError, match="expected int, got float, at size"):
        decode('{"size": 7.5}', Part, "p", strict=False)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (json.dumps({"a": [float("nan"), float("-inf")], "NaN": "NaN"}), {"a": [None, None], "NaN": "NaN"}),
        (r'["\ud800", "\\ud800", "\ud83d\ude00", "\udc00\ud800", "\ud7ff", "\""]',
         ["\0", r"\ud800", "😀", "\0\0", "\ud7ff", '"']),
    ],
)  # fmt: skip
def test_what_only_python_writes_is_mended(content, value):
    with pytest.raises(UserError):
        decode(content, Any, "p")
    assert decode(mended(content.encode()), Any, "p") == value


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        ("[1", JsonError, " is not JSON: input data was truncated"),
        (b'"\xff"', JsonError, " is not JSON: it is not UTF-8"),
        ("[" * 100 + "]" * 100, JsonError, f" is nested deeper than {JSON_DEPTH} levels"),
        ('["a"]', MismatchError, ": expected int, got str, at [0]"),
    ],
)
def test_errors_tell_the_document_and_the_problem_apart(content, kind, problem):
    with pytest.raises(JsonError) as caught:
        decode(content, list[int] if kind is MismatchError else Any, "plan.json")
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert type(error) is kind
    assert (error.where, error.problem, str(error)) == ("plan.json", problem, f"plan.json{problem}")
