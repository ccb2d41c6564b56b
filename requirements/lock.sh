#!/usr/bin/env bash
# Compiles requirements/*.in into *.txt with hashes. torch, and what goes with one build of it, is left out: that depends on the
# machine, so install.sh and the train image pick it.
# `make lock` runs this; where a CPU wheel of torch lies in PIP_FIND_LINKS, uv is told, or it would lock the CUDA packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
for name in bootstrap base train cuda local dev; do
  uv pip compile --quiet --generate-hashes --no-emit-package torch --no-emit-package torchvision --no-emit-package triton --no-annotate --no-header --python-version 3.11 --override overrides.in "$@" \
    $([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=cpu) "$name.in" -o "$name.txt"
  echo "locked $name.txt: $(grep -c == "$name.txt") packages"
done
