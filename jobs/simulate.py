"""The simulate job: what its container runs.

python jobs/simulate.py STUDY [--set FIELD=VALUE]
"""

import sys

from cbt_ray.__main__ import main

if __name__ == "__main__":
    main(["simulate", *sys.argv[1:]])
