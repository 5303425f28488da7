"""Trees, bushes and hedges: clumps of many small ellipsoids, no two alike."""

import math

import numpy as np

from anerf.scene.made.shapes import Material, Rgb, Skin, Solid, block, ellipsoid

BARK = Skin(Material.BARK, (0.36, 0.29, 0.23))
_GREENS: tuple[Rgb, ...] = (
    (0.33, 0.43, 0.20), (0.28, 0.39, 0.19), (0.40, 0.46, 0.22), (0.24, 0.35, 0.19), (0.36, 0.40, 0.24),
    (0.44, 0.47, 0.27),
)  # fmt: skip
_COPPER: Rgb = (0.36, 0.20, 0.20)


def _foliage(rng: np.random.Generator, rgb: Rgb, material: Material = Material.LEAVES) -> Skin:
    """One clump's colour, a little off the tree's."""
    light = rng.uniform(0.88, 1.12)
    warm = rng.uniform(-0.02, 0.02)
    return Skin(material, (rgb[0] * light + warm, rgb[1] * light, rgb[2] * light - warm))


def broadleaf(
    rng: np.random.Generator, x: float, y: float, ground_m: float, height_m: float, group: str = ""
) -> list[Solid]:
    """A round, lobed crown on a short trunk."""
    rgb = _COPPER if rng.random() < 0.05 else _GREENS[int(rng.integers(len(_GREENS)))]
    radius = height_m * rng.uniform(0.28, 0.40)
    crown_low = ground_m + height_m * 0.22
    middle, half_high = (crown_low + ground_m + height_m) / 2, (ground_m + height_m - crown_low) / 2
    trunk = block(
        (x, y, ground_m + height_m * 0.25 - 0.5),
        (0.04 * radius + 0.1, 0.04 * radius + 0.1, height_m * 0.25 + 0.5),
        BARK,
        yaw_deg=float(rng.uniform(0, 90)),
        taper=(0.4, 0.4),
        group=group,
    )
    parts = [trunk]
    core = (0.62 * radius, 0.62 * radius, 0.68 * half_high)
    parts.append(
        ellipsoid((x, y, middle), core, _foliage(rng, rgb), seed=float(rng.uniform(0, 99)), group=group)
    )
    heart = (x, y, middle - 0.25 * half_high)
    n_clumps = int(14 + 6 * radius)
    for index in range(n_clumps):
        # A golden-angle spiral over the crown covers it evenly; jitter in place and size makes it irregular.
        up = 1.0 - 1.75 * (index + 0.5) / n_clumps + rng.uniform(-0.12, 0.12)
        up = float(np.clip(up, -0.8, 1.0))
        turn = index * 2.39996 + rng.uniform(-0.5, 0.5)
        reach = rng.uniform(0.58, 0.86)
        flat = math.sqrt(max(0.0, 1.0 - up * up)) * reach * radius
        size = radius * rng.uniform(0.20, 0.37)
        place = (x + flat * math.cos(turn), y + flat * math.sin(turn), middle + up * reach * half_high)
        half = (size * rng.uniform(0.9, 1.3), size * rng.uniform(0.9, 1.3), size * rng.uniform(0.65, 0.9))
        yaw = float(rng.uniform(0, 180))
        parts.append(
            ellipsoid(
                place,
                half,
                _foliage(rng, rgb),
                yaw_deg=yaw,
                seed=float(rng.uniform(0, 99)),
                group=group,
                heart=heart,
            )
        )
    return parts


