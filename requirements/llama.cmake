# How llama.cpp is compiled, here and in the images: llama.sh hands this file to CMake, which reads
# it as soon as the project of llama.cpp begins. CBT_RAY_BUILD is `native` (all that this CPU can
# do: AVX-512, VNNI, BF16, AMX) or `portable` (any CPU of the last ten years; on x86-64 with a build
# each for AVX-512 and for AMX, and cbt_ray/llm/build.py loads the best that a machine can run).

# No command-line tools, no server, and nothing that only they need: so the build takes 100 s and
# not 8 minutes on two cores.
set(LLAMA_BUILD_COMMON OFF)
foreach(part LLAMA_BUILD_TOOLS LLAMA_BUILD_SERVER LLAVA_BUILD)
  set(${part} OFF CACHE BOOL "" FORCE)
endforeach()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # GCC declares _tile_loadconfig as reading 8 of its 64 bytes (amxtileintrin.h) and takes most
  # stores into the tile configuration for dead, so that the first decode on a CPU with AMX dies
  # of a general protection fault: llama.cpp #20824. Clang is right, and knows no such flags.
  add_compile_options(
    $<$<COMPILE_LANGUAGE:CXX>:-fno-tree-dse> $<$<COMPILE_LANGUAGE:CXX>:-fno-dse>)
endif()

set(CBT_RAY_BUILDS ${CBT_RAY_BUILD})
if(CBT_RAY_BUILD STREQUAL "native")
  set(GGML_NATIVE ON CACHE BOOL "" FORCE)  # ggml turns it off where SOURCE_DATE_EPOCH is set
else()
  set(GGML_NATIVE OFF CACHE BOOL "" FORCE)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    # What computes becomes a library for itself, once for each of these; the best comes first.
    set(CBT_RAY_BUILDS amx avx512 v3)
    set(GGML_BACKEND_DL ON CACHE BOOL "" FORCE)
    set(CMAKE_INSTALL_BINDIR ${SKBUILD_PLATLIB_DIR}/llama_cpp/lib CACHE PATH "" FORCE)
    set(v3 SSE42 AVX AVX2 FMA F16C BMI2)  # what llama.cpp has of x86-64-v3
    foreach(part ${v3})
      set(GGML_${part} ON CACHE BOOL "" FORCE)
    endforeach()
    # llama.cpp's own list has 14. Its function finds its sources from ggml's folder alone, so it is
    # called at the end of that; a variable that is set there tells that it has begun.
    function(cbt_ray_add_builds)
      ggml_add_cpu_backend_variant(avx512 ${v3} AVX512 AVX512_VNNI)
      ggml_add_cpu_backend_variant(
        amx ${v3} AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16 AMX_TILE AMX_INT8)
      set_target_properties(ggml-cpu PROPERTIES OUTPUT_NAME ggml-cpu-v3)
    endfunction()
    function(cbt_ray_in_ggml)
      get_property(begun GLOBAL PROPERTY CBT_RAY_BEGUN)
      if(NOT begun)
        set_property(GLOBAL PROPERTY CBT_RAY_BEGUN ON)
        cmake_language(DEFER CALL cbt_ray_add_builds)
      endif()
    endfunction()
    variable_watch(GGML_SYSTEM_ARCH cbt_ray_in_ggml)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    # Neoverse N1, Cortex-A76 and later.
    set(GGML_CPU_ARM_ARCH "armv8.2-a+dotprod" CACHE STRING "" FORCE)
  endif()
endif()

# The wheel says which instruction sets each of its builds needs, the best build first, as Linux
# names them in /proc/cpuinfo; cbt_ray/llm/build.py reads that before the library is loaded. The
# compiler is asked with ggml's own flags, which CMake alone knows.
set(CBT_RAY_SETS
  SSE3:pni SSSE3:ssse3 SSE4_1:sse4_1 SSE4_2:sse4_2 POPCNT:popcnt LZCNT:abm MOVBE:movbe BMI:bmi1
  BMI2:bmi2 F16C:f16c FMA:fma FMA4:fma4 XOP:xop AVX:avx AVX2:avx2 AVXVNNI:avx_vnni GFNI:gfni
  AVX512F:avx512f AVX512CD:avx512cd AVX512BW:avx512bw AVX512DQ:avx512dq AVX512VL:avx512vl
  AVX512IFMA:avx512ifma AVX512VBMI:avx512vbmi AVX512VBMI2:avx512_vbmi2 AVX512VNNI:avx512_vnni
  AVX512BITALG:avx512_bitalg AVX512VPOPCNTDQ:avx512_vpopcntdq AVX512BF16:avx512_bf16
  AVX512FP16:avx512_fp16 AVX512VP2INTERSECT:avx512_vp2intersect AMX_TILE:amx_tile
  AMX_INT8:amx_int8 AMX_BF16:amx_bf16
  ARM_FEATURE_ATOMICS:atomics ARM_FEATURE_DOTPROD:asimddp
  ARM_FEATURE_FP16_VECTOR_ARITHMETIC:asimdhp ARM_FEATURE_MATMUL_INT8:i8mm
  ARM_FEATURE_BF16_VECTOR_ARITHMETIC:bf16 ARM_FEATURE_SVE:sve ARM_FEATURE_SVE2:sve2
  ARM_FEATURE_SME:sme)

function(cbt_ray_instruction_sets build found)
  list(GET CBT_RAY_BUILDS -1 plain)
  set(target ggml-cpu)
  if(NOT build STREQUAL plain)
    set(target ggml-cpu-${build})
  endif()
  get_target_property(options ${target} COMPILE_OPTIONS)
  list(FILTER options INCLUDE REGEX "^-[mU]")
  separate_arguments(own UNIX_COMMAND "${CMAKE_CXX_FLAGS}")
  execute_process(
    COMMAND ${CMAKE_CXX_COMPILER} ${own} ${options} -dM -E -x c++ /dev/null
    OUTPUT_VARIABLE macros COMMAND_ERROR_IS_FATAL ANY)
  set(cpu "")
  if(EXISTS /proc/cpuinfo)
    file(STRINGS /proc/cpuinfo cpu REGEX "^(flags|Features)[ \t]*:" LIMIT_COUNT 1)
  endif()
  set(needed "")
  foreach(pair IN LISTS CBT_RAY_SETS)
    string(REPLACE ":" ";" pair ${pair})
    list(GET pair 0 macro)
    list(GET pair 1 name)
    # An older kernel does not name all that a compiler finds in its CPU: a native build says what
    # both know, or this machine would refuse its own build.
    if(macros MATCHES "#define __${macro}_* " AND
        (NOT build STREQUAL "native" OR "${cpu} " MATCHES "[ :]${name} "))
      list(APPEND needed ${name})
    endif()
  endforeach()
  list(JOIN needed " " needed)
  set(${found} "${needed}" PARENT_SCOPE)
endfunction()

function(cbt_ray_say_instruction_sets)
  set(lines "")
  foreach(build IN LISTS CBT_RAY_BUILDS)
    cbt_ray_instruction_sets(${build} needed)
    string(APPEND lines "${build} ${needed}\n")
  endforeach()
  file(WRITE ${CMAKE_BINARY_DIR}/instruction-sets "${lines}")
endfunction()
cmake_language(DEFER CALL cbt_ray_say_instruction_sets)
install(FILES ${CMAKE_BINARY_DIR}/instruction-sets DESTINATION ${SKBUILD_PLATLIB_DIR}/llama_cpp)
