"""`anerf render CHECKPOINT --out FILE`: one picture, without Ray."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import tyro
from jaxtyping import Float
from rich.console import Console

from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.cli.progress import progress_bar
from anerf.errors import InputError
from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.canned_paths import CANNED_PATHS, CannedPath, canned_path
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.viewpoints import Place, pose_from_matrix, pose_looking_at
from anerf.jobs.places import find_checkpoint
from anerf.learn.rays import flight_of
from anerf.products.colormap import depth_range_m
from anerf.products.layers import FileFormat, Layer, encode_layer, layer_values
from anerf.products.path_file import read_path
from anerf.render.picture import SAMPLES_AT_ONCE, render_picture
from anerf.scene.frames import Frame
from anerf.scene.scene import load_scene

FORMATS: dict[str, FileFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".npy": "npy",
}
_SIZE = (640, 480)
_MAX_SIDE_PX = 16_384
_MAX_POSE_BYTES = 65_536
_SHOW_AFTER_S = 1.0


@dataclass(frozen=True)
class _View:
    camera: Camera
    c2w: Float[np.ndarray, "3 4"]
    flight: str | None = None
    """Whose look the view itself suggests."""


def render(
    checkpoint: tyro.conf.Positional[str],
    out: Path,
    *,
    prefix: str = "best",
    pose: Path | None = None,
    look_at: Place | None = None,
    eye: Annotated[Place | None, tyro.conf.arg(name="from")] = None,
    frame: str | None = None,
    path: str | None = None,
    at: float = 0.0,
    layer: Layer = "rgb",
    size: tuple[int, int] | None = None,
    fov: float | None = None,
    samples: int = 32,
    flight: str | None = None,
    expert: int | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Renders one picture of a checkpoint.

    Say where the camera is in one of four ways: --pose, --look-at with --from, --frame or --path.

    Args:
        checkpoint: Folder of a job, its checkpoints/ or a step.
        out: File to write: .png, .jpg or .webp to look at, .npy with numbers (depth in metres).
        prefix: Which checkpoint of a job: best, last or step<N>.
        pose: File with 3 or 4 rows of 4 numbers, as text or JSON: camera to world, ENU metres about the
            scene's reference, axes right, up, back.
        look_at: Latitude, longitude and height (WGS 84) of the place to look at.
        eye: Latitude, longitude and height of the camera.
        frame: A photograph of the scene, such as 0001.jpg: its own place and lens.
        path: A camera path: spiral_in, turntable, east_west, north_south, full_coverage or a saved .json.
        at: Seconds from the path's start.
        layer: What to show.
        size: Width and height in pixels; 640 x 480, or as photographed.
        fov: Field of view in degrees from top to bottom; 50, or the path's.
        samples: Of a ray.
        flight: Whose look to show; the first flight's, or the photograph's.
        expert: Number of the only expert to show.
        as_json: Writes what was rendered as JSON.
    """
    _check_file(out)
    if size is not None and not all(1 <= side <= _MAX_SIDE_PX for side in size):
        raise InputError(f"--size {size[0]} {size[1]} cannot be: give 1 to {_MAX_SIDE_PX} pixels a side")
    if not 1 <= samples <= 4096:
        raise InputError(f"--samples {samples} cannot be: give 1 to 4096")
    uri = find_checkpoint(checkpoint, prefix)
    manifest = read_manifest(uri)
    given = {"--pose": pose, "--look-at": look_at, "--frame": frame, "--path": path}
    named = [option for option, value in given.items() if value is not None]
    if len(named) != 1:
        raise InputError(
            f"the camera is given by {' and '.join(named) or 'nothing'}: give one of {', '.join(given)}"
        )
    if (look_at is None) != (eye is None):
        raise InputError("--look-at and --from belong together: where to look, and from where")
    reference = GeodeticReference(*manifest.scene.reference)
    if pose is not None:
        view = _View(_pinhole(size, fov), pose_from_matrix(read_matrix(pose)))
    elif look_at is not None and eye is not None:
        view = _View(_pinhole(size, fov), pose_looking_at(eye, look_at, reference))
    elif frame is not None:
        view = _photographed(manifest, frame, size, fov)
    else:
        view = _on_path(manifest, cast(str, path), at, size, fov)
    model = load_scene_model(uri)
    look = flight or (view.flight if view.flight in model.flights else None)
    started = time.monotonic()
    n_chunks = -(-view.camera.width * view.camera.height * samples // SAMPLES_AT_ONCE)
    with progress_bar("rendering", hidden=as_json) as progress:
        picture = render_picture(
            model,
            view.camera,
            view.c2w,
            samples=samples,
            flight=look,
            only_expert=expert,
            should_stop=_ticking(progress, n_chunks),
        )
    seconds = time.monotonic() - started
    range_m = depth_range_m(picture.depth_m, picture.opacity) if layer == "depth" else None
    file = encode_layer(layer_values(picture, layer), FORMATS[out.suffix.lower()], range_m)
    _write(out, file.data)
    latitude, longitude, height = enu_to_geodetic(view.c2w[None, :, 3], reference)[0].tolist()
    if as_json:
        told = {
            "file": str(out),
            "checkpoint": uri,
            "step": manifest.step,
            "layer": layer,
            "width": view.camera.width,
            "height": view.camera.height,
            "samples": samples,
            "flight": look,
            "c2w": view.c2w.tolist(),
            "latitude_deg": latitude,
            "longitude_deg": longitude,
            "height_m": height,
            "depth_range_m": range_m,
            "render_s": round(seconds, 3),
        }
        Console().print_json(json.dumps(told))
        return
    depths = "" if range_m is None else f", from {range_m[0]:.1f} (dark) to {range_m[1]:.1f} m"
    Console().print(
        f"{out}: {layer}{depths}, {view.camera.width} x {view.camera.height}, step {manifest.step}, seen "
        f"from {latitude:.7f}, {longitude:.7f}, {height:.1f} m, in {seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def read_matrix(file: Path) -> np.ndarray:
    """Numbers of a pose's file: JSON rows, an object with `c2w`, or text with a row a line."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_POSE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--pose {file} cannot be read ({error}): give a file with 3 or 4 rows of 4"
        ) from None
    try:
        if text.lstrip().startswith(("[", "{")):
            content = json.loads(text)
            return np.array(content["c2w"] if isinstance(content, dict) else content, np.float64)
        rows = [line.replace(",", " ").split() for line in text.splitlines()]
        return np.array([[float(number) for number in row] for row in rows if row])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"--pose {file} is no matrix ({error}): give 3 or 4 rows of 4 numbers") from None


def _pinhole(size: tuple[int, int] | None, fov: float | None) -> Camera:
    return Camera.from_fov(*(size or _SIZE), 50.0 if fov is None else fov)


def _photographed(manifest: Manifest, name: str, size: tuple[int, int] | None, fov: float | None) -> _View:
    if fov is not None:
        raise InputError("--fov does not go with --frame, whose lens is that of the photograph: leave it out")
    scene = load_scene(manifest.scene.root)
    if scene.reference != GeodeticReference(*manifest.scene.reference):
        raise InputError(
            f"scene {scene.root} was prepared anew about another reference than the checkpoint's: give the"
            " pose in another way"
        )
    frame = _frame_of(scene.frames, name)
    camera = frame.camera
    if size is not None:
        camera = camera.scaled(size[0] / camera.width)
        if (camera.width, camera.height) != size:
            raise InputError(
                f"--size {size[0]} {size[1]} is not of the shape of {frame.file}: give"
                f" {camera.width} {camera.height}"
            )
    return _View(camera, frame.c2w, flight_of(frame.split))


def _frame_of(frames: tuple[Frame, ...], name: str) -> Frame:
    found = [f for f in frames if f.file == name or f.file.endswith(f"/{name}")]
    exact = [f for f in found if f.file in (name, f"images/{name}")]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise InputError(
            f"--frame {name} may be {' or '.join(f.file for f in found[:4])}: give the whole path"
        )
    raise InputError(
        f"the scene has no photograph {name}: it has {frames[0].file} to {frames[-1].file},"
        f" {len(frames)} in all"
    )


def _on_path(
    manifest: Manifest, name: str, at_s: float, size: tuple[int, int] | None, fov: float | None
) -> _View:
    stamp = manifest.scene
    if name in CANNED_PATHS:
        path = canned_path(cast(CannedPath, name), Aabb(*stamp.aabb), stamp.altitude_range_m[1])
    elif name.endswith(".json"):
        path = read_path(Path(name), GeodeticReference(*stamp.reference))
    else:
        raise InputError(f"--path {name} is unknown: give one of {', '.join(CANNED_PATHS)}, or a .json file")
    if not 0 <= at_s <= path.duration_s:
        raise InputError(f"--at {at_s:g} is not on the path: give 0 to {path.duration_s:g} seconds")
    key = path.at(path.start_s + at_s)
    return _View(_pinhole(size, key.fov_y_deg if fov is None else fov), key.c2w)


def _check_file(out: Path) -> None:
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out} ends with {out.suffix!r}: give one of {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}, make it first")


def _ticking(progress: Callable[[int, int], None], n_chunks: int) -> Callable[[], bool]:
    """Counts chunks of rays, and shows them where it takes a while."""
    began, done = time.monotonic(), 0

    def tick() -> bool:
        nonlocal done
        if time.monotonic() - began > _SHOW_AFTER_S:
            progress(min(done, n_chunks), n_chunks)
        done += 1
        return False

    return tick


def _write(out: Path, data: bytes) -> None:
    try:
        out.write_bytes(data)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}): give another place") from error
