# llama.cpp's `common` serves its command-line tools only; without it the build takes 100 s in place of 8 minutes on two cores.
set(LLAMA_BUILD_COMMON OFF)
