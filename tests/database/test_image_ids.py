"""What a user may have meant by an image id that is not there."""

import pytest

from agg_pipeline.database.image_ids import similar, without_ending


@pytest.mark.parametrize(
    ("image_id", "meant"),
    [
        ("ccp_0001.jpg", "ccp_0001"),
        ("ccp_0001.JPEG", "ccp_0001"),
        ("bear/00000.png", "bear/00000"),
        ("/JPEGImages/2008_000002.jpg /SegmentationClassAug/2008_000002.png", "2008_000002"),
        ("2008_000002", "2008_000002"),
        ("version1.5", "version1.5"),
        (".jpg", ".jpg"),
        ("two words", "two words"),
        ("", ""),
    ],
)
def test_id_without_the_ending_of_a_file(image_id, meant):
    assert without_ending(image_id) == meant


def test_similar_ids():
    known = [f"im_{n}" for n in range(20)]
    assert similar("im_7.jpg", known) == ["im_7"]
    assert similar("imm_7", known)[0] == "im_7"
    assert len(similar("im_1x", known)) == 3
    assert similar("something", known) == []
    assert similar("im_1", []) == []
