"""Words of messages: numbers, and what a wrong name was meant to be."""

import pytest

from schemas.words import duration, plural, possible, printable, printable_lines, probably, speed


def test_a_count_and_its_noun():
    assert [plural(n, "image") for n in range(3)] == ["0 images", "1 image", "2 images"]
    assert [plural(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min"), (7290, "2 h 1 min")],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("per_second", "words"),
    [
        (123.4, "123.4 images/s"),
        (1.694, "1.69 images/s"),
        (0.1, "0.10 images/s"),
        (0.05, "20 s per image"),
        (0.01, "1.7 min per image"),
        (1 / 5400, "1.5 h per image"),
        (0.0, "0.00 images/s"),
    ],
)
def test_a_slow_speed_is_put_as_the_time_per_image(per_second, words):
    assert speed(per_second, "image") == words


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sdb", "sbd"), ("SBD", "sbd"), ("val", ""), ("vehicel", "Vehicle"), ("coco2", "coco"), ("", ""), ("zzz", "")],
)
def test_what_a_name_was_probably_meant_to_be(name, meant):
    assert probably(name, iter(("coco", "sbd", "train", "Vehicle"))) == meant


def test_what_is_possible_is_listed_in_its_order():
    assert possible("traim", iter(("train", "test"))) == "did you mean 'train'? Possible: train, test"
    assert possible("zzz", ("train", "test")) == "possible: train, test"
    assert possible("zzz", ("a\n\x1b[2J", "test")) == "possible: a\\n\\x1b[2J, test"
    # Of an older year, not another split.
    assert possible("val2017", ("train2017",)) == "possible: train2017"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café 日本", "café 日本"),
        ("", ""),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred\x07\x9b2J", "\\x1b[31mred\\x07\\x9b2J"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
        ("\ud800", "\\ud800"),
        ("a\u2028b\u202ec\u200b", "a\\u2028b\\u202ec\\u200b"),
        ("\u2066a\u2069\ufeff", "\\u2066a\\u2069\\ufeff"),
        # Spaces and joiners that languages need.
        (
            "\u65e5\u3000\u672c 10\u00a0m 1\u2009000 \u0645\u06cc\u200c\u062e",
            "\u65e5\u3000\u672c 10\u00a0m 1\u2009000 \u0645\u06cc\u200c\u062e",
        ),
    ],
)
def test_control_characters_are_shown_as_escapes(text, shown):
    assert printable(text) == shown


def test_lines_stay_lines():
    assert printable_lines("a\x1b[1m\nb\r\n") == "a\\x1b[1m\nb\\r\n"
