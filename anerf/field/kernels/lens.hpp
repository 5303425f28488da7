// Lenses of COLMAP's camera models: from the plane of a picture to viewing directions. The float32 twin of
// anerf/geometry/distortion.py and lenses.py, which name the sources of the formulas.
#pragma once
#include <cmath>
#include <cstdint>

namespace anerf {

// `Family` in anerf/geometry/camera_models.py.
enum LensFamily : int32_t {
  PINHOLE,
  OPENCV,
  FULL_OPENCV,
  FISHEYE,
  THIN_PRISM_FISHEYE,
  RAD_TAN_THIN_PRISM_FISHEYE,
  FOV,
  DIVISION,
  EUCM,
  EQUIRECTANGULAR
};

struct Lens {
  int32_t family, radial_only;
  float fx, fy, cx, cy;
  float reach, limit;  // radius up to which the radial distortion rises, and where it goes
  float k[12];
};

struct Place {
  float x, y;
};

constexpr int NEWTON_STEPS = 10;
constexpr int BRACKET_STEPS = 40;
constexpr float CLOSE_ENOUGH = 1e-14f;  // squared length of a step, far below a pixel's thousandth
constexpr float NEAR_ENOUGH = 1e-9f;    // squared length of the last step where rounding keeps it from less
constexpr float TINY = 1e-30f;

// The radial gain at a squared radius, and its derivative.
template <int family>
inline void radial_gain(const Lens& lens, float r2, float& gain, float& slope) {
  const float* k = lens.k;
  if (family == OPENCV) {
    gain = 1 + r2 * (k[0] + r2 * k[1]), slope = k[0] + 2 * k[1] * r2;
  } else if (family == FULL_OPENCV) {
    const float above = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4])), rise = k[0] + r2 * (2 * k[1] + r2 * 3 * k[4]);
    const float below = 1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7])), fall = k[5] + r2 * (2 * k[6] + r2 * 3 * k[7]);
    gain = above / below, slope = (rise - gain * fall) / below;
  } else if (family == THIN_PRISM_FISHEYE) {
    gain = 1 + r2 * (k[0] + r2 * (k[1] + r2 * (k[4] + r2 * k[5])));
    slope = k[0] + r2 * (2 * k[1] + r2 * (3 * k[4] + r2 * 4 * k[5]));
  } else {
    gain = k[5], slope = 0;
    for (int i = 4; i >= -1; i--) slope = slope * r2 + gain, gain = gain * r2 + (i < 0 ? 1.0f : k[i]);
  }
}

// The plane coordinates that the radial distortion moves to `moved`, by Newton's method inside a bracket.
template <int family>
inline Place undo_radial(const Lens& lens, Place moved) {
  const float target = __builtin_sqrtf(moved.x * moved.x + moved.y * moved.y);
  if (!(target > TINY)) return moved;
  const float wanted = target < lens.limit ? target : lens.limit;
  float low = 0, high = lens.reach, r = wanted < high ? wanted : high, last2 = 1e30f;
  for (int i = 0; i < BRACKET_STEPS; i++) {
    float gain, slope;
    radial_gain<family>(lens, r * r, gain, slope);
    const float over = r * gain - wanted;
    if (over <= 0) low = r;
    if (over >= 0) high = r;
    float ahead = r - over / (gain + 2 * r * r * slope);
    // Steps that do not get shorter may go round in circles.
    if (!(ahead >= low && ahead <= high && 4 * (ahead - r) * (ahead - r) <= last2)) ahead = 0.5f * (low + high);
    last2 = (ahead - r) * (ahead - r);
    r = ahead;
    if (last2 < CLOSE_ENOUGH) break;
  }
  const float stretch = r / target;
  return {moved.x * stretch, moved.y * stretch};
}

