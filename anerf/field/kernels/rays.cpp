// Rays from pixels, with the lens distortion undone on the way.
#include <cstdint>

#include "common.hpp"
#include "lens.hpp"
#include "threads.hpp"

using namespace anerf;

namespace {

constexpr long RAYS_AT_ONCE = 1024;

}  // namespace

// Origins and unit directions of pixels xy[n][2] (centres at +0.5): pose[n] indexes c2w[poses][3][4], and
// lens_of[pose] the lenses.
ANERF_EXPORT int anerf_rays(int threads, long n, const Lens* lenses, const int32_t* lens_of, const float* c2w,
                            const int32_t* pose, const float* xy, float* rays_o, float* rays_d) {
  parallel_for(threads, (n + RAYS_AT_ONCE - 1) / RAYS_AT_ONCE, [&](long item, int) {
    const long end = (item + 1) * RAYS_AT_ONCE < n ? (item + 1) * RAYS_AT_ONCE : n;
    for (long i = item * RAYS_AT_ONCE; i < end; i++) {
      const Lens& lens = lenses[lens_of[pose[i]]];
      const float* m = c2w + 12 * static_cast<long>(pose[i]);
      const Place plane{(xy[2 * i] - lens.cx) / lens.fx, (xy[2 * i + 1] - lens.cy) / lens.fy};
      float d[3] = {plane.x, plane.y, 1};
      if (lens.family != PINHOLE) direction_of(lens, plane, d);
      const float shorten = 1.0f / __builtin_sqrtf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
      const float direction[3] = {d[0] * shorten, -d[1] * shorten, -d[2] * shorten};  // OpenGL axes: right, up, back
      for (int a = 0; a < 3; a++) {
        rays_d[3 * i + a] = m[4 * a] * direction[0] + m[4 * a + 1] * direction[1] + m[4 * a + 2] * direction[2];
        rays_o[3 * i + a] = m[4 * a + 3];
      }
    }
  });
  return 0;
}
