"""The evaluate job: what its container runs.

python jobs/evaluate.py STUDY [--set FIELD=VALUE]
"""

import sys

from cbt_ray.container import run_job

if __name__ == "__main__":
    run_job("evaluate", sys.argv[1:])
