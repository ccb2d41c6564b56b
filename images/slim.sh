#!/usr/bin/env bash
# Takes out of $VIRTUAL_ENV what no job loads and compiles bytecode for the rest, which a read-only root file system could not keep
# at run time. A Dockerfile runs it in the very step that installed, or the layer would carry what a later one only hides.
# All that is pruned from the images is named here; what was measured stands behind it (MB, cpu image unless marked train).
set -euo pipefail
cd "$("$VIRTUAL_ENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# The libraries' own tests.  128, train 90 more
for package in matplotlib networkx numpy pandas pyarrow scipy statsmodels sympy; do
  [ ! -d $package ] || find $package -type d -name tests -prune -exec rm -rf {} +
done
find . -path './statsmodels/datasets/*.csv' -delete                     # example data  5
rm -rf ray/jars                                                         # Ray for Java  33
rm -rf ray/rllib ray/tune/examples ray/train/examples                   # reinforcement learning, examples  18
find ray/dashboard -name '*.map' -delete                                # source maps of the dashboard's page; the page stays  7
rm -rf litellm/proxy/_experimental/out litellm/proxy/swagger            # pages of litellm's own server, which is never started  21
if [ -d botocore/data ]; then                                           # every service of AWS but S3 and its sign-in  26
  find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sso*' ! -name sts -exec rm -rf {} +
fi
rm -f "$VIRTUAL_ENV/bin/py-spy"                                         # looks into other processes, which no pod here may  8

# llama-cpp-python installs llama.cpp twice, and a wheel turns each library's links into copies.  30
if [ -d llama_cpp/lib ]; then
  rm -rf lib include
  for library in llama_cpp/lib/*.so; do
    for copy in "$library".*; do [ ! -f "$copy" ] || ln -sf "$(basename "$library")" "$copy"; done
  done
fi

rm -rf pyarrow/include pyarrow/src pyarrow/*flight*                     # headers; a network protocol for tables  39, train
case ${TARGET:-} in
  cpu)
    find bitsandbytes -name 'libbitsandbytes_*.so' ! -name '*_cpu.so' -delete  # GPU kernels  123, train
    rm -rf torch/include torch/share torch/test                         # what extensions are compiled against; tests  145, train
    [ ! -d torch/bin ] || find torch/bin -type f ! -name torch_shm_manager -delete  # its tests and tools  50, train
    ;;
  cuda) find bitsandbytes \( -name '*_rocm*.so' -o -name '*_xpu*.so' \) -delete ;;  # other makers' kernels
esac

# What has bytecode already is left alone, so a second step adds its own alone. Some packages carry templates that are no Python.
standard=$("$VIRTUAL_ENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
"$VIRTUAL_ENV/bin/python" -m compileall -qq -j 0 -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|site-packages|dist-packages)/' "$standard" || true
"$VIRTUAL_ENV/bin/python" -m compileall -qq -j 0 . || true
