"""What a training says on the terminal."""

from agg_pipeline.training.training_loop import StepDone
from agg_pipeline.training.training_monitor import LevelMeans, step_line, validation_lines
from schemas.numbers import GRANULARITIES


def step(number, seconds, waited):
    """A step of a training of 105 steps of 8 samples that was resumed after 4 steps."""
    samples = 8 * (number - 4)
    return StepDone(step=number, steps=105, epoch=1, loss=9.0, lr=1e-3, samples=samples, seconds=seconds, waited=waited)


def test_a_step_and_the_time_left():
    # The loaders start in the first 10 s; then a step takes 2 s, 0.5 s of which is waiting from the second step on.
    first = step(5, 12.0, 10.0)
    assert step_line(first, first, 0.25) == (
        "step 5 of 105, loss 0.2500, 4.00 samples/s, 0% waiting for data, 3 min 20 s left"
    )
    assert step_line(first, step(15, 32.0, 15.5), 0.5) == (
        "step 15 of 105, loss 0.5000, 4.00 samples/s, 25% waiting for data, 3 min 0 s left"
    )


def test_a_validation_step_names_its_granularities():
    levels = [LevelMeans("object", 8, [n / 10 for n in range(1, 11)]), LevelMeans("part", 1, [0.0625] * 10)]
    assert validation_lines(40, GRANULARITIES, levels).splitlines() == [
        "validation at step 40, mean IoU after 1 click:",
        "  granularity   0.1   0.2   0.3   0.4   0.5   0.6   0.7   0.8   0.9   1.0",
        "  8 objects   0.100 0.200 0.300 0.400 0.500 0.600 0.700 0.800 0.900 1.000",
        "  1 part      0.062 0.062 0.062 0.062 0.062 0.062 0.062 0.062 0.062 0.062",
    ]


def test_a_model_without_granularity_has_one_line():
    levels = [LevelMeans("object", 8, [0.5]), LevelMeans("part", 3, [0.25])]
    assert validation_lines(0, (None,), levels) == (
        "validation at step 0, mean IoU after 1 click: 0.500 (8 objects), 0.250 (3 parts)"
    )
