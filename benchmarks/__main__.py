"""``python -m benchmarks``: every benchmark that needs nothing but the project, one after the other.

Arguments (``--dataset grabcut --data FOLDER``) go to the benchmark of evaluation, which is meant for photographs.
"""

import subprocess
import sys

NAMES = ("forward", "resize", "overhead", "pipeline", "evaluate", "train", "memory")

for name in NAMES:
    print(f"== bench_{name}", flush=True)
    arguments = sys.argv[1:] if name == "evaluate" else []
    subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}", *arguments], check=True)
