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

  // The expert with the nearest centroid.
  int32_t owner(float x, float y, float z) const {
    float least = __builtin_inff();
    int32_t nearest = 0;
    for (int i = 0; i < n_grids; i++) {
      const float *c = centroids + 3 * i, dx = x - c[0], dy = y - c[1], dz = dims == 3 ? z - c[2] : 0.0f;
      const float squared = dx * dx + dy * dy + dz * dz;
      nearest = squared < least ? i : nearest;
      least = squared < least ? squared : least;
    }
    return nearest;
  }

  // value[k] at o + d * (start + step * k) for k < count: a loop that vectorises, then one that reads. Regions
  // are convex, so a stretch that ends in the region where it began lies in it.
  void densities(const float* o, const float* d, float start, float step, int count, float* value) const {
    constexpr int BLOCK = 32;
    for (int done = 0; done < count; done += BLOCK) {
      const int m = count - done < BLOCK ? count - done : BLOCK;
      float x[BLOCK], y[BLOCK], z[BLOCK];
      for (int k = 0; k < m; k++) {
        const float t = start + step * static_cast<float>(done + k);
        x[k] = o[0] + d[0] * t;
        y[k] = o[1] + d[1] * t;
        z[k] = o[2] + d[2] * t;
      }
      const int32_t first = owner(x[0], y[0], z[0]), last = m > 1 ? owner(x[m - 1], y[m - 1], z[m - 1]) : first;
      if (first != last) {
        for (int k = 0; k < m; k++) {
          const int32_t mine = owner(x[k], y[k], z[k]);
          value[done + k] = only >= 0 && mine != only ? -1.0f : grids[mine].values[grids[mine].cell(x[k], y[k], z[k])];
        }
      } else if (only >= 0 && first != only) {
        for (int k = 0; k < m; k++) value[done + k] = -1.0f;
      } else {
        int32_t cell[BLOCK];
        for (int k = 0; k < m; k++) cell[k] = grids[first].cell(x[k], y[k], z[k]);
        for (int k = 0; k < m; k++) value[done + k] = grids[first].values[cell[k]];
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
