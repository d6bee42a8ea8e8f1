"""What was read last is held within a limit."""

import copy

from agg_pipeline.storage.recent import Recent


def test_longest_unused_goes_first():
    made = []
    recent = Recent(5, len)

    def get(key, size):
        return recent.get(key, lambda: made.append(key) or "x" * size)

    assert get("a", 2) == "xx"
    get("b", 2)
    get("a", 2)
    get("c", 2)
    assert made == ["a", "b", "c"]
    get("a", 2)
    get("b", 2)
    assert made == ["a", "b", "c", "b"], "b had to go for c, a was used after it"


def test_value_beyond_the_limit_is_held_alone():
    recent = Recent(5, len)
    recent.get("a", lambda: "x")
    recent.get("b", lambda: "x" * 9)
    assert recent.get("b", lambda: "made again") == "x" * 9
    assert recent.get("a", lambda: "made again") == "made again"


def test_what_is_found_counts_as_used():
    recent = Recent(5, len)
    assert recent.find("a") is None
    recent.get("a", lambda: "xx")
    recent.get("b", lambda: "yy")
    assert recent.find("a") == "xx"
    recent.get("c", lambda: "zz")
    assert (recent.find("a"), recent.find("b"), recent.find("c")) == ("xx", None, "zz")


def test_copy_for_another_process_is_empty():
    recent = Recent(5, len)
    recent.get("a", lambda: "x")
    assert copy.copy(recent).get("a", lambda: "made again") == "made again"
