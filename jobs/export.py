"""The export job: what its container runs.

python jobs/export.py STUDY --model NAME [--set FIELD=VALUE]
"""

import sys

from cbt_ray.container import run_job

if __name__ == "__main__":
    run_job("export", sys.argv[1:])
