// Adam and SGD on a large table of which a batch touched little: only marked lines are visited, and gradient and
// marks are cleared in the same pass. As in tiny-cuda-nn, a value without a gradient stays as it is.
#include "grid.hpp"
#include "threads.hpp"

using namespace anerf;

namespace {

constexpr long LINES_AT_ONCE = 16384;
constexpr long AHEAD = 12;  // lines whose memory is asked for before they are needed

// Calls body(line) for every marked line, clears the marks, and fetches what lies ahead with fetch(line).
template <class Fetch, class Body>
void for_each_marked(int threads, long n_lines, uint8_t* marks, const Fetch& fetch, const Body& body) {
  parallel_for(threads, (n_lines + LINES_AT_ONCE - 1) / LINES_AT_ONCE, [&](long item, int) {
    const long start = item * LINES_AT_ONCE;
    const long end = start + LINES_AT_ONCE < n_lines ? start + LINES_AT_ONCE : n_lines;
    int32_t marked[LINES_AT_ONCE + AHEAD];
    long count = 0;
    for (long line = start; line < end;) {
      if (line + 8 <= end) {
        uint64_t eight;
        std::memcpy(&eight, marks + line, 8);
        if (eight == 0) {
          line += 8;
          continue;
        }
      }
      const long stop = line + 8 < end ? line + 8 : end;
      for (; line < stop; line++) {
        marked[count] = static_cast<int32_t>(line - start);
        count += marks[line] != 0;
        marks[line] = 0;
      }
    }
    for (long i = 0; i < count + AHEAD; i++) {
      if (i < count) fetch(start + marked[i]);
      if (i >= AHEAD) body(start + marked[i - AHEAD]);
    }
  });
}

inline void want(const float* p) { __builtin_prefetch(p, 1); }

}  // namespace

// One Adam step (Kingma & Ba 2015): step_size = rate / (1 - beta1^t), variance_scale = 1 / (1 - beta2^t).
ANERF_EXPORT int anerf_adam_touched(int threads, long n_lines, uint8_t* marks, float* values, float* grad,
                                    float* first, float* second, float step_size, float variance_scale,
                                    float beta1, float beta2, float epsilon) {
  for_each_marked(
      threads, n_lines, marks,
      [&](long line) {
        want(grad + line * LINE);
        want(values + line * LINE);
        want(first + line * LINE);
        want(second + line * LINE);
      },
      [&](long line) {
        float *p = values + line * LINE, *g = grad + line * LINE, *m = first + line * LINE, *v = second + line * LINE;
        for (int i = 0; i < LINE; i++) {
          const bool moved = g[i] != 0.0f;
          const float mean = m[i] + (1.0f - beta1) * (g[i] - m[i]);
          const float square = v[i] + (1.0f - beta2) * (g[i] * g[i] - v[i]);
          const float delta = step_size * mean / (__builtin_sqrtf(square * variance_scale) + epsilon);
          p[i] = moved ? p[i] - delta : p[i];
          m[i] = moved ? mean : m[i];
          v[i] = moved ? square : v[i];
          g[i] = 0.0f;
        }
      });
  return 0;
}

// One SGD step.
ANERF_EXPORT int anerf_sgd_touched(int threads, long n_lines, uint8_t* marks, float* values, float* grad, float rate) {
  for_each_marked(
      threads, n_lines, marks,
      [&](long line) {
        want(grad + line * LINE);
        want(values + line * LINE);
      },
      [&](long line) {
        for (long i = line * LINE; i < (line + 1) * LINE; i++) {
          values[i] -= rate * grad[i];
          grad[i] = 0.0f;
        }
      });
  return 0;
}
