// The hash grid over whole batches: which thread does which level and which samples.
#pragma once
#include <type_traits>

#include "grid.hpp"
#include "memory.hpp"
#include "threads.hpp"

namespace anerf {

constexpr long TILE = 8192;  // samples of one level that a thread takes at a time

// Calls f with the number of features as a compile-time constant.
template <class F>
inline void with_features(int n_features, const F& f) {
  switch (n_features) {
    case 1: f(std::integral_constant<int, 1>()); break;
    case 2: f(std::integral_constant<int, 2>()); break;
    case 4: f(std::integral_constant<int, 4>()); break;
    default: f(std::integral_constant<int, 8>()); break;
  }
}

// x[n][3] as columns; the buffer holds them.
inline Positions columns_of(int threads, long n, const float* x, float* buffer) {
  const Positions columns = {{buffer, buffer + n, buffer + 2 * n}};
  parallel_for(threads, (n + TILE - 1) / TILE, [&](long tile, int) {
    const long end = (tile + 1) * TILE < n ? (tile + 1) * TILE : n;
    for (int a = 0; a < 3; a++)
      for (long s = tile * TILE; s < end; s++) buffer[a * n + s] = x[s * 3 + a];
  });
  return columns;
}

// out[level][n][F], level-major: while a level is at work, no other level's table is read.
inline void encode(const Grid& grid, int threads, long n, const Positions& x, const float* table, float* out) {
  const long tiles = (n + TILE - 1) / TILE;
  with_features(grid.n_features, [&](auto features) {
    constexpr int F = decltype(features)::value;
    parallel_for(threads, tiles * grid.n_levels, [&](long item, int) {
      const long level = item / tiles, start = item % tiles * TILE, end = start + TILE < n ? start + TILE : n;
      encode_level<F>(grid.levels[level], grid.smoothstep, x, start, end, table, out + level * n * F);
    });
  });
}

// The inverse: d_table += what all samples owe to d_out[level][n][F]. One thread owns a level, so there are
// no atomics and the order of the sum is that of the samples.
inline void scatter(const Grid& grid, int threads, long n, const Positions& x, const float* d_out, float* d_table,
                    uint8_t* touched) {
  with_features(grid.n_features, [&](auto features) {
    constexpr int F = decltype(features)::value;
    parallel_for(threads, grid.n_levels, [&](long item, int) {
      const long level = grid.n_levels - 1 - item;  // the finest, slowest first
      scatter_level<F>(grid.levels[level], grid.smoothstep, x, 0, n, d_out + level * n * F, d_table, touched);
    });
  });
}

// d_x[n][3] from d_out[level][n][F].
inline void position_gradient(const Grid& grid, int threads, long n, const Positions& x, const float* table,
                              const float* d_out, float* d_x) {
  with_features(grid.n_features, [&](auto features) {
    constexpr int F = decltype(features)::value;
    parallel_for(threads, (n + TILE - 1) / TILE, [&](long tile, int) {
      const long start = tile * TILE, end = start + TILE < n ? start + TILE : n;
      std::memset(d_x + start * 3, 0, sizeof(float) * 3 * (end - start));
      for (int level = 0; level < grid.n_levels; level++)
        position_gradient_level<F>(grid.levels[level], grid.smoothstep, x, start, end, table,
                                   d_out + level * n * F, d_x);
    });
  });
}

}  // namespace anerf
