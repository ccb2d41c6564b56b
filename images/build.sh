#!/usr/bin/env bash
# Builds images, each unless its content is built already:  TARGET=cpu|cuda CUDA=cu126 REGISTRY=prefix/ images/build.sh [cpu] [train] [vllm]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${TARGET:-cpu} tag=$(images/tag.sh) built=()
case $target in cpu | cuda) ;; *) echo "images: TARGET=$target: expected cpu or cuda" >&2; exit 2 ;; esac
command -v docker >/dev/null || { echo "images: expected docker" >&2; exit 2; }

build() { # FOLDER OPTION...
  docker build --progress "${PROGRESS:-auto}" --file "images/$1/Dockerfile" ${PYTHON_IMAGE:+--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"} "${@:2}" .
}

for image in "${@:-cpu}"; do
  case $image in
    cpu) name=${REGISTRY:-}cbt-ray-cpu:$tag ;;
    train) name=${REGISTRY:-}cbt-ray-train:$tag-$([ "$target" = cuda ] && echo "${CUDA:-cuda}" || echo "$target") ;;
    vllm) name=${REGISTRY:-}cbt-ray-vllm:$tag-$target ;;
    *) echo "images: $image: expected cpu, train or vllm" >&2; exit 2 ;;
  esac
  built+=("$name")
  if docker image inspect "$name" >/dev/null 2>&1; then echo "$name is built"; continue; fi
  echo "$name: building (the first takes about 4 minutes, most of them for llama.cpp)"
  begun=$SECONDS options=()
  [ "$image" = cpu ] || options+=(--build-arg "TARGET=$target")
  [ "$image" != train ] || options+=(${CUDA:+--build-arg "CUDA=$CUDA"})
  if [ "$image" = vllm ]; then # begins where cbt-ray-cpu has its packages, so that both share those layers
    build cpu --target packages --tag "cbt-ray-packages:$tag"
    options+=(--build-arg "PACKAGES=cbt-ray-packages:$tag")
  fi
  build "$image" --tag "$name" --build-arg "VERSION=$tag" \
    --build-arg "REVISION=$(git rev-parse --verify --quiet HEAD || echo none)" "${options[@]}"
  echo "$name: built in $((SECONDS - begun)) s"
done
for name in "${built[@]}"; do
  docker image inspect --format "{{.Size}}" "$name" | awk -v name="$name" '{ printf "%-50s %7.0f MB\n", name, $1 / 1e6 }'
done
