"""What a training says on the terminal."""

from agg_pipeline.training.training_lines import LevelMeans, step_line, validation_lines
from agg_pipeline.training.training_loop import StepDone
from schemas.numbers import GRANULARITIES


def test_a_step():
    done = StepDone(step=3, steps=10, epoch=1, loss=9.0, lr=1e-3, samples=24, seconds=12.0, waited=3.0)
    assert step_line(done, 0.25, 61.0) == (
        "step 3 of 10, loss 0.2500, 2.0 samples/s, 25% waiting for data, 1 min 1 s left"
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
