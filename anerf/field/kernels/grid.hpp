// Multiresolution hash grid in tiny-cuda-nn's layout (Mueller et al. 2022; NVlabs/tiny-cuda-nn grid.h).
// All samples of one level are done before the next level: its table stays in the cache.
#pragma once
#include <initializer_list>

#include "common.hpp"

namespace anerf {

struct GridLevel {
  float scale;          // lattice cells across the unit cube, minus one
  uint32_t resolution;  // lattice points a side
  uint32_t entries;     // a power of two where hashed
  uint32_t hashed;
  uint64_t offset;  // of the first entry, counted in entries
};

struct Grid {
  const GridLevel* levels;
  int32_t n_levels;
  int32_t n_features;  // 1, 2, 4 or 8
  int32_t smoothstep;
  int32_t unused;
};

// Positions as three separate columns.
struct Positions {
  const float* axis[3];
};

constexpr int CORNER_BLOCK = 32;

// Table rows and weights of the eight lattice points around each of up to CORNER_BLOCK samples, x fastest.
struct Corners {
  uint32_t index[8][CORNER_BLOCK];
  float weight[8][CORNER_BLOCK];
  float fraction[3][CORNER_BLOCK];  // before smoothstep
};

// fma(scale, x, 0.5) rounded once, as the GPU does; without fused hardware in double, which is the same.
inline float lattice_position(float scale, float x) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(scale, x, 0.5f);
#else
  return static_cast<float>(static_cast<double>(scale) * x + 0.5);
#endif
}

// What a level is, known when the kernel is compiled, so that loops over samples have no branches.
template <bool HASHED, bool SMOOTHSTEP>
inline void find_corners(Corners& c, const GridLevel& level, const Positions& x, long start, int m) {
  constexpr float FAR = 1e9f;  // beyond it the cell's number does not fit 32 bits; NaN goes to the low end
  const uint32_t step_y = HASHED ? 2654435761u : level.resolution;
  const uint32_t step_z = HASHED ? 805459861u : level.resolution * level.resolution;
  const uint32_t mask = level.entries - 1;
  const float scale = level.scale, *xs = x.axis[0] + start, *ys = x.axis[1] + start, *zs = x.axis[2] + start;
  const auto low = [](float p) { return __builtin_floorf(p > -FAR ? (p < FAR ? p : FAR) : -FAR); };
  const auto smooth = [](float f) { return SMOOTHSTEP ? f * f * (3.0f - 2.0f * f) : f; };
  for (int k = 0; k < m; k++) {
    const float px = lattice_position(scale, xs[k]), py = lattice_position(scale, ys[k]),
                pz = lattice_position(scale, zs[k]);
    const float lx = low(px), ly = low(py), lz = low(pz);
    c.fraction[0][k] = px - lx;
    c.fraction[1][k] = py - ly;
    c.fraction[2][k] = pz - lz;
    const float fx = smooth(px - lx), fy = smooth(py - ly), fz = smooth(pz - lz);
    const uint32_t x0 = static_cast<uint32_t>(static_cast<int32_t>(lx));
    const uint32_t y0 = static_cast<uint32_t>(static_cast<int32_t>(ly)) * step_y, y1 = y0 + step_y;
    const uint32_t z0 = static_cast<uint32_t>(static_cast<int32_t>(lz)) * step_z, z1 = z0 + step_z;
    const uint32_t row[4] = {HASHED ? y0 ^ z0 : y0 + z0, HASHED ? y1 ^ z0 : y1 + z0, HASHED ? y0 ^ z1 : y0 + z1,
                             HASHED ? y1 ^ z1 : y1 + z1};
    const float share[4] = {(1.0f - fy) * (1.0f - fz), fy * (1.0f - fz), (1.0f - fy) * fz, fy * fz};
    for (int q = 0; q < 4; q++) {
      c.index[2 * q][k] = HASHED ? (x0 ^ row[q]) & mask : x0 + row[q];
      c.index[2 * q + 1][k] = HASHED ? ((x0 + 1) ^ row[q]) & mask : x0 + 1 + row[q];
      c.weight[2 * q][k] = (1.0f - fx) * share[q];
      c.weight[2 * q + 1][k] = fx * share[q];
    }
  }
  if (HASHED) return;
  // Lattice points beyond the table wrap. Inside the cube that is rare, and a division is slow.
  for (int q = 0; q < 8; q++) {
    uint32_t largest = 0;
    for (int k = 0; k < m; k++) largest = c.index[q][k] > largest ? c.index[q][k] : largest;
    if (largest >= level.entries)
      for (int k = 0; k < m; k++) c.index[q][k] %= level.entries;
  }
}

inline void find_corners(Corners& c, const GridLevel& level, bool smoothstep, const Positions& x, long start, int m) {
  if (level.hashed)
    smoothstep ? find_corners<true, true>(c, level, x, start, m) : find_corners<true, false>(c, level, x, start, m);
  else
    smoothstep ? find_corners<false, true>(c, level, x, start, m) : find_corners<false, false>(c, level, x, start, m);
}

