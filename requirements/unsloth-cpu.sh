#!/usr/bin/env bash
# Installs Unsloth for a CPU, on which only tests can run it, into an environment of its own: requirements/unsloth-cpu.sh [FOLDER],
# .unsloth without one; 2.6 GB. Its packages are those of the train image with a GPU, without Ray and llama.cpp, which these tests do
# not need, and Triton of vLLM's lock, the one that has it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here") venv=${1:-$(dirname "$here")/.unsloth}
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
uv=$root/.venv/bin/uv python=$venv/bin/python
"$uv" venv --quiet --allow-existing --python "${PYTHON:-python3.11}" "$venv"
"$uv" pip install --quiet --python "$python" --no-deps --require-hashes \
  -r <(awk '/^[^ ]/ { out = /^(ray|llama-cpp-python)==/ } !out' "$here/cuda.txt") \
  -r <(awk '/^[^ ]/ { triton = /^triton==/ } triton' "$here/vllm.txt")
"$uv" pip install --quiet --python "$python" --no-deps $([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=cpu) \
  "$(grep ^torch== "$here/torch.txt")"
echo "Unsloth $(sed -n 's/^unsloth==\([^ ]*\).*/\1/p' "$here/cuda.txt") for a CPU: $python"
