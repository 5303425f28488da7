// Python's way to memory.hpp.
#include "memory.hpp"

#include "common.hpp"

// For memory in use; nothing can fail.
ANERF_EXPORT void anerf_prefer_huge_pages(void* memory, long n_bytes) {
  if (n_bytes > 0) anerf::prefer_huge_pages(memory, static_cast<size_t>(n_bytes), true);
}
