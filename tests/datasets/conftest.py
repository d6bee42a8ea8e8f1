"""Fixtures for the tests of data sets."""

import pytest


@pytest.fixture(scope="session")
def parts_mini(shared, tmp_path_factory):
    """The real sample; some checkouts hold its links as small text files, which are left out."""
    data = shared / "data"
    root = tmp_path_factory.mktemp("parts")
    for name in ("annotations", "class_names.json"):
        (root / name).symlink_to(data / "parts-mini" / name)
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        for path in (data / "parts-mini" / "annotations" / split).glob("*.png"):
            link = root / "images" / split / f"{path.stem}.jpg"
            link.symlink_to(data / "sbd-mini" / "img" / f"{path.stem}.jpg")
    return root
