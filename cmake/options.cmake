# Compile options that every target of the project has.
option(ESPALIER_ASAN "AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(ESPALIER_TSAN "ThreadSanitizer" OFF)

# Contraction is off so that a compiler never decides where a product is rounded; code that wants a fused multiply-add says so.
# -Wrestrict is off: g++ 12 reports string concatenation that is correct (GCC bug 105651).
set(espalier_options -Wall -Wextra -Werror -Wno-restrict -ffp-contract=off -fno-math-errno)
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${espalier_options}>")
if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O3 -g1 -DNDEBUG")
endif()
if(ESPALIER_ASAN)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-sanitize-recover=all;-fno-omit-frame-pointer>")
  add_link_options(-fsanitize=address,undefined)
endif()
if(ESPALIER_TSAN)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=thread>")
  add_link_options(-fsanitize=thread)
endif()
