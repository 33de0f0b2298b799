# Where nvcc is, and whether it is new enough: sets TROUPE_NVCC and `reason`, which is empty if it is.
# `deploy/install --cuda` puts one into the cache where the machine has none.
if(DEFINED ENV{TROUPE_CACHE})
  set(cuda_cache "$ENV{TROUPE_CACHE}/cuda")
else()
  set(cuda_cache "$ENV{HOME}/.cache/troupe/cuda")
endif()
find_program(TROUPE_NVCC nvcc
  HINTS "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin "${cuda_cache}/toolkit/bin")

set(reason "")
if(TROUPE_SANITIZE)
  set(reason "a build with sanitizers has none")
elseif(NOT TROUPE_NVCC)
  set(reason "no nvcc was found")
else()
  execute_process(COMMAND ${TROUPE_NVCC} --version OUTPUT_VARIABLE said ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" said "${said}")
  if(NOT CMAKE_MATCH_1)
    set(reason "${TROUPE_NVCC} does not say its release")
  elseif(CMAKE_MATCH_1 VERSION_LESS 12.8)
    set(reason "found nvcc ${CMAKE_MATCH_1} at ${TROUPE_NVCC}, wanted 12.8 or newer")
  endif()
endif()
