"""First hits of a whole view, the z-buffer way: only the rays of its screen rectangle test a solid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.scene.made.shapes import SolidTable, enter_blocks, enter_ellipsoids
from anerf.scene.made.terrain import Terrain

_PAIRS_AT_ONCE = 1 << 17  # keeps the temporaries of a batch in the cache
_STEPS_PX = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 4096)
_SLACK_PX = 0.02
_RAYS_AT_ONCE = 2048
_BALL_SLACK_M = 0.05


@dataclass(frozen=True)
class View:
    """A picture's rays: pixel (x, y) looks from `origin @ (1, x, y)` along `direction @ (1, x, y)`.

    A perspective view has one origin, an orthographic one has one direction. `to_image` (3, 4) maps
    homogeneous world points to homogeneous pixel coordinates; all float64.
    """

    width: int
    height: int
    origin: Float[Tensor, "3 3"]
    direction: Float[Tensor, "3 3"]
    to_image: Float[Tensor, "3 4"]

    def rays(self) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Origins and (not unit) directions through the centres of all pixels, row by row, float32."""
        y, x = torch.meshgrid(
            torch.arange(self.height, dtype=torch.float64) + 0.5,
            torch.arange(self.width, dtype=torch.float64) + 0.5,
            indexing="ij",
        )
        xy1 = torch.stack((torch.ones_like(x), x, y), dim=-1).reshape(-1, 3)
        return (xy1 @ self.origin.T).float(), (xy1 @ self.direction.T).float()


def perspective(
    width: int, height: int, pinhole: tuple[float, float, float, float], c2w: Float[Tensor, "3 4"]
) -> View:
    """The view of a pinhole camera (fx, fy, cx, cy in pixels) at `c2w` (OpenGL axes, metres)."""
    fx, fy, cx, cy = pinhole
    turn, eye = c2w[:, :3].double(), c2w[:, 3].double()
    right, up, back = turn.unbind(-1)
    direction = torch.stack((-right * (cx / fx) + up * (cy / fy) - back, right / fx, -up / fy), dim=-1)
    origin = torch.stack((eye, torch.zeros_like(eye), torch.zeros_like(eye)), dim=-1)
    rows = torch.stack((fx * right - cx * back, -fy * up - cy * back, -back))
    return View(width, height, origin, direction, torch.cat((rows, -(rows @ eye)[:, None]), dim=1))


def orthographic(
    width: int, height: int, texel_m: float, corner: Float[Tensor, "3"], axes: Float[Tensor, "3 3"]
) -> View:
    """Parallel rays: `axes` has right, down and forward as columns; pixel (0, 0) begins at `corner`."""
    right, down, forward = axes.double().unbind(-1)
    corner = corner.double()
    origin = torch.stack((corner, right * texel_m, down * texel_m), dim=-1)
    zero = torch.zeros_like(forward)
    rows = torch.stack((right / texel_m, down / texel_m, zero))
    last = -(rows @ corner)[:, None]
    last[2] = 1.0
    return View(
        width, height, origin, torch.stack((forward, zero, zero), dim=-1), torch.cat((rows, last), dim=1)
    )


