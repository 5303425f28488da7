// Scratch memory that outlives the call it serves. Memory fresh from the system is mapped page by page at its
// first touch; where the machine is a virtual one that costs as much as all the work on it.
#pragma once
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace anerf {

constexpr size_t HUGE_PAGE = size_t(2) << 20;

// Asks for huge pages where memory is large and Linux has them on offer: a hash table is read at random places,
// and with pages of 4 KiB the processor looks up addresses more than it reads. With `now`, pages in use already
// are exchanged at once. Only a wish: nothing depends on it.
inline void prefer_huge_pages(void* memory, size_t n_bytes, bool now) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const size_t start = (reinterpret_cast<size_t>(memory) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  const size_t end = (reinterpret_cast<size_t>(memory) + n_bytes) / HUGE_PAGE * HUGE_PAGE;
  if (end <= start) return;
  constexpr int COLLAPSE = 25;  // MADV_COLLAPSE, Linux 6.1
  madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
  if (now) madvise(reinterpret_cast<void*>(start), end - start, COLLAPSE);
#else
  (void)memory, (void)n_bytes, (void)now;
#endif
}

// What a thread has used and will use again, up to a limit.
class Shelf {
 public:
  struct Block {
    float* start;
    size_t n_floats;
  };

  static Shelf& of_this_thread() {
    static thread_local Shelf shelf;
    return shelf;
  }
  ~Shelf() {
    for (const Block& block : blocks_) std::free(block.start);
  }

  Block take(size_t n_floats) {
    size_t best = blocks_.size();
    for (size_t i = 0; i < blocks_.size(); i++)
      if (blocks_[i].n_floats >= n_floats && (best == blocks_.size() || blocks_[i].n_floats < blocks_[best].n_floats))
        best = i;
    if (best == blocks_.size()) return allocate(n_floats);
    const Block found = blocks_[best];
    blocks_.erase(blocks_.begin() + static_cast<long>(best));
    kept_ -= found.n_floats;
    return found;
  }

  void put_back(const Block& block) noexcept {
    if (MOST == 0 || block.n_floats > LIMIT) return std::free(block.start);
    while (!blocks_.empty() && (kept_ + block.n_floats > LIMIT || blocks_.size() == MOST)) {  // oldest first
      kept_ -= blocks_.front().n_floats;
      std::free(blocks_.front().start);
      blocks_.erase(blocks_.begin());
    }
    blocks_.push_back(block);  // within what was reserved
    kept_ += block.n_floats;
  }

 private:
  static constexpr size_t LIMIT = size_t(64) << 20;  // floats: 256 MiB
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t MOST = 0;  // blocks: none, so that every one has its own borders
#else
  static constexpr size_t MOST = 16;  // blocks
#endif

  Shelf() { blocks_.reserve(MOST); }
  static Block allocate(size_t n_floats) {
    void* memory = nullptr;
    const size_t n_bytes = (n_floats + 16) * sizeof(float);
    if (posix_memalign(&memory, 64, n_bytes) != 0) throw std::bad_alloc();
    prefer_huge_pages(memory, n_bytes, false);
    return {static_cast<float*>(memory), n_floats};
  }

  std::vector<Block> blocks_;
  size_t kept_ = 0;
};

// Floats on a cache line's border, not initialised.
struct PutBack {
  size_t n_floats;
  void operator()(float* p) const { Shelf::of_this_thread().put_back({p, n_floats}); }
};
using Buffer = std::unique_ptr<float[], PutBack>;

inline Buffer make_buffer(size_t n_floats) {
  if (n_floats == 0) return Buffer(nullptr, PutBack{0});
  const Shelf::Block block = Shelf::of_this_thread().take(n_floats);
  return Buffer(block.start, PutBack{block.n_floats});
}

}  // namespace anerf
