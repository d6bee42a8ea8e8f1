"""Fine-tuning on merged databases."""

import numpy as np
import pytest

from agg_pipeline.database.identity import database_id
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.selecting import split_database
from agg_pipeline.training.mask_rows import choose_rows
from tests.toy_run import make_database


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return open_proposals(make_database(tmp_path_factory.mktemp("whole")).url)


@pytest.fixture(scope="module")
def merged(whole, tmp_path_factory):
    """The databases of every other image, put together again in another order and in other shards."""
    folder = tmp_path_factory.mktemp("parts")
    halves = [[f"im_{number}" for number in range(first, 8, 2)] for first in (0, 1)]
    parts = list(split_database(whole, [str(folder / "a"), str(folder / "b")], halves))
    return merge(parts[::-1], str(folder / "merged"), images_per_shard=2)


def draws(database, source, mode):
    """The masks that 300 draws open."""
    rows = choose_rows([database], source, "both")
    rng = np.random.default_rng(3)
    names = {shard: database.table("proposals", ["proposal_id"], [shard])[0].to_pylist() for shard in database.sidecars}
    drawn = []
    for number in range(300):
        image = number % len(rows.images)
        row = rows.draw(image, rng) if mode == "image" else rows.draw_any(rng)
        drawn.append(names[int(rows.shard[row])][int(rows.row[row])])
    return drawn


@pytest.mark.parametrize("source", ["agg", "object"])
@pytest.mark.parametrize("mode", ["image", "any"])
def test_the_draws_are_those_of_one_run_over_all_images(whole, merged, source, mode):
    assert database_id(merged) == database_id(whole)
    assert len(merged.sidecars) != len(whole.sidecars)
    expected = draws(whole, source, mode)
    assert len(set(expected)) > 5
    assert draws(merged, source, mode) == expected
