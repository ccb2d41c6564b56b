#!/usr/bin/env bash
# Installs a lock into .venv with nothing but Python 3.11, gcc and g++:  requirements/install.sh LOCK   (local or dev)
# llama.sh builds llama-cpp-python and puts the GGUF converter of the very same llama.cpp into .venv/llama.cpp, while everything else
# is downloaded.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here") lock=${1:?usage: install.sh local|dev}
venv=$root/.venv python=${PYTHON:-python3.11}
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "install: $python is not Python 3.11; set PYTHON=" >&2; exit 2; }

say "virtual environment in .venv"
[ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$here/bootstrap.txt"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}" VIRTUAL_ENV=$venv
uv=$venv/bin/uv work=$venv/llama.cpp
torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$here/train.in")

# Lines of a lock: the package llama-cpp-python alone, or everything else.
lock_of() { awk -v only="$1" '/^[^ ]/ { llama = /^llama-cpp-python==/ } llama == only' "$here/$lock.txt"; }

if [ "$(cat "$work/.built" 2>/dev/null)" = "$(lock_of 1 | head -1)" ]; then llama=; else
  say "llama.cpp: fetching its source"
  PATH=$venv/bin:$PATH "$here/llama.sh" "$here/$lock.txt" "$work" >"$venv/llama.log" 2>&1 & llama=$!
fi
say "packages of $lock.txt ($(grep -c == "$here/$lock.txt"))"
"$uv" pip install --quiet --no-deps --require-hashes -r <(lock_of 0)
say "$torch (where it is the CUDA build, some gigabytes)"
# The one package without a hash: a CPU or a CUDA build, as the machine needs. The latter brings NVIDIA's libraries, which are in no
# lock; the lock keeps it from moving anything else.
"$uv" pip install --quiet --constraints "$here/$lock.txt" ${TORCH_FLAGS-$([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=auto)} "$torch"
"$uv" pip install --quiet --no-deps --no-build-isolation -e "$root"
if [ -n "$llama" ]; then
  ! kill -0 "$llama" 2>/dev/null || say "llama.cpp: waiting for the compiler"
  while kill -0 "$llama" 2>/dev/null; do
    sleep 5; [ $((SECONDS % 20)) -ge 5 ] || say "llama.cpp: still compiling"
  done
  wait "$llama" || { tail -30 "$venv/llama.log" >&2; echo "install: llama.cpp did not build; the log is .venv/llama.log" >&2; exit 1; }
  "$uv" pip install --quiet --no-deps "$work"/llama_cpp_python-*.whl
  rm -f "$work"/llama_cpp_python-*.whl
  lock_of 1 | head -1 >"$work/.built"
fi
say "ready"
