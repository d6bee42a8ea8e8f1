"""The learning-rate schedules, by hand."""

import pytest

from agg_pipeline.training.learning_rate import step_decay, warm_up_and_cosine


def test_a_step_falls_once():
    assert [step_decay(epoch, 3, 0.1) for epoch in (0.0, 2.99, 3.0, 9.0)] == [1.0, 1.0, 0.1, 0.1]


def test_a_warm_up_grows_and_a_cosine_falls():
    factors = [warm_up_and_cosine(epoch, 10, 2.0) for epoch in (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 10.0)]
    # At 4.0 a quarter of the cosine is done: (1 + cos 45 degrees) / 2 = 0.853553.
    assert factors == pytest.approx([0.01, 0.2575, 0.505, 1.0, 0.01 + 0.99 * 0.8535534, 0.505, 0.01])


def test_without_warm_up_it_starts_at_the_highest_rate():
    assert [warm_up_and_cosine(epoch, 4, 0.0) for epoch in (0.0, 2.0, 5.0)] == pytest.approx([1.0, 0.505, 0.01])


def test_a_warm_up_as_long_as_the_training_never_falls():
    assert warm_up_and_cosine(1.0, 2, 2.0) == pytest.approx(0.505)
    assert warm_up_and_cosine(2.0, 2, 2.0) == pytest.approx(1.0)
