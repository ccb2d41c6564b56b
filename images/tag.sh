#!/usr/bin/env bash
# Prints the images' tag, VERSION-HASH: the newest release, and a hash of the content.
# The same content has the same hash on every machine, and a change of any file that enters an image
# makes another. What counts is the working tree, committed or not; .dockerignore has the paths.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || echo v0.0.0)
hash=$(sed -n 's/^!//p' .dockerignore | LC_ALL=C sort | xargs -d '\n' git ls-files -z --cached --others --exclude-standard -- |
  LC_ALL=C sort -zu | while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
  xargs -0 sha256sum | sha256sum)
echo "${version#v}-${hash:0:12}"
