// Real spherical harmonics up to degree 4 with the sign (-1)^m, as tiny-cuda-nn has them, of directions in [-1, 1].
#include "common.hpp"
#include "threads.hpp"

using namespace anerf;

namespace {

constexpr long AT_ONCE = 4096;

template <int DEGREE>
inline void values(float x, float y, float z, float* v) {
  const float xx = x * x, yy = y * y, zz = z * z;
  v[0] = 0.28209479177387814f;
  if (DEGREE > 1) {
    v[1] = -0.48860251190291987f * y;
    v[2] = 0.48860251190291987f * z;
    v[3] = -0.48860251190291987f * x;
  }
  if (DEGREE > 2) {
    v[4] = 1.0925484305920792f * x * y;
    v[5] = -1.0925484305920792f * y * z;
    v[6] = 0.94617469575755997f * zz - 0.31539156525251999f;
    v[7] = -1.0925484305920792f * x * z;
    v[8] = 0.54627421529603959f * (xx - yy);
  }
  if (DEGREE > 3) {
    v[9] = 0.59004358992664352f * y * (yy - 3.0f * xx);
    v[10] = 2.8906114426405538f * x * y * z;
    v[11] = 0.45704579946446572f * y * (1.0f - 5.0f * zz);
    v[12] = 0.3731763325901154f * z * (5.0f * zz - 3.0f);
    v[13] = 0.45704579946446572f * x * (1.0f - 5.0f * zz);
    v[14] = 1.4453057213202769f * z * (xx - yy);
    v[15] = 0.59004358992664352f * x * (3.0f * yy - xx);
  }
}

// sum over values of g[i] * d v[i] / d (x, y, z).
template <int DEGREE>
inline void gradient(float x, float y, float z, const float* g, float* d) {
  const float xx = x * x, yy = y * y, zz = z * z;
  float dx = 0.0f, dy = 0.0f, dz = 0.0f;
  if (DEGREE > 1) {
    dx -= 0.48860251190291987f * g[3];
    dy -= 0.48860251190291987f * g[1];
    dz += 0.48860251190291987f * g[2];
  }
  if (DEGREE > 2) {
    dx += 1.0925484305920792f * (y * g[4] - z * g[7] + x * g[8]);
    dy += 1.0925484305920792f * (x * g[4] - z * g[5] - y * g[8]);
    dz += 1.0925484305920792f * (-y * g[5] - x * g[7]) + 1.89234939151512f * z * g[6];
  }
  if (DEGREE > 3) {
    dx += 0.59004358992664352f * (-6.0f * x * y * g[9] + 3.0f * (yy - xx) * g[15]) + 2.8906114426405538f * y * z * g[10] +
          0.45704579946446572f * (1.0f - 5.0f * zz) * g[13] + 2.8906114426405538f * x * z * g[14];
    dy += 0.59004358992664352f * (3.0f * (yy - xx) * g[9] + 6.0f * x * y * g[15]) + 2.8906114426405538f * x * z * g[10] +
          0.45704579946446572f * (1.0f - 5.0f * zz) * g[11] - 2.8906114426405538f * y * z * g[14];
    dz += 2.8906114426405538f * x * y * g[10] - 4.5704579946446572f * z * (y * g[11] + x * g[13]) +
          0.3731763325901154f * (15.0f * zz - 3.0f) * g[12] + 1.4453057213202769f * (xx - yy) * g[14];
  }
  d[0] = dx;
  d[1] = dy;
  d[2] = dz;
}

template <int DEGREE>
void run(int threads, long n, const float* dirs, float* out, long stride, const float* d_out, float* d_dirs) {
  parallel_for(threads, (n + AT_ONCE - 1) / AT_ONCE, [&](long item, int) {
    const long end = (item + 1) * AT_ONCE < n ? (item + 1) * AT_ONCE : n;
    for (long i = item * AT_ONCE; i < end; i++) {
      const float x = dirs[3 * i], y = dirs[3 * i + 1], z = dirs[3 * i + 2];
      if (out) values<DEGREE>(x, y, z, out + i * stride);
      if (d_dirs) gradient<DEGREE>(x, y, z, d_out + i * DEGREE * DEGREE, d_dirs + 3 * i);
    }
  });
}

}  // namespace

// out[i * stride + k] from dirs[n][3] (unless out is null); d_dirs[n][3] from d_out[n][degree^2] (unless null).
ANERF_EXPORT int anerf_harmonics(int threads, long n, long degree, const float* dirs, float* out, long stride,
                                 const float* d_out, float* d_dirs) {
  switch (degree) {
    case 1: run<1>(threads, n, dirs, out, stride, d_out, d_dirs); break;
    case 2: run<2>(threads, n, dirs, out, stride, d_out, d_dirs); break;
    case 3: run<3>(threads, n, dirs, out, stride, d_out, d_dirs); break;
    default: run<4>(threads, n, dirs, out, stride, d_out, d_dirs); break;
  }
  return 0;
}
