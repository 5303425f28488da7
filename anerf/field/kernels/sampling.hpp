// Where rays run and what a density grid says there.
#pragma once
#include "common.hpp"

namespace anerf {

// A coarse density over a box (learning frame); values[nz][ny][nx], negative where nothing can be.
struct DensityGrid {
  float lo[3];
  float per_unit[3];  // cells a unit of length
  int32_t n[3];       // nx, ny, nz
  int32_t unused;
  float* values;

  // Cell along an axis, clamped to the box; NaN goes to the first one.
  int32_t along(int axis, float x) const {
    const float at = (x - lo[axis]) * per_unit[axis], last = static_cast<float>(n[axis] - 1);
    return static_cast<int32_t>(at > 0.0f ? (at < last ? at : last) : 0.0f);
  }
  int32_t cell(float x, float y, float z) const { return (along(2, z) * n[1] + along(1, y)) * n[0] + along(0, x); }
};

// What is believed about density inside a box: the grids of one or more experts. Each position is the matter of
// the expert with the nearest centroid; where that is not `only` (unless -1), nothing can be.
struct Guide {
  float lo[3], hi[3];
  int32_t n_grids, dims, only, unused;
  const DensityGrid* grids;
  const float* centroids;  // [n_grids][3]

  // value[k] at o + d * (start + step * k) for k < count: loops that vectorise, then one that reads.
  void densities(const float* o, const float* d, float start, float step, int count, float* value) const {
    constexpr int BLOCK = 64;
    for (int done = 0; done < count; done += BLOCK) {
      const int m = count - done < BLOCK ? count - done : BLOCK;
      float x[BLOCK], y[BLOCK], z[BLOCK];
      for (int k = 0; k < m; k++) {
        const float t = start + step * static_cast<float>(done + k);
        x[k] = o[0] + d[0] * t;
        y[k] = o[1] + d[1] * t;
        z[k] = o[2] + d[2] * t;
      }
      int32_t cell[BLOCK];
      if (n_grids == 1) {
        for (int k = 0; k < m; k++) cell[k] = grids[0].cell(x[k], y[k], z[k]);
        for (int k = 0; k < m; k++) value[done + k] = grids[0].values[cell[k]];
        continue;
      }
      float least[BLOCK];
      int32_t owner[BLOCK];
      const float use_z = dims == 3 ? 1.0f : 0.0f;
      for (int k = 0; k < m; k++) least[k] = __builtin_inff(), owner[k] = 0;
      for (int i = 0; i < n_grids; i++) {
        const float* c = centroids + 3 * i;
        for (int k = 0; k < m; k++) {
          const float dx = x[k] - c[0], dy = y[k] - c[1], dz = (z[k] - c[2]) * use_z;
          const float squared = dx * dx + dy * dy + dz * dz;
          owner[k] = squared < least[k] ? i : owner[k];
          least[k] = squared < least[k] ? squared : least[k];
        }
      }
      for (int k = 0; k < m; k++) {
        const DensityGrid& grid = grids[owner[k]];
        value[done + k] = only >= 0 && owner[k] != only ? -1.0f : grid.values[grid.cell(x[k], y[k], z[k])];
      }
    }
  }
};

struct Bounds {
  float near, far;
};

// Where a ray is inside the guide's box and between t_min and t_max (slab test); near == far where it is not.
// A component below the smallest normal number counts as none: 1 / d would overflow.
inline Bounds ray_bounds(const Guide& guide, const float* o, const float* d, float t_min, float t_max) {
  float near = 0.0f, far = __builtin_inff();
  for (int a = 0; a < 3; a++) {
    if (__builtin_fabsf(d[a]) < 1.17549435e-38f) {
      if (!(o[a] >= guide.lo[a] && o[a] <= guide.hi[a])) return {0.0f, 0.0f};
      continue;
    }
    const float inverse = 1.0f / d[a];
    const float u = (guide.lo[a] - o[a]) * inverse, v = (guide.hi[a] - o[a]) * inverse;
    const float enter = u < v ? u : v, leave = u < v ? v : u;
    if (!(enter == enter && leave == leave)) return {0.0f, 0.0f};
    near = enter > near ? enter : near;
    far = leave < far ? leave : far;
  }
  if (!(far > near) || far == __builtin_inff()) return {0.0f, 0.0f};
  near = near > t_min ? near : t_min;
  far = far < t_max ? far : t_max;
  return {near, far > near ? far : near};
}

}  // namespace anerf
