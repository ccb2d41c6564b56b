"""The generate job: what its container runs.

python jobs/generate.py STUDY [--set FIELD=VALUE]
"""

import sys

from cbt_ray.__main__ import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