// Newton's method in the plane from a first guess; false where it did not get near.
template <int family>
inline bool newton(const Lens& lens, Place& at, Place wanted) {
  constexpr bool rad_tan = family == RAD_TAN_THIN_PRISM_FISHEYE, thin = family == THIN_PRISM_FISHEYE;
  const float* k = lens.k;
  const float p1 = rad_tan ? k[7] : k[2], p2 = rad_tan ? k[6] : k[3];
  const float sx = rad_tan ? k[8] : thin ? k[6] : 0, sy = rad_tan ? k[10] : thin ? k[7] : 0;
  const float sx4 = rad_tan ? k[9] : 0, sy4 = rad_tan ? k[11] : 0;
  float x = at.x, y = at.y, step2 = 0;
  for (int i = 0; i < NEWTON_STEPS; i++) {
    const float r2 = x * x + y * y;
    float gain = 1, slope = 0;
    if (!rad_tan) radial_gain<family>(lens, r2, gain, slope);
    slope *= 2;
    float rx = x * gain + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) - wanted.x;
    float ry = y * gain + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) - wanted.y;
    float d_xx = gain + x * x * slope + 2 * p1 * y + 6 * p2 * x;
    float d_xy = x * y * slope + 2 * p1 * x + 2 * p2 * y, d_yx = d_xy;
    float d_yy = gain + y * y * slope + 2 * p2 * x + 6 * p1 * y;
    if (rad_tan || thin) {
      const float prism_x = 2 * sx + 4 * sx4 * r2, prism_y = 2 * sy + 4 * sy4 * r2;
      rx += r2 * (sx + sx4 * r2), ry += r2 * (sy + sy4 * r2);
      d_xx += prism_x * x, d_xy += prism_x * y, d_yx += prism_y * x, d_yy += prism_y * y;
    }
    const float determinant = d_xx * d_yy - d_xy * d_yx;
    const float step_x = (d_yy * rx - d_xy * ry) / determinant, step_y = (d_xx * ry - d_yx * rx) / determinant;
    x -= step_x;
    y -= step_y;
    step2 = step_x * step_x + step_y * step_y;
    if (step2 < CLOSE_ENOUGH) break;
  }
  // Also false where they are no numbers.
  if (!(step2 < NEAR_ENOUGH && (rad_tan || x * x + y * y <= lens.reach * lens.reach * 1.0001f))) return false;
  at = {x, y};
  return true;
}

// The ideal coordinates that the lens moves to `moved`; at the edge of its reach where there are none.
template <int family>
inline Place undistorted(const Lens& lens, Place moved) {
  if (family == RAD_TAN_THIN_PRISM_FISHEYE) {
    Place flat = moved;
    newton<family>(lens, flat, moved);
    return undo_radial<family>(lens, flat);
  }
  if (family == OPENCV || family == FULL_OPENCV) {
    // Drones' lenses bend little: nearly always, Newton's method gets there without help.
    Place ideal = moved;
    if (newton<family>(lens, ideal, moved)) return ideal;
  }
  Place ideal = undo_radial<family>(lens, moved);
  if (family != FISHEYE && !lens.radial_only) newton<family>(lens, ideal, moved);
  return ideal;
}

// Direction (not of unit length; x right, y down, z forward) of a place in the plane at focal length 1.
inline void direction_of(const Lens& lens, Place at, float direction[3]) {
  const float r2 = at.x * at.x + at.y * at.y, radius = __builtin_sqrtf(r2);
  float across = 1, along = 1;
  switch (lens.family) {
    case OPENCV: at = undistorted<OPENCV>(lens, at); break;
    case FULL_OPENCV: at = undistorted<FULL_OPENCV>(lens, at); break;
    case FISHEYE:
    case THIN_PRISM_FISHEYE:
    case RAD_TAN_THIN_PRISM_FISHEYE: {
      at = lens.family == FISHEYE              ? undistorted<FISHEYE>(lens, at)
           : lens.family == THIN_PRISM_FISHEYE ? undistorted<THIN_PRISM_FISHEYE>(lens, at)
                                               : undistorted<RAD_TAN_THIN_PRISM_FISHEYE>(lens, at);
      const float angle = __builtin_sqrtf(at.x * at.x + at.y * at.y);
      across = angle > TINY ? std::sin(angle) / angle : 1.0f, along = std::cos(angle);
      break;
    }
    case FOV: {
      const float omega = std::fabs(lens.k[0]), full = radius * omega, angle = full < 1.57079633f ? full : 1.57079633f;
      across = radius > TINY ? std::sin(angle) / radius : omega, along = 2 * std::tan(omega / 2) * std::cos(angle);
      break;
    }
    case DIVISION: along = 1 + lens.k[0] * r2; break;
    case EUCM: {
      const float alpha = lens.k[0], beta = lens.k[1], under_root = 1 - (2 * alpha - 1) * beta * r2;
      const float below = alpha * __builtin_sqrtf(under_root > 0 ? under_root : 0.0f) + 1 - alpha;
      along = (1 - alpha * alpha * beta * r2) / (below > 1e-7f ? below : 1e-7f);
      break;
    }
    case EQUIRECTANGULAR: {
      const float level = std::cos(at.y);
      direction[0] = level * std::sin(at.x), direction[1] = std::sin(at.y), direction[2] = level * std::cos(at.x);
      return;
    }
    default: break;  // a pinhole
  }
  direction[0] = at.x * across, direction[1] = at.y * across, direction[2] = along;
}

}  // namespace anerf
