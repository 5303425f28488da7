"""Everything that one expert has learned: what a checkpoint shard holds and a resumed job needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.errors import CheckpointError
from anerf.field.layout import FieldLayout
from anerf.field.memory import prefer_huge_pages
from anerf.field.params import NAMES, FieldParams, check_params, init_field, init_mlp
from anerf.field.spec import FieldSpec
from anerf.field.touched import TouchedGradient
from anerf.geometry.boxes import Aabb
from anerf.learn.exposure import ExposureEvidence
from anerf.learn.optimiser import FisherDamping, Moments, Rates, step_dense, step_sparse, step_touched
from anerf.render.density_grid import DensityGrid
from anerf.render.expert import ExpertModel
from anerf.render.exposure import Exposures


@dataclass
class ExpertState:
    """Parameters, optimiser moments and density grid of one expert, and its copy of the background."""

    params: FieldParams
    background: Float[Tensor, " b"] | None
    moments: dict[str, Moments]
    density: DensityGrid
    box: Aabb
    step: int = 0
    fisher: dict[str, Tensor] = field(default_factory=dict)
    scratch: TouchedGradient | None = None
    """Of inner loops; clean between steps, as `params.touched` is, so neither is saved."""
    exposures: Exposures | None = None
    evidence: ExposureEvidence | None = None
    """What this expert's rays say of the photographs' exposures, where these are learned."""
    inner_rates: Float[Tensor, " 3"] | None = None
    """Logarithms of the inner loop's rates of `NAMES`, where these are learned."""
    table_moments: Moments | None = None
    """Of inner loops by Adam on kernels; clean between steps, as `scratch`."""

    def to(self, device: torch.device) -> "ExpertState":
        """The same state on another device, its parameters ready to be learned."""
        background = self.background
        return ExpertState(
            self.params.to(device).detached(),
            None if background is None else background.detach().to(device).requires_grad_(),
            {name: moments.to(device) for name, moments in self.moments.items()},
            self.density.to(device),
            self.box,
            self.step,
            {name: estimate.to(device) for name, estimate in self.fisher.items()},
            exposures=None if self.exposures is None else self.exposures.to(device),
            evidence=self.evidence,
            inner_rates=None
            if self.inner_rates is None
            else self.inner_rates.detach().to(device).requires_grad_(),
        )

    def model(self, params: FieldParams | None = None) -> ExpertModel:
        """The expert as renderers see it, with other (fast) parameters where given."""
        return ExpertModel(self.params if params is None else params, self.density, self.box)

    @torch.no_grad()
    def apply(
        self,
        grads: Mapping[str, Tensor],
        rates: Rates,
        kind: str,
        fisher: FisherDamping | None = None,
    ) -> None:
        """One outer step in place; names without a gradient stay.

        The grid's gradient is taken from `params.touched` where that is there.
        """
        factor = rates.factor(self.step)
        rate_of = {
            "grid": rates.grid,
            "sigma_mlp": rates.sigma,
            "color_mlp": rates.color,
            "background": rates.background,
            "inner_rates": rates.inner,
        }
        for name, raw in grads.items():
            damped = fisher is not None and name != "inner_rates"
            grad = fisher.damped(self.fisher, name, raw) if fisher is not None and damped else raw
            rate = rate_of[name] * factor
            target = (dict(self.params.items()) | self.beside_the_field())[name]
            if name == "grid":
                step_sparse(kind, target, grad, self.moments[name], rate)
            else:
                step_dense(kind, target, grad, self.moments[name], rate)
        if self.params.touched is not None:
            grid, touched = self.params.grid, self.params.touched
            step_touched(kind, grid, touched, self.moments["grid"], rates.grid * factor)

    def beside_the_field(self) -> dict[str, Tensor]:
        """What else gradients move, by name: the background head and the inner loop's rates."""
        named = {"background": self.background, "inner_rates": self.inner_rates}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def learn_inner_rates(self, log_rates: Float[Tensor, " 3"]) -> None:
        """From now on, learn the inner loop's rates, unless they are learned already."""
        if self.inner_rates is None:
            self.inner_rates = log_rates.to(self.params.grid.device).requires_grad_()
            self.moments["inner_rates"] = Moments.zeros_like(self.inner_rates.detach())

    def track_touched(self) -> None:
        """From now on, let kernels note which lines of the table a batch touches; see `touched`."""
        self.params = replace(self.params, touched=TouchedGradient.of(self.params.grid))
        self.scratch = TouchedGradient.of(self.params.grid)
        prefer_huge_pages(self.moments["grid"].first, self.moments["grid"].second)

    def learn_exposures(self, flight: Int[Tensor, " n"]) -> None:
        """From now on, learn the exposures of photographs, whose flights are given by their ids."""
        self.exposures, self.evidence = Exposures.identity(flight), ExposureEvidence.none(len(flight))

    def relearn_exposures(self, flight: Int[Tensor, " n"]) -> None:
        """Learn those of further photographs; what is known stays as it is."""
        assert self.exposures is not None
        self.exposures = self.exposures.grown(flight)
        known = self.exposures.known.cpu()
        self.evidence = ExposureEvidence.none(len(known), fixed=known)

    @torch.no_grad()
    def set_background(self, shared: Float[Tensor, " b"]) -> None:
        """Take the experts' mean as the new copy of the background."""
        if self.background is not None:
            self.background.copy_(shared)

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors of the shard, detached; they share memory with the state."""
        named = {name: tensor.detach() for name, tensor in self.params.items()}
        named |= {name: tensor.detach() for name, tensor in self.beside_the_field().items()}
        for name, moments in self.moments.items():
            named[f"adam.{name}.first"] = moments.first
            named[f"adam.{name}.second"] = moments.second
            named[f"adam.{name}.steps"] = torch.tensor([moments.steps], dtype=torch.int64)
        named |= {f"fisher.{name}": estimate for name, estimate in self.fisher.items()}
        if self.exposures is not None and self.evidence is not None:
            named["exposure.maps"] = self.exposures.maps
            named["exposure.known"] = self.exposures.known.to(torch.uint8)
            named["exposure.means"], named["exposure.flight"] = self.exposures.means, self.exposures.flight
            named["exposure.xx"], named["exposure.xy"] = self.evidence.xx, self.evidence.xy
        named["density"] = self.density.values
        named["step"] = torch.tensor([self.step], dtype=torch.int64)
        return named

    def render_tensors(self) -> dict[str, Tensor]:
        """What pictures need: parameters and density grid."""
        named = {name: tensor.detach() for name, tensor in self.params.items()}
        named["density"] = self.density.values
        return named


def new_state(
    spec: FieldSpec, layout: FieldLayout, density: DensityGrid, box: Aabb, generator: torch.Generator
) -> ExpertState:
    """A fresh expert."""
    params = init_field(layout, generator).detached()
    background = None
    if spec.background == "head":
        background = init_mlp(spec.background_layout(), torch.Generator().manual_seed(0)).requires_grad_()
    moments = {name: Moments.zeros_like(tensor.detach()) for name, tensor in params.items()}
    if background is not None:
        moments["background"] = Moments.zeros_like(background.detach())
    return ExpertState(params, background, moments, density, box)


def _tensor(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"{where} lacks the tensor {name!r}: use another checkpoint or train again")
    return tensors[name]


def field_params(tensors: Mapping[str, Tensor], layout: FieldLayout, where: str) -> FieldParams:
    """Parameters of a shard, checked against the layout; `where` names the shard in errors."""
    params = FieldParams(*(_tensor(tensors, name, where) for name in NAMES))
    check_params(params, layout, where)
    return params


def restore_density(tensors: Mapping[str, Tensor], box: Aabb, where: str) -> DensityGrid:
    """The density grid of a shard over an expert's box (learning frame)."""
    values = _tensor(tensors, "density", where)
    if values.dim() != 3:
        raise CheckpointError(
            f"{where}: the density grid has {values.dim()} axes instead of 3; use another checkpoint"
        )
    return DensityGrid(torch.tensor(box.lo), torch.tensor(box.hi), values.clone())