def screen_boxes(view: View, table: SolidTable) -> Int[Tensor, "p 4"]:
    """First and one past the last pixel (x0, y0, x1, y1) that may see each solid; empty where x1 <= x0."""
    local = torch.linalg.inv(table.to_unit.double())
    linear = view.to_image[:, :3] @ local  # unit frame to image
    middle = (view.to_image[:, :3] @ table.center.double().T).T + view.to_image[:, 3]

    # Ellipsoids: the outline of a dual quadric, x and y extremes in closed form.
    dual = linear @ linear.transpose(1, 2) - middle[:, :, None] * middle[:, None, :]
    c_xw, c_w = dual[:, :2, 2], dual[:, 2, 2].clamp_max(-1e-12)[:, None]
    spread = (c_xw**2 - torch.diagonal(dual, dim1=1, dim2=2)[:, :2] * c_w).clamp_min(0.0).sqrt()
    ball_lo, ball_hi = (c_xw + spread) / c_w, (c_xw - spread) / c_w

    # Blocks: their eight corners.
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    unit = signs.expand(len(table), 8, 3).clone()
    unit[:, :, :2] *= 1.0 - table.taper.double()[:, None, :] * (signs[:, 2:] + 1.0) / 2.0
    corners = torch.einsum("pij,pkj->pki", linear, unit) + middle[:, None, :]
    w = corners[:, :, 2:]
    flat = corners[:, :, :2] / w.clamp_min(1e-9)

    block = table.is_block[:, None]
    lo = torch.where(block, flat.amin(dim=1), ball_lo) - _SLACK_PX
    hi = torch.where(block, flat.amax(dim=1), ball_hi) + _SLACK_PX
    nearest = torch.where(table.is_block, w.amin(dim=1)[:, 0], middle[:, 2] - linear[:, 2].norm(dim=1))
    farthest = torch.where(table.is_block, w.amax(dim=1)[:, 0], middle[:, 2] + linear[:, 2].norm(dim=1))
    size = torch.tensor([view.width, view.height], dtype=torch.float64)
    crossing = (nearest <= 1e-6)[:, None]  # reaches behind the camera: test the whole picture
    lo, hi = torch.where(crossing, 0.0, lo), torch.where(crossing, size, hi)
    first = torch.ceil(lo - 0.5).clamp(min=0.0).minimum(size)
    past = (torch.floor(hi - 0.5) + 1.0).clamp(min=0.0).minimum(size)
    past = torch.where((farthest <= 1e-6)[:, None], first, past)
    return torch.cat((first, past), dim=1).long()


