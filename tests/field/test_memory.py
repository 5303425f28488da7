"""Scratch memory that kernels keep between calls, and the wish for huge pages."""

from concurrent.futures import ThreadPoolExecutor

import torch

from anerf.bench.batches import Batch, Contender, TableShape
from anerf.field.memory import prefer_huge_pages

SHAPE = TableShape(4, 2, 12)


def _answer(contender: Contender, batch: Batch) -> list[torch.Tensor]:
    params = [p.detach().requires_grad_() for p in contender.params.tensors()]
    from_params = type(contender.params)(*params)
    own = Contender(contender.backend, contender.device, from_params, contender.layout)
    rgb, sigma = own.answer(batch)
    gradients = torch.autograd.grad((rgb, sigma), params, (batch.d_rgb, batch.d_sigma))
    return [rgb, sigma, *gradients]


def test_what_a_larger_batch_left_behind_does_not_show():
    layout = SHAPE.layout()
    contender = Contender.of("cpu", "cpu", layout)
    small, large = (Batch.along_rays(layout, n, torch.device("cpu")) for n in (37, 5000))
    first = _answer(contender, small)
    _answer(contender, large)
    again = _answer(contender, small)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_callers_in_several_threads_do_not_share_scratch():
    layout = SHAPE.layout()
    contender = Contender.of("cpu", "cpu", layout)
    batches = [Batch.along_rays(layout, n, torch.device("cpu"), seed=n) for n in (999, 1000, 2001, 3000)]
    alone = [_answer(contender, batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: _answer(contender, batch), batches * 5))
    for i, answer in enumerate(together):
        assert all(torch.equal(a, b) for a, b in zip(answer, alone[i % 4], strict=True))


def test_huge_pages_keep_what_is_in_them():
    large = torch.arange(3_000_000, dtype=torch.float32)
    prefer_huge_pages(large, large[5:-7], torch.empty(0), torch.ones(3))
    assert torch.equal(large, torch.arange(3_000_000, dtype=torch.float32))