def conifer(
    rng: np.random.Generator, x: float, y: float, ground_m: float, height_m: float, group: str = ""
) -> list[Solid]:
    """A spruce: ragged whorls that get smaller to the top."""
    rgb: Rgb = (0.20, 0.29, 0.21)
    radius = height_m * rng.uniform(0.17, 0.23)
    parts = [
        block(
            (x, y, ground_m + 0.4 * height_m),
            (0.14, 0.14, 0.4 * height_m),
            BARK,
            taper=(0.5, 0.5),
            group=group,
        )
    ]
    whorls = int(height_m / 0.9)
    for whorl in range(whorls):
        share = (whorl + 0.5) / whorls
        reach = radius * (1.0 - share) ** 0.85 + 0.18
        z = ground_m + height_m * (0.14 + 0.86 * share)
        spin = rng.uniform(0, 6.28)
        for arm in range(4 if share < 0.75 else 1):
            turn = spin + arm * 1.5708 + rng.uniform(-0.25, 0.25)
            out = 0.42 * reach if share < 0.75 else 0.0
            half = (reach * rng.uniform(0.6, 0.75), reach * rng.uniform(0.4, 0.5), 0.55)
            place = (x + out * math.cos(turn), y + out * math.sin(turn), z)
            heart = (x, y, z - 0.6)
            skin = _foliage(rng, rgb, Material.NEEDLES)
            seed = float(rng.uniform(0, 99))
            parts.append(
                ellipsoid(place, half, skin, yaw_deg=math.degrees(turn), seed=seed, group=group, heart=heart)
            )
    return parts


def bush(rng: np.random.Generator, x: float, y: float, ground_m: float, size_m: float) -> list[Solid]:
    """Three to five low clumps."""
    rgb = _GREENS[int(rng.integers(len(_GREENS)))]
    parts = []
    for _ in range(int(rng.integers(3, 6))):
        half = size_m * rng.uniform(0.4, 0.7)
        place = (
            x + rng.uniform(-0.5, 0.5) * size_m,
            y + rng.uniform(-0.5, 0.5) * size_m,
            ground_m + 0.4 * half,
        )
        parts.append(
            ellipsoid(
                place, (half, half * rng.uniform(0.7, 1.2), half * rng.uniform(0.7, 1.1)), _foliage(rng, rgb)
            )
        )
    return parts


def hedge(
    rng: np.random.Generator, start: tuple[float, float], end: tuple[float, float], ground_m: float
) -> list[Solid]:
    """A clipped hedge in pieces of about three metres."""
    rgb = _GREENS[int(rng.integers(len(_GREENS)))]
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    pieces = max(1, round(length / 3.0))
    yaw = math.degrees(math.atan2(dy, dx))
    parts = []
    for piece in range(pieces):
        share = (piece + 0.5) / pieces
        half = (length / pieces / 2 + 0.1, rng.uniform(0.35, 0.5), rng.uniform(0.6, 0.85))
        place = (start[0] + share * dx, start[1] + share * dy, ground_m + half[2] - 0.1)
        parts.append(block(place, half, _foliage(rng, rgb), yaw_deg=yaw, taper=(0.02, 0.15)))
    return parts


def fallen_tree(
    rng: np.random.Generator, x: float, y: float, ground_m: float, yaw_deg: float, length_m: float, group: str
) -> list[Solid]:
    """A tree lying on the ground with its crown towards `yaw_deg`."""
    angle = math.radians(yaw_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    rgb = _GREENS[int(rng.integers(len(_GREENS)))]
    trunk = block(
        (x, y, ground_m + 0.45),
        (length_m / 2, 0.32, 0.32),
        BARK,
        yaw_deg=yaw_deg,
        pitch_deg=-2.0,
        group=group,
    )
    root = (x - cosine * length_m / 2, y - sine * length_m / 2, ground_m + 0.7)
    parts = [
        trunk,
        ellipsoid(
            root, (0.5, 1.2, 1.2), Skin(Material.BARK, (0.30, 0.23, 0.17)), yaw_deg=yaw_deg, group=group
        ),
    ]
    for _ in range(26):
        along, across = rng.uniform(0.05, 0.62) * length_m, rng.normal(0, 0.14) * length_m
        size = length_m * rng.uniform(0.05, 0.10)
        up = ground_m + abs(rng.normal(0, 0.09)) * length_m + 0.5
        place = (x + along * cosine - across * sine, y + along * sine + across * cosine, up)
        parts.append(
            ellipsoid(place, (1.2 * size, size, 0.8 * size), _foliage(rng, rgb), yaw_deg=yaw_deg, group=group)
        )
    return parts
