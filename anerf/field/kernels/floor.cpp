// What this machine can do at best, measured: the floor below which no field kernel can fall. For `anerf bench`.
#include "grid.hpp"
#include "threads.hpp"

#include <vector>

using namespace anerf;

namespace {
constexpr int ACCUMULATORS = 12;  // enough to hide the latency of a multiply-add on every core so far
}

// `repeats` x ACCUMULATORS x LANES multiply-adds on registers in each thread; returns how many that is a thread.
// `out` keeps the compiler from dropping them.
ANERF_EXPORT long anerf_floor_multiply_add(int threads, long repeats, float* out) {
  std::vector<float> sums(threads > 1 ? threads : 1);
  parallel_for(threads, threads, [&](long item, int) {
    Vec sum[ACCUMULATORS];
    for (int i = 0; i < ACCUMULATORS; i++) sum[i] = Vec{} + static_cast<float>(i);
    const Vec a = Vec{} + 0.999f, b = Vec{} + 1e-3f;
    for (long k = 0; k < repeats; k++)
      for (int i = 0; i < ACCUMULATORS; i++) sum[i] = sum[i] * a + b;
    Vec total = Vec{};
    for (int i = 0; i < ACCUMULATORS; i++) total += sum[i];
    for (int i = 0; i < LANES; i++) sums[item] += total[i];
  });
  *out = 0.0f;
  for (float s : sums) *out += s;
  return repeats * ACCUMULATORS * LANES;
}

// Reads (or, with `add`, increases) n rows of F floats at random places of a table of `entries` rows, a power of
// two: the accesses of one grid level with nothing around them. No place depends on another.
template <int F>
static float access_rows(long n, uint32_t entries, float* table, bool add) {
  typedef typename Features<F>::type Row;
  Row sums[4] = {};  // four, so that no addition waits for the one before
  for (long i = 0; i < n; i += 4)
    for (int k = 0; k < 4; k++) {
      uint64_t mixed = static_cast<uint64_t>(i + k) * 0x9E3779B97F4A7C15ull;  // without the second half a stride
      mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93ull;
      Row* row = reinterpret_cast<Row*>(table + (mixed >> 32 & (entries - 1)) * F);
      if (add)
        *row += 1.0f;
      else
        sums[k] += *row;
    }
  const Row sum = sums[0] + sums[1] + sums[2] + sums[3];
  float total = 0.0f;
  for (int f = 0; f < F; f++) total += reinterpret_cast<const float*>(&sum)[f];
  return total;
}

ANERF_EXPORT int anerf_floor_access(int threads, long n, long entries, int n_features, int add, float* tables,
                                    float* out) {
  std::vector<float> sums(threads > 1 ? threads : 1);
  parallel_for(threads, threads, [&](long item, int) {
    float* table = tables + item * entries * n_features;
    const uint32_t size = static_cast<uint32_t>(entries);
    switch (n_features) {
      case 1: sums[item] = access_rows<1>(n, size, table, add); break;
      case 2: sums[item] = access_rows<2>(n, size, table, add); break;
      case 4: sums[item] = access_rows<4>(n, size, table, add); break;
      default: sums[item] = access_rows<8>(n, size, table, add); break;
    }
  });
  *out = 0.0f;
  for (float s : sums) *out += s;
  return 0;
}
