"""A short training brings about what it is for: pictures of places that it has not seen from there."""

import numpy as np
import torch

from anerf.learn.metrics import psnr
from anerf.render.picture import render_picture


def test_the_loss_falls(training):
    losses = training[1]
    # The first rays meet grey haze: their loss is about the colours' own variance.
    assert np.mean(losses[-20:]) < 0.45 * np.mean(losses[:3])


def test_validation_views_are_better_than_their_own_mean_colour(model, tiny_scene, pixels):
    views = [i for i, frame in enumerate(tiny_scene.frames) if frame.split == "val"]
    assert views
    for i in views:
        truth = pixels.image(i).astype(np.float32) / 255
        seen = render_picture(model, pixels.camera(i), tiny_scene.frames[i].c2w, samples=24)
        flat = np.broadcast_to(truth.mean(axis=(0, 1)), truth.shape).astype(np.float32)
        assert psnr(seen.rgb, truth) > psnr(flat, truth) + 0.8


def test_only_what_is_learned_moves(training, make_expert):
    """Every vector has moved from where the same seed started it, and stayed finite."""
    start, end = make_expert(rays=512).state.tensors(), training[0].state.tensors()
    for name in ("grid", "sigma_mlp", "color_mlp", "background", "density"):
        assert not torch.equal(start[name], end[name]), name
        assert end[name].isfinite().all()
    assert torch.equal(start["density"] < 0, end["density"] < 0)