def restore_state(tensors: Mapping[str, Tensor], layout: FieldLayout, box: Aabb, where: str) -> ExpertState:
    """The inverse of `ExpertState.tensors`.

    Raises:
        CheckpointError: a tensor is missing or does not fit the layout.
    """
    params = field_params(tensors, layout, where).detached()
    beside = {n: tensors[n].clone().requires_grad_() for n in ("background", "inner_rates") if n in tensors}
    moments = {}
    for name in (*NAMES, *beside):
        moments[name] = Moments(
            _tensor(tensors, f"adam.{name}.first", where).clone(),
            _tensor(tensors, f"adam.{name}.second", where).clone(),
            int(_tensor(tensors, f"adam.{name}.steps", where)[0]),
        )
    density = restore_density(tensors, box, where)
    step = int(_tensor(tensors, "step", where)[0])
    fisher = {n.removeprefix("fisher."): t.clone() for n, t in tensors.items() if n.startswith("fisher.")}
    state = ExpertState(params, beside.get("background"), moments, density, box, step, fisher)
    state.inner_rates = beside.get("inner_rates")
    if "exposure.maps" in tensors:
        maps, known, means, flight, xx, xy = (
            _tensor(tensors, f"exposure.{n}", where).clone()
            for n in ("maps", "known", "means", "flight", "xx", "xy")
        )
        state.exposures = Exposures(maps, known.bool(), means, flight)
        state.evidence = ExposureEvidence(xx, xy, torch.zeros(len(xx), dtype=torch.bool))
    return state
