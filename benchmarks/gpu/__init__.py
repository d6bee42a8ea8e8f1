"""The parts of ``benchmarks.bench_gpu``. None of them needs Dask, PyArrow or files."""
