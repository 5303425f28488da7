"""Scores of a scene's views for the quality bench: survey views kept for validation, and a later flight's."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from anerf.learn.evaluate import mean_scores, score_view
from anerf.render.scene_model import SceneModel
from anerf.scene.pixels import PixelStore
from anerf.scene.scene import Scene


@dataclass(frozen=True)
class Score:
    """Means over views, sRGB; see `ViewScore`."""

    psnr_db: float
    mean_look_psnr_db: float
    fitted_psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Views:
    """Views (indices into the scene's frames) at one size."""

    scene: Scene
    pixels: PixelStore
    indices: Sequence[int]
    samples: int

    def score(self, model: SceneModel) -> Score:
        """Render and measure all of them."""
        scores = [
            score_view(
                model, self.scene, self.pixels, i, role="", tto=0, samples=self.samples, lpips=None
            ).score
            for i in self.indices
        ]
        means = mean_scores(scores)
        return Score(**{field.name: means[field.name] for field in fields(Score)})
