#!/usr/bin/env bash
# Installs Unsloth for a CPU, on which only tests can run it, into an environment of its own: requirements/unsloth-cpu.sh [FOLDER],
# .unsloth without one; 2.6 GB. Its packages are those of the train image with a GPU, without Ray and llama.cpp, which these tests do
# not need, and Triton of vLLM's lock, the one that has it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/apart.sh" unsloth "$@"
locked -r <(awk '/^[^ ]/ { out = /^(ray|llama-cpp-python)==/ } !out' "$here/cuda.txt") \
  -r <(awk '/^[^ ]/ { triton = /^triton==/ } triton' "$here/vllm.txt")
torch_for_cpu
echo "Unsloth $(sed -n 's/^unsloth==\([^ ]*\).*/\1/p' "$here/cuda.txt") for a CPU: $python"
