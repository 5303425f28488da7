"""The ground's colours: a list of painted areas, later ones over earlier ones, drawn onto a canvas."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anerf.scene.made.noise import fbm, seen, value_noise
from anerf.scene.made.shapes import Rgb, linear_from_srgb

_N_LEVELS = 4  # a canvas and its coarser copies


class Cover(Enum):
    """What an area is covered with; decides its texture."""

    PLAIN = "plain"
    ASPHALT = "asphalt"
    PAVING = "paving"
    PAINT = "paint"
    LAWN = "lawn"
    GRAVEL = "gravel"
    FIELD = "field"
    RUBBLE = "rubble"
    MUD = "mud"


@dataclass(frozen=True)
class Stroke:
    """A rectangle or ellipse of ground: centre, half sizes, colour (sRGB), how soft its edge is."""

    cover: Cover
    x: float
    y: float
    half_x: float
    half_y: float
    rgb: Rgb
    yaw_deg: float = 0.0
    soft_m: float = 0.1
    round: bool = False
    opacity: float = 1.0


def _texture(stroke: Stroke, x: Tensor, y: Tensor, u: Tensor, v: Tensor, texel_m: float) -> Tensor:
    """Brightness factor and tint, (n, 3), of the cover at world (x, y) and stroke (u, v)."""
    foot = torch.full_like(x, texel_m * 0.7)
    one = torch.ones_like(x)

    def grain(*cells_m: float) -> Tensor:
        return fbm(x, y, cells_m, foot)

    match stroke.cover:
        case Cover.ASPHALT:
            # Repairs: whole cells of a coarse lattice a little darker, and tracks where wheels run.
            patch = (value_noise(torch.floor(u / 5.2) * 7.7, torch.floor(v / 2.9) * 5.1) > 0.55).float()
            crack = (1.0 - grain(3.1, 1.4).abs() / 0.05).clamp(0.0, 1.0) * (grain(9.0) > 0.1)
            light = 1.0 + 0.10 * grain(7.0, 2.4, 0.9, 0.4, 0.2) - 0.16 * patch - 0.25 * crack
            return light[:, None].expand(-1, 3)
        case Cover.PAVING:
            slab = value_noise(torch.floor(x / 0.6) * 3.3, torch.floor(y / 0.6) * 4.7)
            joint = torch.minimum((x / 0.6).frac().abs(), (y / 0.6).frac().abs()) < 0.1
            light = (
                1.0
                + 0.10 * seen(0.6, foot) * slab
                + 0.10 * grain(5.0, 1.6, 0.5)
                - 0.12 * seen(0.3, foot) * joint
            )
            return light[:, None].expand(-1, 3)
        case Cover.LAWN:
            mown = 0.05 * torch.sin(u / 1.1) * seen(2.0, foot)
            light = 1.0 + 0.26 * grain(11.0, 4.3, 1.7, 0.7, 0.3) + mown
            dry = (0.5 + 0.9 * grain(15.0, 5.0)).clamp(0.0, 1.0)
            return torch.stack((light * (0.86 + 0.34 * dry), light, light * (0.92 + 0.12 * dry)), dim=1)
        case Cover.FIELD:
            row = torch.sin(v * (2 * torch.pi / 1.5)) * seen(0.9, foot)
            tram = ((v / 18.0).frac().abs() < 0.035).float() + (
                ((v + 1.8) / 18.0).frac().abs() < 0.035
            ).float()
            light = 1.0 + 0.10 * row + 0.20 * grain(30.0, 11.0, 4.0, 1.5, 0.6) - 0.22 * tram
            return torch.stack((light * (1.0 + 0.08 * grain(22.0)), light, light), dim=1)
        case Cover.RUBBLE | Cover.MUD:
            light = 1.0 + 0.42 * grain(2.4, 1.0, 0.5, 0.25)
            return torch.stack(
                (light * (1.0 + 0.10 * grain(1.3)), light, light * (1.0 - 0.06 * grain(1.3))), dim=1
            )
        case Cover.GRAVEL:
            return (1.0 + 0.16 * grain(3.0, 1.0, 0.4, 0.2))[:, None].expand(-1, 3)
        case Cover.PAINT:
            worn = (1.05 + 0.5 * grain(1.8, 0.6, 0.25)).clamp(0.6, 1.0)
            return (worn * one)[:, None].expand(-1, 3)
        case Cover.PLAIN:
            return (1.0 + 0.06 * grain(2.0, 0.7))[:, None].expand(-1, 3)


@dataclass(frozen=True)
class Canvas:
    """Linear ground colours on a square of +-`half_m`, texels of `texel_m`, with coarser copies."""

    half_m: float
    texel_m: float
    levels: tuple[Float[Tensor, "side side 3"], ...]

    def colour(self, x: Tensor, y: Tensor, footprint_m: Tensor) -> Float[Tensor, "n 3"]:
        """Colours at (x, y), averaged over about `footprint_m`; places outside take the rim's colour."""
        wanted = torch.log2((footprint_m / self.texel_m).clamp_min(1.0)).clamp_max(len(self.levels) - 1.001)
        low = torch.floor(wanted)
        share = (wanted - low)[:, None]
        out = torch.empty(x.shape[0], 3)
        for level in range(len(self.levels) - 1):
            chosen = torch.nonzero(low == level)[:, 0]
            if len(chosen):
                fine = self._bilinear(level, x[chosen], y[chosen])
                coarse = self._bilinear(level + 1, x[chosen], y[chosen])
                out[chosen] = torch.lerp(fine, coarse, share[chosen])
        return out

    def _bilinear(self, level: int, x: Tensor, y: Tensor) -> Tensor:
        image = self.levels[level]
        side = image.shape[0]
        step = 2.0 * self.half_m / side
        u = ((x + self.half_m) / step - 0.5).clamp(0.0, side - 1.001)
        v = ((y + self.half_m) / step - 0.5).clamp(0.0, side - 1.001)
        iu, iv = u.int(), v.int()
        fu, fv = (u - iu)[:, None], (v - iv)[:, None]
        flat, at = image.reshape(-1, 3), iv * side + iu
        low = torch.lerp(flat.index_select(0, at), flat.index_select(0, at + 1), fu)
        high = torch.lerp(flat.index_select(0, at + side), flat.index_select(0, at + side + 1), fu)
        return torch.lerp(low, high, fv)


