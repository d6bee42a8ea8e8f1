"""``python -m benchmarks``: every benchmark that needs nothing but the project, one after the other.

Arguments (``--dataset grabcut --data FOLDER``) go to the benchmark of evaluation, which is meant for photographs.
"""

import subprocess
import sys

for name in ("bench_forward", "bench_resize", "bench_overhead", "bench_pipeline", "bench_evaluate", "bench_memory"):
    print(f"== {name}", flush=True)
    arguments = sys.argv[1:] if name == "bench_evaluate" else []
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)
