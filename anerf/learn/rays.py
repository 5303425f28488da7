"""Training rays made from pixels on the fly: the tiles that an expert sees, and batches from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.errors import SceneError
from anerf.field.params import flight_code
from anerf.partition.coverage import ExpertTiles
from anerf.render.color import from_srgb
from anerf.render.cpu_rays import camera_rays
from anerf.scene.pixels import PixelStore
from anerf.scene.scene import Scene, c2w_learning

SURVEY_FLIGHT = "survey"  # the flight of the splits train and val


def flight_of(split: str) -> str:
    """The flight that a frame of this split was taken on."""
    return SURVEY_FLIGHT if split in ("train", "val") else split


@dataclass(frozen=True)
class RayBatch:
    """Rays in the learning frame with the colours that they should see (loss colour space).

    `weight` is 0 for pixels that a mask excludes; `code` is the flight code, `tile` where each ray came from,
    `image` the id of its photograph.
    """

    rays_o: Float[Tensor, "r 3"]
    rays_d: Float[Tensor, "r 3"]
    rgb: Float[Tensor, "r 3"]
    weight: Float[Tensor, " r"]
    code: Float[Tensor, "r c"]
    tile: Int[Tensor, " r"]
    image: Int[Tensor, " r"]

    def to(self, device: torch.device) -> "RayBatch":
        """The same batch on another device."""
        return RayBatch(*(column.to(device) for column in self._columns()))

    @staticmethod
    def joined(batches: Sequence["RayBatch"]) -> "RayBatch":
        """Several batches as one."""
        columns = zip(*(batch._columns() for batch in batches), strict=True)
        return RayBatch(*(torch.cat(column) for column in columns))

    def _columns(self) -> tuple[Tensor, ...]:
        return (self.rays_o, self.rays_d, self.rgb, self.weight, self.code, self.tile, self.image)


class RaySource:
    """Draws random rays of one expert from the pictures' tiles. Holds no pixels: they are memory-mapped."""

    def __init__(
        self, scene: Scene, pixels: PixelStore, tiles: ExpertTiles, flights: Sequence[str], color_space: str
    ) -> None:
        if len(tiles.frame_index) == 0:
            raise SceneError(
                f"no pixel of scene {scene.name!r} looks into this expert's region: partition the scene again"
                " with fewer experts, or add photographs there"
            )
        self._pixels = pixels
        self._color_space = color_space
        self._tile_px = tiles.tile
        # 16 bytes a tile: large surveys have many millions.
        self.frame = torch.from_numpy(np.asarray(tiles.frame_index, dtype=np.int32))
        self.tile_xy = torch.from_numpy(np.stack([tiles.tile_x, tiles.tile_y], axis=1).astype(np.int16))
        self.surface_xy = torch.from_numpy(np.asarray(tiles.surface_xy, dtype=np.float32))
        frames = scene.frames
        self._c2w = torch.stack([torch.from_numpy(c2w_learning(scene, f)) for f in frames])
        self._size = torch.tensor([pixels.size(i) for i in range(len(frames))], dtype=torch.int64)
        cameras = [pixels.camera(i) for i in range(len(frames))]
        number_of = {camera: i for i, camera in enumerate(dict.fromkeys(cameras))}
        self._cameras = list(number_of)
        self._camera_of = torch.tensor([number_of[camera] for camera in cameras], dtype=torch.int32)
        codes = {flight: flight_code(i) for i, flight in enumerate(flights)}
        unknown = {flight_of(frames[i].split) for i in self.frame.unique().tolist()} - set(codes)
        if unknown:
            raise SceneError(
                f"flights {sorted(unknown)} have no code in this checkpoint, which knows {list(flights)}"
            )
        self._id = torch.tensor([f.id for f in frames], dtype=torch.int64)
        number = {flight: i for i, flight in enumerate(flights)}
        self.flight_of_photograph = torch.zeros(int(self._id.max()) + 1, dtype=torch.int64)
        """By id, the flight's number among `flights`; 0 for those that are none of them."""
        self.flight_of_photograph[self._id] = torch.tensor(
            [number.get(flight_of(f.split), 0) for f in frames], dtype=torch.int64
        )
        self._code = torch.stack([codes.get(flight_of(f.split), flight_code(0)) for f in frames])

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.frame)

    def draw(self, n: int, generator: torch.Generator, among: Int[Tensor, " t"] | None = None) -> RayBatch:
        """`n` rays through random pixels of random tiles, of the tiles `among` where given."""
        pool = len(self) if among is None else len(among)
        tile = torch.randint(pool, (n,), generator=generator)
        return self.through(tile if among is None else among[tile], generator)

    def through(self, tile: Int[Tensor, " n"], generator: torch.Generator) -> RayBatch:
        """A ray through a random pixel of each of these tiles."""
        n, frame = len(tile), self.frame[tile].long()
        inside = torch.randint(self._tile_px, (n, 2), generator=generator)
        xy = torch.minimum(self.tile_xy[tile].long() * self._tile_px + inside, self._size[frame] - 1)
        return self.at_pixels(frame, xy, tile)

    def at_pixels(
        self, frame: Int[Tensor, " n"], xy: Int[Tensor, "n 2"], tile: Int[Tensor, " n"]
    ) -> RayBatch:
        """Rays through given pixels (column, row) of frames (indices into the scene's frames)."""
        numpy_index = (frame.numpy(), xy[:, 0].numpy(), xy[:, 1].numpy())
        colors = torch.from_numpy(self._pixels.gather(*numpy_index)).float() / 255
        weight = torch.from_numpy(self._pixels.gather_mask(*numpy_index)).float()
        rays_o, rays_d = camera_rays(self._cameras, self._camera_of, self._c2w, frame.int(), xy.float() + 0.5)
        rgb = from_srgb(colors, self._color_space)
        return RayBatch(rays_o, rays_d, rgb, weight, self._code[frame], tile, self._id[frame])


def step_generator(seed: int, expert: int, step: int, purpose: str) -> torch.Generator:
    """The random numbers of one step: the same whether the job ran through or was resumed."""
    mixed = np.random.SeedSequence([seed, expert, step, *purpose.encode()]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 32 | int(mixed[1]))
