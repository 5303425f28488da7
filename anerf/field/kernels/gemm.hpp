// Small matrix products with everything in the caches: C[rows][columns] = sum_p A(row, p) * B[p][column].
// One register-blocked micro-kernel serves the forward pass and both halves of the backward pass: only the way
// it reads A differs. Rows come in multiples of ROWS, columns in multiples of 16.
#pragma once
#include "common.hpp"

namespace anerf {

constexpr int ROWS = LANES == 16 ? 8 : 4;  // ROWS x 2 accumulators fit the registers of every instruction set

enum class Finish {
  PLAIN,
  RELU,        // C = max(C, 0), NaN stays NaN
  MASK,        // C = 0 where H <= 0: the derivative of ReLU
  ACCUMULATE,  // C += product
};

// A's element (row, p) is data[row * ROW + p * P]. Strides are constants of the kernel where it matters: with
// them in the instructions' displacements one register addresses all rows. 0 stands for `ld`.
template <long ROW, long P>
struct Left {
  const float* data;
  long ld;
  float operator()(long row, long p) const { return data[row * (ROW ? ROW : ld) + p * (P ? P : ld)]; }
  Left below(long row) const { return {data + row * (ROW ? ROW : ld), ld}; }
};

template <int NR, Finish FINISH, class A>
inline void micro_kernel(long n_p, const A& a, const float* b, long ldb, float* c, long ldc, const float* h, long ldh) {
  Vec sum[ROWS][NR];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int j = 0; j < NR; j++) sum[r][j] = FINISH == Finish::ACCUMULATE ? load(c + r * ldc + j * LANES) : Vec{};
  for (long p = 0; p < n_p; p++) {
    Vec right[NR];
#pragma GCC unroll 8
    for (int j = 0; j < NR; j++) right[j] = load(b + p * ldb + j * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
      const Vec left = a(r, p) - Vec{};
#pragma GCC unroll 8
      for (int j = 0; j < NR; j++) sum[r][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int j = 0; j < NR; j++) {
      Vec v = sum[r][j];
      if (FINISH == Finish::RELU) v = v < 0.0f ? Vec{} : v;
      if (FINISH == Finish::MASK) v = load(h + r * ldh + j * LANES) <= 0.0f ? Vec{} : v;
      store(c + r * ldc + j * LANES, v);
    }
}

template <Finish FINISH, class A>
void product(long rows, long columns, long n_p, const A& a, const float* b, long ldb, float* c, long ldc,
             const float* h, long ldh) {
  for (long column = 0; column < columns;) {
    const bool pair = columns - column >= 2 * LANES;
    for (long row = 0; row < rows; row += ROWS) {
      const float* masks = h ? h + row * ldh + column : nullptr;
      float* out = c + row * ldc + column;
      if (pair)
        micro_kernel<2, FINISH>(n_p, a.below(row), b + column, ldb, out, ldc, masks, ldh);
      else
        micro_kernel<1, FINISH>(n_p, a.below(row), b + column, ldb, out, ldc, masks, ldh);
    }
    column += pair ? 2 * LANES : LANES;
  }
}

// C[rows][columns] from A[rows][n_p] with ld floats from row to row.
template <Finish FINISH>
void gemm(long rows, long columns, long n_p, const float* a, long ld, const float* b, long ldb, float* c, long ldc,
          const float* h = nullptr, long ldh = 0) {
  switch (ld) {
    case 16: return product<FINISH>(rows, columns, n_p, Left<16, 1>{a, ld}, b, ldb, c, ldc, h, ldh);
    case 32: return product<FINISH>(rows, columns, n_p, Left<32, 1>{a, ld}, b, ldb, c, ldc, h, ldh);
    case 64: return product<FINISH>(rows, columns, n_p, Left<64, 1>{a, ld}, b, ldb, c, ldc, h, ldh);
    default: return product<FINISH>(rows, columns, n_p, Left<0, 1>{a, ld}, b, ldb, c, ldc, h, ldh);
  }
}

// C[rows][columns] += A^T B, where A is [n_p][rows] with ld floats from row to row.
inline void add_transposed_product(long rows, long columns, long n_p, const float* a, long ld, const float* b,
                                   long ldb, float* c, long ldc) {
  constexpr Finish ADD = Finish::ACCUMULATE;
  switch (ld) {
    case 16: return product<ADD>(rows, columns, n_p, Left<1, 16>{a, ld}, b, ldb, c, ldc, nullptr, 0);
    case 64: return product<ADD>(rows, columns, n_p, Left<1, 64>{a, ld}, b, ldb, c, ldc, nullptr, 0);
    default: return product<ADD>(rows, columns, n_p, Left<1, 0>{a, ld}, b, ldb, c, ldc, nullptr, 0);
  }
}

}  // namespace anerf
