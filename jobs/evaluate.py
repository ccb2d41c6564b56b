"""The evaluate job: what its container runs.

python jobs/evaluate.py STUDY [--set FIELD=VALUE]
"""

import sys

from cbt_ray.__main__ import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
