"""Batches lie along rays, and all backends are asked the same."""

import pytest
import torch

from anerf.bench.batches import SAMPLES_A_RAY, STRETCH, Batch, Contender, TableShape, contenders

CPU = torch.device("cpu")
SHAPE = TableShape(4, 2, 12)


def test_samples_of_a_ray_are_neighbours_in_order_on_a_line():
    batch = Batch.along_rays(SHAPE.layout(), 20 * SAMPLES_A_RAY, CPU)
    x = batch.x.view(20, SAMPLES_A_RAY, 3)
    inside = ((x > 0) & (x < 1)).all(dim=(1, 2))  # not cut at the cube
    assert inside.sum() > 10
    steps = x[inside].diff(dim=1)
    way = torch.nn.functional.normalize(x[inside, -1] - x[inside, 0], dim=1)
    along = (steps * way[:, None]).sum(2)
    assert (along > 0).all()
    assert torch.allclose(steps, along[..., None] * way[:, None], atol=1e-6)
    assert (along.sum(1) < STRETCH).all()
    assert batch.ray_index.tolist() == [ray for ray in range(20) for _ in range(SAMPLES_A_RAY)]


@pytest.mark.parametrize("n", [1, 16, 37])
def test_a_batch_has_as_many_samples_as_asked_for(n):
    batch = Batch.along_rays(SHAPE.layout(), n, CPU)
    assert len(batch) == len(batch.ray_index) == len(batch.d_rgb) == len(batch.d_sigma) == n
    assert int(batch.ray_index.max()) < len(batch.ray_features)


def test_kernels_and_torch_see_the_same_field(monkeypatch):
    layout = SHAPE.layout()
    batch = Batch.along_rays(layout, 64, CPU)
    kernels, twin = (Contender.of(name, "cpu", layout) for name in ("cpu", "torch"))
    assert [c.backend.name for c in contenders(layout)[:2]] == ["cpu", "torch"]
    found = {}
    for contender in (kernels, twin):
        rgb, sigma = contender.answer(batch)
        grads = torch.autograd.grad(
            (rgb, sigma), contender.params.tensors(), (batch.d_rgb, batch.d_sigma), allow_unused=True
        )
        touched = contender.params.touched
        table = grads[0] if touched is None else touched.values
        found[contender.backend.name] = (rgb, sigma, table, *grads[1:])
    for ours, theirs in zip(found["cpu"], found["torch"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_training_pass_leaves_a_touched_gradient_and_a_forward_pass_none():
    layout = SHAPE.layout()
    contender, batch = Contender.of("cpu", "cpu", layout), Batch.along_rays(layout, 64, CPU)
    contender.forward(batch)
    assert not contender.params.touched.marks.any()
    contender.forward_backward(batch)
    assert contender.params.touched.marks.any()
    assert contender.params.touched.values.any()
