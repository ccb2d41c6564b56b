#!/usr/bin/env bash
# Prints the images' tag, VERSION-HASH: the same content has the same tag on every machine, and a change of any file that enters an
# image makes another. What counts is the working tree, committed or not; the paths are those of .dockerignore.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
hash=$(sed -n 's/^!//p' .dockerignore | LC_ALL=C sort | xargs -d '\n' git ls-files -z --cached --others --exclude-standard -- |
  LC_ALL=C sort -zu | while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
  xargs -0 sha256sum | sha256sum)
echo "$version-${hash:0:12}"
