"""The train job: what its container runs.

python jobs/train.py STUDY --model NAME [--set FIELD=VALUE]
"""

import sys

from cbt_ray.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