def _batches(span: Int[Tensor, "p 2"]) -> Iterator[tuple[Tensor, int, int]]:
    """Rows whose rectangles have about the same size, with the width and height that holds them all."""
    steps = torch.tensor(_STEPS_PX)
    shape = torch.bucketize(span, steps)
    for code in torch.unique(shape[:, 0] * len(steps) + shape[:, 1]).tolist():
        wide, high = divmod(code, len(steps))
        rows = torch.nonzero((shape[:, 0] == wide) & (shape[:, 1] == high) & (span > 0).all(dim=1))[:, 0]
        if len(rows):
            width, height = span[rows].amax(dim=0).tolist()
            for part in rows.split(max(1, _PAIRS_AT_ONCE // (width * height))):
                yield part, width, height


@dataclass(frozen=True)
class Hits:
    """What each ray meets first: t in lengths of its direction (infinite: nothing), row in the solid table
    (-1: the ground or nothing), and whether it is water."""

    t: Float[Tensor, " n"]
    solid: Int[Tensor, " n"]
    wet: Bool[Tensor, " n"]


def _merge_ground(keys: Int[Tensor, " n"], terrain: Terrain, rays_o: Tensor, rays_d: Tensor) -> Hits:
    t_solid, solid = _unpack(keys)
    t_ground, wet = terrain.intersect(rays_o, rays_d)
    on_solid = t_solid < t_ground
    return Hits(torch.minimum(t_solid, t_ground), torch.where(on_solid, solid, -1), wet & ~on_solid)


def _pack(t: Float[Tensor, " n"], solid: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """One sortable integer: a positive float's bits keep its order, the row settles ties."""
    return (t.view(torch.int32).long() << 24) | solid


def _unpack(keys: Int[Tensor, " n"]) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    return (keys >> 24).to(torch.int32).view(torch.float32), keys & 0xFFFFFF


_NOTHING = int(_pack(torch.tensor([math.inf]), torch.tensor([0])))


def trace_view(view: View, table: SolidTable, terrain: Terrain) -> Hits:
    """First hits of all pixels of `view`, row by row."""
    rays_o, rays_d = view.rays()
    return _merge_ground(solid_keys(view, table), terrain, rays_o, rays_d)


def solid_keys(view: View, table: SolidTable) -> Int[Tensor, " n"]:
    """Packed distance and row of the first solid at every pixel."""
    keys = torch.full((view.width * view.height,), _NOTHING, dtype=torch.int64)
    boxes = screen_boxes(view, table)
    # In each solid's unit frame the rays stay linear in the pixel coordinates.
    unit = table.to_unit.double()
    origin = unit @ view.origin
    origin[:, :, 0] -= (unit @ table.center.double()[:, :, None])[:, :, 0]
    pencil = torch.cat((origin, unit @ view.direction), dim=1)  # (p, 6, 3)
    for is_block in (True, False):
        kind = torch.nonzero(table.is_block == is_block)[:, 0]
        for part, width, height in _batches((boxes[kind, 2:] - boxes[kind, :2]).clamp_min(0)):
            rows = kind[part]
            # A rectangle widened to the batch's size moves back into the picture.
            corner = torch.minimum(boxes[rows, :2], torch.tensor([view.width - width, view.height - height]))
            _draw(
                keys,
                view.width,
                rows,
                corner,
                (width, height),
                pencil[rows],
                table.taper[rows] if is_block else None,
            )
    return keys


def _draw(
    keys: Tensor,
    columns: int,
    rows: Tensor,
    corner: Tensor,
    size: tuple[int, int],
    pencil: Tensor,
    taper: Tensor | None,
) -> None:
    """Tests each solid against its rectangle of `size` at `corner` and keeps the nearer hit in `keys`."""
    width, height = size
    x = corner[:, 0, None, None] + torch.arange(width)
    y = corner[:, 1, None, None] + torch.arange(height)[:, None]
    base, by_x, by_y = (pencil[:, :, k, None, None] for k in range(3))
    across = (base + by_x * (x + 0.5)[:, None]).float()  # (k, 6, 1, width)
    down = (by_y * (y + 0.5)[:, None]).float()  # (k, 6, height, 1)
    fixed = [not bool(by_x[:, part].any() or by_y[:, part].any()) for part in range(6)]
    lines = [across[:, p, :, :1] if fixed[p] else across[:, p] + down[:, p] for p in range(6)]
    o, d = (lines[0], lines[1], lines[2]), (lines[3], lines[4], lines[5])
    t = (
        enter_ellipsoids(o, d)
        if taper is None
        else enter_blocks(o, d, (taper[:, :1, None], taper[:, 1:, None]))
    )
    which, row, column = torch.nonzero(t < math.inf, as_tuple=True)
    pixel = (corner[which, 1] + row) * columns + corner[which, 0] + column
    keys.scatter_reduce_(0, pixel, _pack(t[which, row, column], rows[which]), "amin")


def trace_rays(
    rays_o: Float[Tensor, "n 3"], rays_d: Float[Tensor, "n 3"], table: SolidTable, terrain: Terrain
) -> Hits:
    """First hits of arbitrary rays: solids whose bounding ball a ray passes are tested exactly."""
    keys = torch.full((rays_o.shape[0],), _NOTHING, dtype=torch.int64)
    center = table.center.double()
    reach = table.half_m.double().norm(dim=1)
    for start in range(0, len(keys), _RAYS_AT_ONCE):
        o = rays_o[start : start + _RAYS_AT_ONCE].double()
        d = torch.nn.functional.normalize(rays_d[start : start + _RAYS_AT_ONCE].double(), dim=1)
        along = d @ center.T - (o * d).sum(dim=1, keepdim=True)
        away = (o * o).sum(dim=1, keepdim=True) - 2.0 * (o @ center.T) + (center * center).sum(dim=1)
        near = (away - along * along < (reach + _BALL_SLACK_M) ** 2) & (along > -reach)
        ray, row = torch.nonzero(near, as_tuple=True)
        ray += start
        for is_block in (True, False):
            kind = table.is_block[row] == is_block
            _test_pairs(keys, ray[kind], row[kind], rays_o, rays_d, table, is_block)
    return _merge_ground(keys, terrain, rays_o, rays_d)


def _test_pairs(
    keys: Tensor, ray: Tensor, row: Tensor, rays_o: Tensor, rays_d: Tensor, table: SolidTable, is_block: bool
) -> None:
    """Tests ray against solid, pair by pair, and keeps the nearer hit in `keys`."""
    unit = table.to_unit[row]
    ox, oy, oz = torch.einsum("nij,nj->ni", unit, rays_o[ray] - table.center[row]).unbind(-1)
    dx, dy, dz = torch.einsum("nij,nj->ni", unit, rays_d[ray]).unbind(-1)
    o, d = (ox, oy, oz), (dx, dy, dz)
    t = enter_blocks(o, d, (table.taper[row, 0], table.taper[row, 1])) if is_block else enter_ellipsoids(o, d)
    hit = torch.nonzero(t < math.inf)[:, 0]
    keys.scatter_reduce_(0, ray[hit], _pack(t[hit], row[hit]), "amin")
