#!/usr/bin/env bash
# Builds llama-cpp-python's wheel from the source that a lock names, by its hash, and takes the GGUF converter of the very same
# llama.cpp out of it; both come to lie in FOLDER:  requirements/llama.sh LOCK FOLDER
# Needs python with pip and uv (bootstrap.txt) first on PATH, gcc and g++. CMAKE_ARGS adds to how it is compiled.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=${1:?usage: llama.sh LOCK FOLDER} folder=${2:?usage: llama.sh LOCK FOLDER}
mkdir -p "$folder"
python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python --require-hashes \
  -r <(awk '/^[^ ]/ { llama = /^llama-cpp-python==/ } llama' "$lock") -d "$folder"
printf '[%3d s] llama.cpp: compiling (about 100 s on two idle cores)\n' "$SECONDS"
tar -xzf "$folder"/llama_cpp_python-*.tar.gz -C "$folder" --strip-components=3 --wildcards \
  '*/vendor/llama.cpp/convert_hf_to_gguf.py' '*/vendor/llama.cpp/conversion' '*/vendor/llama.cpp/gguf-py'
CMAKE_ARGS="-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$here/lean.cmake ${CMAKE_ARGS:-}" \
  uv build --quiet --wheel --out-dir "$folder" "$folder"/llama_cpp_python-*.tar.gz
rm -f "$folder"/llama_cpp_python-*.tar.gz
