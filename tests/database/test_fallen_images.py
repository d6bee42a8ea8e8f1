"""Why images fell out of a run, in words."""

import pyarrow as pa
import pytest

from agg_pipeline.database.fallen_images import check_rejects, reasons_in_words
from schemas.errors import UserError
from schemas.tables import REJECTS


def row(image_id, reason, detail=None):
    return {
        "image_id": image_id,
        "instance_id": None,
        "step": None,
        "stage": "load",
        "reason": reason,
        "detail": detail,
    }


def refusal(rows, images, most):
    with pytest.raises(UserError) as error:
        check_rejects(pa.Table.from_pylist(rows, REJECTS), images, most, "out/rejects")
    return str(error.value)


ROWS = [
    row("a", "size_mismatch", "a.png is 3x4, its image 4x3 (rows x columns)"),
    row("b", "unreadable_image", "b.jpg: truncated"),
    row("c", "unreadable_image", "c.jpg: truncated, too"),
    row("d", "killed_worker"),
    row("e", "no_object"),
    row("f", "no_object"),
    row("g", "small", "an object's, not an image's"),
]


def test_most_frequent_reasons_come_first_with_an_example_each():
    assert refusal(ROWS, 8, 0.25) == (
        "50.0% of the images could not be used, more than --max-reject-share 25.0%: "
        "2 x the image file is missing, truncated or of an unknown format (for example b: b.jpg: truncated); "
        "1 x a mask has another size than its image (for example a: a.png is 3x4, its image 4x3 (rows x columns)); "
        "1 x the process that worked on the image died again and again (for example d); "
        "all reasons are in out/rejects"
    )


def test_share_at_the_limit_is_accepted():
    table = pa.Table.from_pylist(ROWS, REJECTS)
    check_rejects(table, 8, 0.5, "")
    check_rejects(REJECTS.empty_table(), 0, 0.0, "")
    assert "57.1%" in refusal(ROWS, 7, 0.5)


def test_only_three_reasons_are_named():
    rows = [*ROWS, row("h", "all_ignored"), row("i", "sparse_object")]
    said = reasons_in_words(rows)
    assert said.count("(for example ") == 3
    assert said.endswith("; 4 of other reasons")


def test_list_of_file_names_is_recognised():
    rows = [row(f"ccp_{n}.jpg", "unreadable_image", f"img/ccp_{n}.jpg.jpg does not exist") for n in range(3)]
    assert refusal(rows, 3, 0.01) == (
        "100.0% of the images could not be used, more than --max-reject-share 1.0%: "
        "3 x the image file is missing, truncated or of an unknown format "
        "(for example ccp_0.jpg: img/ccp_0.jpg.jpg does not exist); "
        "did you mean ccp_0? The list of images has ccp_0.jpg, which is the name of a file; "
        "all reasons are in out/rejects"
    )


def test_ids_with_dots_and_other_errors_have_no_evident_cause():
    assert "did you mean" not in reasons_in_words([row("a.jpg", "unreadable_image", "img/a.jpg: truncated")])
    assert "did you mean" not in reasons_in_words([row("a.1", "unreadable_image", "img/a.1.jpg does not exist")])
    assert "did you mean" not in reasons_in_words([row("a", "unreadable_image", None)])
