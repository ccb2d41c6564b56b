#!/usr/bin/env bash
# Puts llama-cpp-python's wheel, and the GGUF converter of the very same llama.cpp, into FOLDER:
#   requirements/llama.sh LOCK FOLDER
# Both come from the source that the lock names by its hash. LLAMA=portable compiles for any CPU in
# place of this one, and beside that for better ones; llama.cmake says how. Needs python with pip
# and uv (bootstrap.txt) first on PATH, and a C and a C++ compiler (gcc and g++, or CC and CXX).
# A build is kept in the user's cache as KEY-SHA256.tar: the key is of all that the build depends
# on, and the hash tells a damaged file. The three that were used last stay.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=${1:?usage: llama.sh LOCK FOLDER} folder=${2:?usage: llama.sh LOCK FOLDER}
build=${LLAMA:-native}
cache=${CBT_RAY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/cbt-ray}/llama.cpp
say() { printf '[%3d s] llama.cpp: %s\n' "$SECONDS" "$*"; }
refuse() { echo "llama.sh: $*" >&2; exit 2; }
case $build in native | portable) ;; *) refuse "LLAMA=$build: expected native or portable" ;; esac
for compiler in "${CC:-cc}" "${CXX:-c++}"; do
  command -v ${compiler%% *} >/dev/null ||
    refuse "$compiler: expected a compiler (gcc and g++; CC= and CXX= name others)"
done

locked() { awk '/^[^ ]/ { llama = /^llama-cpp-python==/ } llama' "$lock"; }
cpu() {
  local names='vendor_id|cpu family|model|flags|CPU implementer|CPU part|Features'
  grep -E "^($names)\s*:" /proc/cpuinfo || true
}
depends_on() {
  locked; echo "$build"; cat "$here/llama.cmake" "$here/llama.sh"
  env | grep -E '^(CMAKE_ARGS|CC|CXX|CFLAGS|CXXFLAGS|CPPFLAGS|LDFLAGS)=' | sort || true
  ${CC:-cc} --version; ${CXX:-c++} --version; uname -sm; getconf GNU_LIBC_VERSION || true
  python -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))'
  [ "$build" = portable ] || cpu | sort -u
}
key=$(depends_on 2>/dev/null | sha256sum | cut -c1-16)
mkdir -p "$folder"
[ "$(cat "$folder/.key" 2>/dev/null)" != "$key" ] || { say "nothing to do"; exit 0; }
work=$(mktemp -d "$folder/.work.XXXXXX")
trap 'rm -rf "$work" "${beside:-$work}"' EXIT

# From the cache into $work; copied before it is checked, so that nobody takes it away in between.
kept() {
  local file
  for file in "$cache/$key"-*.tar; do
    cp "$file" "$work/kept.tar" 2>/dev/null || continue
    if [ "${file##*/}" = "$key-$(sha256sum <"$work/kept.tar" | cut -c1-64).tar" ]; then
      say "taken from $file"
      touch -c "$file" 2>/dev/null || true
      mkdir "$work/out" && tar -xf "$work/kept.tar" -C "$work/out" && return 0
    fi
    say "$file is damaged: compiling anew"; rm -f "$file" || true
  done
  return 1
}

keep() {
  mkdir -p "$cache" && beside=$(mktemp "$cache/.build.XXXXXX") &&
    tar -cf "$beside" -C "$work/out" . &&
    mv "$beside" "$cache/$key-$(sha256sum <"$beside" | cut -c1-64).tar" || return 1
  ls -t "$cache"/*.tar | tail -n +4 | tr '\n' '\0' | xargs -0 -r rm -f
  find "$cache" -name '.build.*' -mmin +60 -delete || true
}

compile() {
  mkdir "$work/out"
  python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --no-binary llama-cpp-python -r <(locked) -d "$work"
  say "compiling (100 s on two idle cores, 150 s where LLAMA=portable)"
  local vendor='*/vendor/llama.cpp' include=-DCMAKE_PROJECT_llama.cpp_INCLUDE=$here/llama.cmake
  tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work/out" --strip-components=3 --wildcards \
    "$vendor/convert_hf_to_gguf.py" "$vendor/conversion" "$vendor/gguf-py"
  CMAKE_ARGS="$include -DCBT_RAY_BUILD=$build ${CMAKE_ARGS:-}" \
    uv build --quiet --wheel --out-dir "$work/out" "$work"/llama_cpp_python-*.tar.gz
}

if ! kept; then
  compile
  keep || say "not kept for the next set-up: $cache cannot be written"
fi
rm -rf "$folder"/llama_cpp_python-*.whl "$folder"/{convert_hf_to_gguf.py,conversion,gguf-py}
mv "$work/out"/* "$folder/"
echo "$key" >"$folder/.key"
