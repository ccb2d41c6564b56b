#!/usr/bin/env bash
# Installs a lock (local or dev) into .venv with nothing but Python 3.11, gcc and g++:
#   requirements/install.sh LOCK
# llama.sh builds llama-cpp-python, or takes it from the cache, and puts the GGUF converter of the
# very same llama.cpp into .venv/llama.cpp, while everything else is downloaded. In the end the
# build has to decode.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here") lock=${1:?usage: install.sh local|dev}
venv=$root/.venv python=${PYTHON:-python3.11}
case $lock in dev) size="2.8 GB" ;; *) size="2.3 GB" ;; esac
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "install: $python is not Python 3.11; set PYTHON=" >&2; exit 2; }

say "set-up: an environment in .venv, $size of disk; about 3 minutes on two idle cores the first time,"
say "most of them to compile llama.cpp for this CPU; half a minute where that build is in the cache"
[ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$here/bootstrap.txt"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}" VIRTUAL_ENV=$venv
uv=$venv/bin/uv work=$venv/llama.cpp
torch=$(grep ^torch== "$here/torch.txt")

# Shows nothing but what is of interest in the end; the compiler's own words are in the log.
PATH=$venv/bin:$PATH "$here/llama.sh" "$here/$lock.txt" "$work" >"$venv/llama.log" 2>&1 & llama=$!
say "packages of $lock.txt ($(grep -c == "$here/$lock.txt"))"
"$uv" pip install --quiet --no-deps --require-hashes \
  -r <(awk '/^[^ ]/ { llama = /^llama-cpp-python==/ } !llama' "$here/$lock.txt")
say "$torch (where it is the CUDA build, some gigabytes)"
# The one package without a hash: a CPU or a CUDA build, as the machine needs. The latter brings NVIDIA's libraries, which are in no
# lock; the lock keeps it from moving anything else.
"$uv" pip install --quiet --constraints "$here/$lock.txt" ${TORCH_FLAGS-$([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=auto)} "$torch"
"$uv" pip install --quiet --no-deps --no-build-isolation -e "$root"
! kill -0 "$llama" 2>/dev/null || say "llama.cpp: waiting for the compiler"
while kill -0 "$llama" 2>/dev/null; do
  sleep 1; [ $((SECONDS % 20)) -ne 0 ] || say "llama.cpp: still compiling"
done
wait "$llama" || {
  code=$?
  tail -30 "$venv/llama.log" >&2
  echo "install: llama.cpp did not build; the log is .venv/llama.log" >&2
  exit $code
}
if [ "$(cat "$work/.installed" 2>/dev/null)" != "$(cat "$work/.key")" ]; then
  sed -nE 's/^\[[^]]*\] (llama\.cpp: .*(taken from|damaged|not kept).*)/\1/p' "$venv/llama.log"
  "$uv" pip install --quiet --no-deps --reinstall "$work"/llama_cpp_python-*.whl
  rm -f "$work"/llama_cpp_python-*.whl
  cp "$work/.key" "$work/.installed"
fi
say "llama.cpp: trying it"
"$venv/bin/python" -m cbt_ray.llm.first_decode
say "ready"
