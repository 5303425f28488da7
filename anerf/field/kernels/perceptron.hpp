// A bias-free perceptron with ReLU between its layers, on a block of samples whose activations stay in the
// caches. Matrices lie row-major as [fan out, fan in], one after the other (tiny-cuda-nn).
#pragma once
#include "gemm.hpp"
#include "memory.hpp"

namespace anerf {

struct Mlp {
  int32_t n_in, padded_in;  // columns n_in .. padded_in see ones
  int32_t width, n_hidden_layers;
  int32_t n_out, padded_out;

  int n_matrices() const { return n_hidden_layers + 1; }
  int fan_in(int i) const { return i == 0 ? padded_in : width; }
  int fan_out(int i) const { return i == n_hidden_layers ? padded_out : width; }
  size_t start(int i) const {  // of matrix i in the flat vector
    if (i == 0) return 0;
    return static_cast<size_t>(width) * padded_in + static_cast<size_t>(i - 1) * width * width;
  }
  size_t n_params() const { return start(n_hidden_layers) + static_cast<size_t>(padded_out) * width; }
};

// Every matrix as [fan in, fan out], the order in which the forward pass reads them.
inline Buffer transposed(const Mlp& mlp, const float* params) {
  Buffer out = make_buffer(mlp.n_params());
  for (int i = 0; i < mlp.n_matrices(); i++) {
    const int rows = mlp.fan_out(i), columns = mlp.fan_in(i);
    const float* from = params + mlp.start(i);
    float* to = out.get() + mlp.start(i);
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
  }
  return out;
}

// The memory of one block: activations of all hidden layers, and two layers' gradients.
struct MlpBlock {
  float* hidden;       // n_hidden_layers x rows x width
  float* d_hidden[2];  // rows x width each

  static size_t n_floats(const Mlp& mlp, long rows) {
    return static_cast<size_t>(mlp.n_hidden_layers + 2) * rows * mlp.width;
  }
  MlpBlock(const Mlp& mlp, long rows, float* memory)
      : hidden(memory),
        d_hidden{memory + static_cast<size_t>(mlp.n_hidden_layers) * rows * mlp.width,
                 memory + static_cast<size_t>(mlp.n_hidden_layers + 1) * rows * mlp.width} {}
};

// The hidden layers of in[rows][padded_in], into the block; returns the last. `rows` is a multiple of ROWS.
inline const float* mlp_hidden(const Mlp& mlp, const float* weights_t, long rows, const float* in, MlpBlock& block) {
  const float* below = in;
  long ld = mlp.padded_in;
  for (int i = 0; i < mlp.n_hidden_layers; i++) {
    float* layer = block.hidden + static_cast<size_t>(i) * rows * mlp.width;
    gemm<Finish::RELU>(rows, mlp.width, ld, below, ld, weights_t + mlp.start(i), mlp.width, layer, mlp.width);
    below = layer;
    ld = mlp.width;
  }
  return below;
}

// out[rows][padded_out] from in[rows][padded_in].
inline void mlp_forward(const Mlp& mlp, const float* weights_t, long rows, const float* in, MlpBlock& block,
                        float* out) {
  const float* top = mlp_hidden(mlp, weights_t, rows, in, block);
  gemm<Finish::PLAIN>(rows, mlp.padded_out, mlp.width, top, mlp.width, weights_t + mlp.start(mlp.n_hidden_layers),
                      mlp.padded_out, out, mlp.padded_out);
}

// From d_out[rows][padded_out], after mlp_hidden on the same block: adds to d_params what the first n samples
// owe, and writes d_in[rows][padded_in] unless it is null. Beyond its first n_d columns d_out is zero.
inline void mlp_backward(const Mlp& mlp, const float* params, long rows, long n, const float* in, MlpBlock& block,
                         const float* d_out, long n_d, float* d_params, float* d_in) {
  const float* d_above = d_out;
  long d_width = mlp.padded_out;  // of d_above's rows in memory
  for (int i = mlp.n_hidden_layers; i >= 0; i--) {
    const float* below = i ? block.hidden + static_cast<size_t>(i - 1) * rows * mlp.width : in;
    const long width = mlp.fan_in(i);
    // d_matrix[out][in] += sum over samples of d_above[sample][out] * below[sample][in]
    if (d_params)
      add_transposed_product(static_cast<long>(rounded_up(n_d, ROWS)), width, n, d_above, d_width, below, width,
                             d_params + mlp.start(i), width);
    const float* matrix = params + mlp.start(i);
    if (i > 0) {
      float* d_below = block.d_hidden[i & 1];
      gemm<Finish::MASK>(rows, width, n_d, d_above, d_width, matrix, width, d_below, width, below, width);
      d_above = d_below;
      d_width = n_d = width;
    } else if (d_in) {
      gemm<Finish::PLAIN>(rows, width, n_d, d_above, d_width, matrix, width, d_in, width);
    }
  }
}

}  // namespace anerf