// F features of one table entry in one register (F = 1: a scalar).
template <int F>
struct Features {
  typedef float type __attribute__((vector_size(4 * F), aligned(4), may_alias));
};
template <>
struct Features<1> {
  typedef float type;
};

// Calls body(sample, corners, k) for samples [start, end) of one level, k the sample's place in `corners`.
// The corners of the next block are found, and their rows called into the caches, before a block is worked on:
// a table that fell out of the caches since the last batch costs half as much then. A cell's two corners along
// x mostly share a line.
template <int F, bool WRITE, class Body>
inline void for_each_sample(const GridLevel& level, bool smoothstep, const Positions& x, long start, long end,
                            const float* rows, const Body& body) {
  Corners blocks[2];
  const auto find = [&](Corners& c, long s) {
    const int m = end - s < CORNER_BLOCK ? static_cast<int>(end - s) : CORNER_BLOCK;
    if (m <= 0) return 0;
    find_corners(c, level, smoothstep, x, s, m);
    for (int k = 0; k < m; k++)
      for (int q = 0; q < 8; q += 2) __builtin_prefetch(rows + static_cast<size_t>(c.index[q][k]) * F, WRITE);
    return m;
  };
  int m = find(blocks[0], start), now = 0;
  for (long s = start; s < end; s += CORNER_BLOCK, now ^= 1) {
    const int next_m = find(blocks[now ^ 1], s + CORNER_BLOCK);
    for (int k = 0; k < m; k++) body(s + k, blocks[now], k);
    m = next_m;
  }
}

// out[m][F] for samples [start, end) of one level.
template <int F>
void encode_level(const GridLevel& level, bool smoothstep, const Positions& x, long start, long end,
                  const float* table, float* out) {
  typedef typename Features<F>::type Row;
  const float* rows = table + level.offset * F;
  for_each_sample<F, false>(level, smoothstep, x, start, end, rows, [&](long s, const Corners& c, int k) {
    Row sum = {};
    for (int q = 0; q < 8; q++)
      sum += *reinterpret_cast<const Row*>(rows + static_cast<size_t>(c.index[q][k]) * F) * c.weight[q][k];
    *reinterpret_cast<Row*>(out + s * F) = sum;
  });
}

// Floats that share one mark of `touched`: eight entries of any F fill whole lines, so no line has two levels.
constexpr int LINE = 8;

// Adds to d_table what samples [start, end) of one level owe to d_out[m][F], and marks the lines it touched.
template <int F>
void scatter_level(const GridLevel& level, bool smoothstep, const Positions& x, long start, long end,
                   const float* d_out, float* d_table, uint8_t* touched) {
  typedef typename Features<F>::type Row;
  float* rows = d_table + level.offset * F;
  uint8_t* marks = touched ? touched + level.offset * F / LINE : nullptr;
  for_each_sample<F, true>(level, smoothstep, x, start, end, rows, [=](long s, const Corners& c, int k) {
    const Row d = *reinterpret_cast<const Row*>(d_out + s * F);
    size_t at[8];
    Row owed[8];
    for (int q = 0; q < 8; q++) {  // all of it read before the first row is written
      at[q] = static_cast<size_t>(c.index[q][k]) * F;
      owed[q] = d * c.weight[q][k];
    }
    for (int q = 0; q < 8; q++) {
      *reinterpret_cast<Row*>(rows + at[q]) += owed[q];
      if (marks) marks[at[q] / LINE] = 1;
    }
  });
}

// Adds to d_x[n][3] what one level's features owe to the positions of samples [start, end).
template <int F>
void position_gradient_level(const GridLevel& level, bool smoothstep, const Positions& x, long start, long end,
                             const float* table, const float* d_out, float* d_x) {
  const float* rows = table + level.offset * F;
  for_each_sample<F, false>(level, smoothstep, x, start, end, rows, [&](long s, const Corners& c, int k) {
    float value[8];  // <table row, d_out> at each corner
    for (int q = 0; q < 8; q++) {
      value[q] = 0.0f;
      for (int f = 0; f < F; f++)
        value[q] += rows[static_cast<size_t>(c.index[q][k]) * F + f] * d_out[s * F + f];
    }
    for (int a = 0; a < 3; a++) {
      const int b = (a + 1) % 3, d = (a + 2) % 3;
      float slope = 0.0f;
      for (int q = 0; q < 8; q++) {
        if (q >> a & 1) continue;
        const int high = q | 1 << a;
        float w = 1.0f;
        for (int other : {b, d}) {
          const float f = c.fraction[other][k], up = smoothstep ? f * f * (3.0f - 2.0f * f) : f;
          w *= q >> other & 1 ? up : 1.0f - up;
        }
        slope += w * (value[high] - value[q]);
      }
      const float f = c.fraction[a][k];
      d_x[s * 3 + a] += slope * level.scale * (smoothstep ? 6.0f * f * (1.0f - f) : 1.0f);
    }
  });
}

}  // namespace anerf
