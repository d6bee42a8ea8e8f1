"""What is done: one module per step of the pipeline, pure functions over records."""
