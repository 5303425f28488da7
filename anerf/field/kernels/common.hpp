// What every kernel needs: the widest vector of this build, and an exponential that vectorises.
#pragma once
#include <cstdint>
#include <cstring>
#include <new>

// Functions that Python calls. They return 0, or 1 where memory ran out; nothing is thrown across the border.
#define ANERF_EXPORT extern "C" __attribute__((visibility("default")))

namespace anerf {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;  // SSE or NEON
#endif

// GNU vector extensions: gcc, clang and zig map them to the machine's registers. In memory a vector may start
// anywhere; a type of its own says so, since the register's type must not alias other memory.
typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float Memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const Memory*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Memory*>(p) = v; }

// exp(x), 2e-7 relative, without a branch or a call, so that loops of it vectorise (Cephes' expf).
// Beyond +-87 it stays at the largest and smallest normal values; NaN stays NaN.
inline float fast_exp(float x) {
  const float inside = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
  const float shifted = inside * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to the nearest integer
  const float n = shifted - 12582912.0f;
  const float r = inside - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, 4);  // the integer sits in the low bits of the mantissa
  const uint32_t exponent = (bits + 127u) << 23;
  float power;
  std::memcpy(&power, &exponent, 4);
  return p * power;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

inline size_t rounded_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

}  // namespace anerf
