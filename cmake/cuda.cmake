# Finds nvcc, or fetches one, and enables CUDA; sets ESPALIER_CUDA_FOUND.
set(ESPALIER_CUDA auto CACHE STRING
    "CUDA toolkit: auto (a system one when found), system (it must be there), fetch (pinned wheels into a cache folder), off")
set_property(CACHE ESPALIER_CUDA PROPERTY STRINGS auto system fetch off)
# A cubin runs on its architecture and on later ones of the same generation; PTX of the last is for cards yet to come.
set(ESPALIER_CUDA_ARCHITECTURES "80-real;86-real;89-real;90a-real;100-real;120" CACHE STRING
    "architectures of libespalier_cuda, as CMAKE_CUDA_ARCHITECTURES takes them")
option(ESPALIER_CUTLASS "fetch the CUTLASS headers, for products of CUTLASS beside ours in gpu_bench" OFF)
set(espalier_least_toolkit 12.8)  # the first that knows sm_100 and sm_120

set(ESPALIER_CUDA_FOUND FALSE)

# espalier_fetch(requirements out): the folder of the unpacked wheels.
function(espalier_fetch requirements out)
  find_program(ESPALIER_PYTHON NAMES python3 REQUIRED)
  execute_process(
    COMMAND ${ESPALIER_PYTHON} ${CMAKE_SOURCE_DIR}/cmake/fetch_wheels.py ${requirements}
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_VARIABLE text RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${text}")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/${requirements})
  set(${out} ${folder} PARENT_SCOPE)
endfunction()

if(ESPALIER_CUDA STREQUAL "fetch")
  espalier_fetch(cuda-requirements.txt folder)
  set(espalier_nvcc ${folder}/nvidia/cu13/bin/nvcc)
elseif(ESPALIER_CUDA MATCHES "^(auto|system)$")
  get_filename_component(folder "$ENV{CUDACXX}" DIRECTORY)  # CUDACXX is the compiler itself
  find_program(ESPALIER_SYSTEM_NVCC nvcc HINTS "${folder}" ENV CUDA_PATH ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin)
  set(espalier_nvcc ${ESPALIER_SYSTEM_NVCC})
  if(espalier_nvcc)
    execute_process(COMMAND ${espalier_nvcc} --version OUTPUT_VARIABLE text RESULT_VARIABLE result)
    string(REGEX MATCH "release ([0-9.]+)" text "${text}")
    if(NOT result EQUAL 0 OR CMAKE_MATCH_1 VERSION_LESS espalier_least_toolkit)
      set(espalier_why "${espalier_nvcc} has version ${CMAKE_MATCH_1}, expected ${espalier_least_toolkit} or later")
      set(espalier_nvcc FALSE)
    endif()
  else()
    set(espalier_why "nvcc not found")
  endif()
  if(NOT espalier_nvcc AND ESPALIER_CUDA STREQUAL "system")
    message(FATAL_ERROR "ESPALIER_CUDA = system, but ${espalier_why}; -DESPALIER_CUDA=fetch takes a toolkit from wheels")
  elseif(NOT espalier_nvcc)
    message(STATUS "CUDA backend left out: ${espalier_why}; -DESPALIER_CUDA=fetch takes a toolkit from wheels")
  endif()
elseif(NOT ESPALIER_CUDA STREQUAL "off")
  message(FATAL_ERROR "ESPALIER_CUDA = ${ESPALIER_CUDA}, expected auto, system, fetch or off")
endif()

if(ESPALIER_CUDA STREQUAL "off" OR NOT espalier_nvcc)
  return()
endif()
get_filename_component(espalier_toolkit ${espalier_nvcc} REALPATH)
get_filename_component(espalier_toolkit ${espalier_toolkit}/../.. ABSOLUTE)
set(CMAKE_CUDA_COMPILER ${espalier_nvcc})
set(CMAKE_CUDA_ARCHITECTURES ${ESPALIER_CUDA_ARCHITECTURES})
enable_language(CUDA)
# CUDA follows CMAKE_CXX_STANDARD; CMake 3.25 does not know how nvcc spells 20.
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
# Not by find_package(CUDAToolkit): that of CMake 3.25 fails with CUDA 13.
find_library(ESPALIER_CUDART cudart_static HINTS ${espalier_toolkit}/lib64 REQUIRED NO_DEFAULT_PATH)
find_package(Threads REQUIRED)
add_library(espalier_cudart INTERFACE)
target_include_directories(espalier_cudart SYSTEM INTERFACE ${espalier_toolkit}/include)
target_link_libraries(espalier_cudart INTERFACE ${ESPALIER_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG")
set(ESPALIER_CUDA_FOUND TRUE)
message(STATUS "CUDA backend: ${espalier_toolkit}, version ${CMAKE_CUDA_COMPILER_VERSION}, ${ESPALIER_CUDA_ARCHITECTURES}")

# Every compilation by nvcc goes through a script that keeps what ptxas says of each kernel, and fails on spilled registers.
find_program(ESPALIER_PYTHON NAMES python3 REQUIRED)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${ESPALIER_PYTHON} ${CMAKE_SOURCE_DIR}/cmake/nvcc_report.py)
if(ESPALIER_CCACHE)
  list(APPEND CMAKE_CUDA_COMPILER_LAUNCHER ${ESPALIER_CCACHE})
endif()

if(ESPALIER_CUTLASS)
  espalier_fetch(cutlass-requirements.txt folder)
  add_library(espalier_cutlass INTERFACE)
  target_include_directories(
    espalier_cutlass SYSTEM INTERFACE ${folder}/cutlass_library/source/include ${folder}/cutlass_library/source/tools/util/include)
endif()
