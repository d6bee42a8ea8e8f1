"""``python -m benchmarks``: every benchmark that needs nothing but the project, one after the other."""

import subprocess
import sys

for name in ("bench_forward", "bench_resize", "bench_overhead", "bench_pipeline", "bench_evaluate", "bench_memory"):
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