def paint(
    strokes: Sequence[Stroke],
    half_m: float,
    texel_m: float,
    *,
    hole_m: float = 0.0,
    under: Canvas | None = None,
) -> Canvas:
    """Draws `strokes` in their order, over a copy of `under` where given.

    Strokes wholly inside +-`hole_m`, where nobody looks at this canvas, are left out.
    """
    unit = 2 ** (_N_LEVELS - 1)
    side = round(2 * half_m / texel_m / unit) * unit
    texel_m = 2 * half_m / side
    image = torch.zeros(side, side, 3) if under is None else under.levels[0].clone()
    for stroke in strokes:
        if max(abs(stroke.x), abs(stroke.y)) + np.hypot(stroke.half_x, stroke.half_y) > hole_m:
            _draw(image, stroke, half_m, texel_m)
    levels = [image]
    for _ in range(_N_LEVELS - 1):
        finer = levels[-1].permute(2, 0, 1)[None]
        levels.append(torch.nn.functional.avg_pool2d(finer, 2)[0].permute(1, 2, 0).contiguous())
    return Canvas(half_m, texel_m, tuple(levels))


def _draw(image: Tensor, stroke: Stroke, half_m: float, texel_m: float) -> None:
    side = image.shape[0]
    angle = np.deg2rad(stroke.yaw_deg)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    reach_x = abs(cosine) * stroke.half_x + abs(sine) * stroke.half_y + stroke.soft_m
    reach_y = abs(sine) * stroke.half_x + abs(cosine) * stroke.half_y + stroke.soft_m
    x0, x1 = (int(np.clip((stroke.x + s * reach_x + half_m) / texel_m + s, 0, side)) for s in (-1, 1))
    y0, y1 = (int(np.clip((stroke.y + s * reach_y + half_m) / texel_m + s, 0, side)) for s in (-1, 1))
    if x1 <= x0 or y1 <= y0:
        return
    ys = (torch.arange(y0, y1) + 0.5) * texel_m - half_m
    xs = (torch.arange(x0, x1) + 0.5) * texel_m - half_m
    y, x = (axis.reshape(-1) for axis in torch.meshgrid(ys, xs, indexing="ij"))
    u = (x - stroke.x) * cosine + (y - stroke.y) * sine
    v = (y - stroke.y) * cosine - (x - stroke.x) * sine
    soft = max(stroke.soft_m, texel_m)
    if stroke.round:
        inside = (1.0 - torch.sqrt((u / stroke.half_x) ** 2 + (v / stroke.half_y) ** 2)) * min(
            stroke.half_x, stroke.half_y
        )
        cover = (inside / soft + 0.5).clamp(0.0, 1.0)
    else:
        across = ((stroke.half_x - u.abs()) / soft + 0.5).clamp(0.0, 1.0)
        cover = across * ((stroke.half_y - v.abs()) / soft + 0.5).clamp(0.0, 1.0)
        # Marks thinner than a texel tint it by their share.
        cover = cover * min(1.0, 2 * stroke.half_x / texel_m) * min(1.0, 2 * stroke.half_y / texel_m)
    if stroke.soft_m > 1.0:  # a wide edge frays
        cover = (cover * (1.0 + 1.2 * value_noise(x / 1.3, y / 1.3) * (1.0 - cover))).clamp(0.0, 1.0)
    base = torch.from_numpy(linear_from_srgb(np.array(stroke.rgb)).astype(np.float32))
    colour = base * _texture(stroke, x, y, u, v, texel_m).clamp_min(0.1)
    area = image[y0:y1, x0:x1]
    area += (cover * stroke.opacity).reshape(y1 - y0, x1 - x0, 1) * (colour.reshape(area.shape) - area)
