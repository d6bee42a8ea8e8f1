"""``python -m benchmarks``: runs every benchmark that needs no data, one after the other.

Arguments, such as ``--dataset grabcut --data FOLDER``, are passed to the benchmark of evaluation, which is meant for
photographs.
"""

import subprocess
import sys

NAMES = ("forward", "resize", "overhead", "pipeline", "evaluate", "train", "memory")

for name in NAMES:
    print(f"== bench_{name}", flush=True)
    arguments = sys.argv[1:] if name == "evaluate" else []
    subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}", *arguments], check=True)
