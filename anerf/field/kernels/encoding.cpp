// The hash grid on its own: what tests compare with tiny-cuda-nn's golden vectors.
#include "encoding.hpp"

using namespace anerf;

// out[n_levels][n][F] from x[n][3].
ANERF_EXPORT int anerf_encode(const Grid* grid, int threads, long n, const float* x, const float* table, float* out) try {
  const Buffer columns = make_buffer(3 * n);
  encode(*grid, threads, n, columns_of(threads, n, x, columns.get()), table, out);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// From d_out[n_levels][n][F]: adds to d_table and marks its lines (unless d_table is null), writes d_x[n][3]
// (unless null).
ANERF_EXPORT int anerf_encode_backward(const Grid* grid, int threads, long n, const float* x, const float* table,
                                       const float* d_out, float* d_table, uint8_t* touched, float* d_x) try {
  const Buffer columns = make_buffer(3 * n);
  const Positions positions = columns_of(threads, n, x, columns.get());
  if (d_table) scatter(*grid, threads, n, positions, d_out, d_table, touched);
  if (d_x) position_gradient(*grid, threads, n, positions, table, d_out, d_x);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
