// A perceptron on its own: the background head, and what tests compare with golden vectors.
#include "perceptron.hpp"
#include "threads.hpp"

using namespace anerf;

namespace {
constexpr long BLOCK = 128;
}

// out[n][padded_out] from x[n][n_in]. With `d_out` (same shape as out): adds to d_params, writes d_x[n][n_in]
// (either may be null).
ANERF_EXPORT int anerf_mlp(const Mlp* mlp, int threads, long n, const float* x, const float* params, float* out,
                           const float* d_out, float* d_params, float* d_x) try {
  const Buffer weights_t = transposed(*mlp, params);
  const size_t edges = 2 * BLOCK * (mlp->padded_in + mlp->padded_out);
  const size_t floats = edges + MlpBlock::n_floats(*mlp, BLOCK), n_params = mlp->n_params();
  const long blocks = (n + BLOCK - 1) / BLOCK;
  const long chunks = blocks < 32 ? blocks : 32;  // fixed, so that sums do not depend on threads
  const Buffer memory = make_buffer(chunks * (floats + n_params));
  parallel_for(threads, chunks, [&](long chunk, int) {
    float* in = memory.get() + chunk * (floats + n_params);
    float *d_in = in + BLOCK * mlp->padded_in, *top = d_in + BLOCK * mlp->padded_in, *d_top = top + BLOCK * mlp->padded_out;
    float* sum = in + floats;
    std::memset(in, 0, sizeof(float) * (floats + n_params));
    for (long k = 0; k < BLOCK; k++)
      for (int i = mlp->n_in; i < mlp->padded_in; i++) in[k * mlp->padded_in + i] = 1.0f;
    MlpBlock block(*mlp, BLOCK, in + edges);
    for (long b = blocks * chunk / chunks; b < blocks * (chunk + 1) / chunks; b++) {
      const long start = b * BLOCK, m = n - start < BLOCK ? n - start : BLOCK, rows = rounded_up(m, ROWS);
      for (long k = 0; k < m; k++)
        std::memcpy(in + k * mlp->padded_in, x + (start + k) * mlp->n_in, sizeof(float) * mlp->n_in);
      mlp_forward(*mlp, weights_t.get(), rows, in, block, top);
      if (out) std::memcpy(out + start * mlp->padded_out, top, sizeof(float) * m * mlp->padded_out);
      if (!d_out) continue;
      std::memcpy(d_top, d_out + start * mlp->padded_out, sizeof(float) * m * mlp->padded_out);
      mlp_backward(*mlp, params, rows, m, in, block, d_top, mlp->padded_out, d_params ? sum : nullptr, d_x ? d_in : nullptr);
      for (long k = 0; d_x && k < m; k++)
        std::memcpy(d_x + (start + k) * mlp->n_in, d_in + k * mlp->padded_in, sizeof(float) * mlp->n_in);
    }
  });
  for (long chunk = 0; d_params && chunk < chunks; chunk++) {
    const float* sum = memory.get() + chunk * (floats + n_params) + floats;
    for (size_t i = 0; i < n_params; i++) d_params[i] += sum[i];
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
