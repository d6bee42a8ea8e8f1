"""The draw of the images that a page shows."""

import pytest

from agg_pipeline.report.page_sample import sample_images

IDS = [f"image_{number}" for number in range(30)]


def test_sample_is_in_order_and_contains_smaller_samples():
    large = sample_images(IDS, "toy", "gallery", 12, 0)
    assert large == sorted(large)
    assert len(set(large)) == 12
    assert set(sample_images(IDS, "toy", "gallery", 5, 0)) < set(large)
    assert sample_images(IDS, "toy", "gallery", 100, 0) == list(range(30))
    assert sample_images([], "toy", "gallery", 3, 0) == []


def test_draw_of_an_image_depends_on_its_id_alone():
    chosen = [IDS[position] for position in sample_images(IDS, "toy", "gallery", 5, 0)]
    turned = IDS[::-1]
    assert sorted(turned[position] for position in sample_images(turned, "toy", "gallery", 5, 0)) == sorted(chosen)


@pytest.mark.parametrize("key", [("other", "gallery", 0), ("toy", "contact-sheet", 0), ("toy", "gallery", 1)])
def test_dataset_page_and_seed_change_the_sample(key):
    dataset, purpose, seed = key
    assert sample_images(IDS, dataset, purpose, 5, seed) != sample_images(IDS, "toy", "gallery", 5, 0)


def test_sample_matches_the_recorded_one():
    # Recorded: pages of the same database show the same images in every version.
    assert sample_images(IDS, "toy", "gallery", 5, 0) == [2, 12, 19, 20, 21]
