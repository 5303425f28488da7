// Rays from pixels, with the lens distortion undone by Newton's method (COLMAP's OPENCV model and its subsets).
#include "common.hpp"
#include "threads.hpp"

using namespace anerf;

struct Lens {
  float fx, fy, cx, cy, k1, k2, p1, p2;
};

namespace {

constexpr long RAYS_AT_ONCE = 1024;
constexpr int NEWTON_STEPS = 10;
constexpr float CLOSE_ENOUGH = 1e-14f;  // squared length of a step, far below a pixel's thousandth

// The ideal image coordinates that the lens moves to (x, y).
void undistort(const Lens& lens, float& x, float& y) {
  const float moved_x = x, moved_y = y;
  for (int i = 0; i < NEWTON_STEPS; i++) {
    const float r2 = x * x + y * y, gain = 1 + r2 * (lens.k1 + r2 * lens.k2), slope = 2 * (lens.k1 + 2 * lens.k2 * r2);
    const float rx = x * gain + 2 * lens.p1 * x * y + lens.p2 * (r2 + 2 * x * x) - moved_x;
    const float ry = y * gain + 2 * lens.p2 * x * y + lens.p1 * (r2 + 2 * y * y) - moved_y;
    const float d_xx = gain + x * x * slope + 2 * lens.p1 * y + 6 * lens.p2 * x;
    const float d_xy = x * y * slope + 2 * lens.p1 * x + 2 * lens.p2 * y;
    const float d_yy = gain + y * y * slope + 2 * lens.p2 * x + 6 * lens.p1 * y;
    const float determinant = d_xx * d_yy - d_xy * d_xy;
    const float step_x = (d_yy * rx - d_xy * ry) / determinant, step_y = (d_xx * ry - d_xy * rx) / determinant;
    x -= step_x;
    y -= step_y;
    if (step_x * step_x + step_y * step_y < CLOSE_ENOUGH) break;
  }
}

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
      float x = (xy[2 * i] - lens.cx) / lens.fx, y = (xy[2 * i + 1] - lens.cy) / lens.fy;
      if (lens.k1 != 0 || lens.k2 != 0 || lens.p1 != 0 || lens.p2 != 0) undistort(lens, x, y);
      const float shorten = 1.0f / __builtin_sqrtf(x * x + y * y + 1.0f);
      const float direction[3] = {x * shorten, -y * shorten, -shorten};  // OpenGL axes: right, up, back
      for (int a = 0; a < 3; a++) {
        rays_d[3 * i + a] = m[4 * a] * direction[0] + m[4 * a + 1] * direction[1] + m[4 * a + 2] * direction[2];
        rays_o[3 * i + a] = m[4 * a + 3];
      }
    }
  });
  return 0;
}
