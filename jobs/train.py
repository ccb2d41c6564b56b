"""The train job: what its container runs.

python jobs/train.py STUDY --model NAME [--set FIELD=VALUE]
"""

import sys

from cbt_ray.container import run_job

if __name__ == "__main__":
    run_job("train", sys.argv[1:])
