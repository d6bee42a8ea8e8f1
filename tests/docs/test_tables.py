"""The page of all columns."""

from docs.tables import PAGE, page


def test_the_page_is_that_of_the_schemas():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m docs.tables"
