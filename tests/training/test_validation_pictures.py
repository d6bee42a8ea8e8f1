"""The pictures of the validation steps."""

from agg_pipeline.training.validation_pictures import delete_pictures_after, pictures


def test_pictures_of_later_steps_are_deleted(tmp_path):
    for step in (0, 40, 1000):
        (tmp_path / f"step-{step:07d}.png").write_bytes(b"")
    assert list(pictures(tmp_path)) == [0, 40, 1000]
    delete_pictures_after(tmp_path, 40)
    assert list(pictures(tmp_path)) == [0, 40]
    delete_pictures_after(tmp_path / "nowhere", 0)
