"""Where a photograph was really taken from: direct alignment of its pixels with pictures of a known scene.

Lucas and Kanade 1981 in its additive form (Baker and Matthews 2004), with six unknowns in place of a warp:
a translation and a rotation of the camera. The scene is asked for colours of rays only, so derivatives are
central differences. A Gaussian prior about the given pose makes the estimate maximum a posteriori. The
photograph's own exposure and tint are an affine colour map, which is eliminated in every evaluation
(variable projection: Golub and Pereyra 1973, with Kaufman's derivative, 1975).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anerf.geometry.cameras import Camera

Renderer = Callable[[Float[Tensor, "r 3"], Float[Tensor, "r 3"]], Float[Tensor, "r 3"]]
"""Colours that the scene shows to rays: origins (ENU metres, float64) and unit directions (ENU)."""

ROUNDS = 3  # from differences that span what the prior expects down to half a pixel
ITERATIONS = 2  # of each round
ENOUGH = 0.02  # of a prior standard deviation: a shorter step ends a round
MAX_SIGMAS = 3.0  # a correction beyond that is refused
MIN_RAYS = 100
ALIKE = 30.0  # rays that say as much as one with an error of its own: a model errs alike all around
HUBER = 1.345  # noise levels; 95 % efficient where errors are Gaussian
REWEIGHTINGS = 5
NOISE_FLOOR = 0.005  # of colours in [0, 1]: photographs are eight-bit
MEDIAN_NOISE = 0.888  # median root mean square of three standard normal numbers
BELIEF = 1e-4  # in the identity as the colour map, in shares of the rays


@dataclass(frozen=True)
class PosePrior:
    """How far given poses are off: standard deviations along each axis, in metres and in degrees."""

    sigma_m: float = 0.5
    sigma_deg: float = 0.3

    @property
    def sigmas(self) -> Float[Tensor, " 6"]:
        """Of translation (metres) and rotation (degrees)."""
        return torch.tensor([self.sigma_m] * 3 + [self.sigma_deg] * 3, dtype=torch.float64)


@dataclass(frozen=True)
class PoseSteps:
    """Half spans of the finest differences: what moves the picture by about half a pixel."""

    metres: float
    degrees: float

    @staticmethod
    def of(camera: Camera, distance_m: float) -> "PoseSteps":
        """For what lies at a distance."""
        angle = 0.5 / max(camera.fx, camera.fy)
        return PoseSteps(distance_m * angle, math.degrees(angle))


@dataclass(frozen=True)
class Sighting:
    """Some rays of one photograph: unit directions in camera axes, the colours there in the renderer's
    colour space, and weights (0: does not count).
    """

    directions: Float[Tensor, "r 3"]
    rgb: Float[Tensor, "r 3"]
    weight: Float[Tensor, " r"]


@dataclass(frozen=True)
class PoseCorrection:
    """What moves a given pose to the refined one, and how well each explains the photograph.

    `translation_m` is in ENU metres, `rotation_deg` a rotation vector about the camera's axes (right, up,
    back). Costs are means over the `n_rays` rays that count, prior included, in squares of the noise level.
    With `refused` the solution lay beyond the prior's limit, and the correction is none.
    """

    translation_m: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    cost_before: float
    cost_after: float
    n_rays: int
    refused: bool = False

    @property
    def metres(self) -> float:
        """Length of the translation."""
        return math.hypot(*self.translation_m)

    @property
    def degrees(self) -> float:
        """Angle of the rotation."""
        return math.hypot(*self.rotation_deg)

    def applied(self, c2w: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
        """The corrected pose of a given one, both in ENU metres, float64."""
        change = torch.tensor([*self.translation_m, *self.rotation_deg], dtype=torch.float64)
        return _moved(torch.from_numpy(np.array(c2w, dtype=np.float64)), change).numpy()


def refined_pose(
    render: Renderer,
    c2w: Float[np.ndarray, "3 4"],
    sighting: Sighting,
    prior: PosePrior,
    steps: PoseSteps,
) -> PoseCorrection:
    """The most probable correction of a photograph's pose, given its pixels and a scene that is believed.

    Levenberg-Marquardt in units of the prior's standard deviations, over the fixed rays of the sighting; a
    step is taken only where it lowers the robust cost. What cannot be seen in the pixels stays as given.

    Args:
        render: the scene, in any look that an affine colour map brings to the photograph's.
        c2w: the given pose, camera to world, OpenGL axes, ENU metres.
        sighting: rays of the photograph.
        prior: what is known of the error of `c2w`.
        steps: finest half spans of differences.
    """
    n_rays = int((sighting.weight > 0).sum())
    still = PoseCorrection((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, 0.0, n_rays)
    if n_rays < MIN_RAYS:
        return still
    alignment = _Alignment(render, torch.from_numpy(np.array(c2w, dtype=np.float64)), sighting, prior)
    given = u = torch.zeros(6, dtype=torch.float64)
    finest = torch.tensor([steps.metres] * 3 + [steps.degrees] * 3, dtype=torch.float64) / prior.sigmas
    coarsest = finest.clamp(min=1.0)
    noise = alignment.noise(u)
    for round_ in range(ROUNDS):
        spans = coarsest * (finest / coarsest) ** (round_ / (ROUNDS - 1))
        u = alignment.descended(u, spans, noise)
        noise = alignment.noise(u)
    before, after = (alignment.cost(at, alignment.match(at, noise), noise) / n_rays for at in (given, u))
    metres, degrees = (part.norm() for part in (u[:3], u[3:]))
    refused = bool(max(metres, degrees) > MAX_SIGMAS)
    if refused or not after < before:
        return replace(still, cost_before=before, cost_after=before, refused=refused)
    east, north, up, about_right, about_up, about_back = (u * prior.sigmas).tolist()
    return PoseCorrection((east, north, up), (about_right, about_up, about_back), before, after, n_rays)


def _moved(c2w: Float[Tensor, "3 4"], change: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 3 4"]:
    """A pose after translations (ENU metres) and rotations (vectors in degrees about the camera's axes)."""
    x, y, z = torch.deg2rad(change[..., 3:]).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
    rotation = c2w[:, :3] @ torch.linalg.matrix_exp(cross)
    return torch.cat((rotation, (c2w[:, 3] + change[..., :3]).unsqueeze(-1)), dim=-1)


@dataclass(frozen=True)
class _Match:
    """Rendered colours `[rgb, 1]` beside the photograph's at one pose: `residual` is `design @ colors - rgb`,
    with the colour map of weighted least squares and its normal equations.
    """

    design: Float[Tensor, "r 4"]
    weight: Float[Tensor, " r"]
    normal: Float[Tensor, "4 4"]
    colors: Float[Tensor, "4 3"]
    residual: Float[Tensor, "r 3"]

    @staticmethod
    def of(design: Float[Tensor, "r 4"], weight: Float[Tensor, " r"], rgb: Float[Tensor, "r 3"]) -> "_Match":
        """The best colour map under given weights."""
        belief = BELIEF * len(design) * torch.eye(4, dtype=design.dtype)
        weighted = weight[:, None] * design
        normal = weighted.T @ design + belief
        colors = torch.linalg.solve(normal, weighted.T @ rgb + belief[:, :3])
        return _Match(design, weight, normal, colors, design @ colors - rgb)

    @property
    def errors(self) -> Float[Tensor, " r"]:
        """Root mean square over the three colours."""
        return self.residual.square().mean(1).sqrt()


class _Alignment:
    """One photograph's cost as a function of `u`, its pose's change in the prior's standard deviations."""

    def __init__(
        self, render: Renderer, c2w: Float[Tensor, "3 4"], sighting: Sighting, prior: PosePrior
    ) -> None:
        self._render = render
        self._c2w = c2w
        self._sigmas = prior.sigmas
        self._directions = sighting.directions.double()
        self._rgb = sighting.rgb.double()
        self._weight = sighting.weight.double()

    def _seen(self, u: Float[Tensor, "p 6"]) -> Float[Tensor, "p r 3"]:
        """The scene's colours of the rays at several poses."""
        poses = _moved(self._c2w, u * self._sigmas)
        rays_d = torch.einsum("pij,rj->pri", poses[:, :, :3], self._directions)
        rays_o = poses[:, None, :, 3].expand_as(rays_d)
        rgb = self._render(rays_o.reshape(-1, 3), rays_d.reshape(-1, 3))
        return rgb.double().reshape(rays_d.shape)

    def match(self, u: Float[Tensor, " 6"], noise: float | None = None) -> _Match:
        """At one pose; the colour map and Huber's weights are found in turns, with their own noise level
        where none is given.
        """
        (seen,) = self._seen(u[None])
        design = torch.cat((seen, torch.ones(len(seen), 1, dtype=seen.dtype)), dim=1)
        match = _Match.of(design, self._weight, self._rgb)
        for _ in range(REWEIGHTINGS):
            level = self._level(match) if noise is None else noise
            robust = HUBER / (match.errors / level).clamp(min=HUBER)
            match = _Match.of(design, self._weight * robust, self._rgb)
        return match

    def cost(self, u: Float[Tensor, " 6"], match: _Match, noise: float) -> float:
        """Of a match found at `u`: Huber's of all rays, and the prior's."""
        error = match.errors / noise
        rho = torch.where(error <= HUBER, error**2 / 2, HUBER * error - HUBER**2 / 2)
        return float((self._weight * rho).sum() + ALIKE * u.square().sum() / 2)

    def noise(self, u: Float[Tensor, " 6"]) -> float:
        """The level of colour errors at a pose."""
        return self._level(self.match(u))

    def _level(self, match: _Match) -> float:
        """From the median error, so that changed things do not count."""
        return max(float(match.errors[self._weight > 0].median()) / MEDIAN_NOISE, NOISE_FLOOR)

    def _derivative(
        self, u: Float[Tensor, " 6"], spans: Float[Tensor, " 6"], match: _Match
    ) -> Float[Tensor, "6 r 3"]:
        """Of the residuals: what a move changes beyond what another colour map would change too."""
        moves = torch.diag(spans)
        ahead, behind = self._seen(torch.cat((u + moves, u - moves))).chunk(2)
        changes = (ahead - behind) / (2 * spans[:, None, None]) @ match.colors[:3]
        explained = torch.linalg.solve(match.normal, match.design.T @ (match.weight[:, None] * changes))
        return changes - match.design @ explained

    def descended(
        self, u: Float[Tensor, " 6"], spans: Float[Tensor, " 6"], noise: float
    ) -> Float[Tensor, " 6"]:
        """Some steps downhill from `u`, with derivatives over these half spans."""
        match, damping = self.match(u, noise), 1e-3
        cost = self.cost(u, match, noise)
        for _ in range(ITERATIONS):
            slopes = self._derivative(u, spans, match).flatten(1)
            weights = match.weight.repeat_interleave(3) / (3 * noise**2)
            gradient = slopes @ (weights * match.residual.flatten()) + ALIKE * u
            hessian = (slopes * weights) @ slopes.T + ALIKE * torch.eye(6, dtype=u.dtype)
            while True:
                move = -torch.linalg.solve(hessian + damping * torch.diag(hessian.diag()), gradient)
                if not move.norm() >= ENOUGH:  # also where the scene gave no numbers
                    return u
                ahead = self.match(u + move, noise)
                cost_ahead = self.cost(u + move, ahead, noise)
                if cost_ahead < cost:
                    break
                damping *= 10
            u, match, cost, damping = u + move, ahead, cost_ahead, damping / 10
        return u
