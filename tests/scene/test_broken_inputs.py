"""Every broken input is one sentence with the file's name and the remedy, and nothing is half-written."""
# ruff: noqa: E501 (a case a line)

import json
import shutil
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anerf.errors import InputError, PartitionError
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu
from anerf.partition.build import grid_partition
from anerf.scene.colmap import ColmapImage, read_colmap, write_colmap
from anerf.scene.prepare import prepare_scene
from anerf.scene.update import update_scene

REFERENCE = GeodeticReference(51.5, 7.4, 200.0)
Damage = Callable[[Path], object]


def _put(file: str, data: bytes) -> Damage:
    return lambda root: (root / file).write_bytes(data)


def _gone(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def _cut(file: str, share: float) -> Damage:
    def damage(root: Path) -> None:
        data = (root / file).read_bytes()
        (root / file).write_bytes(data[: int(share * len(data))])

    return damage


def _patch(file: str, old: bytes, new: bytes) -> Damage:
    def damage(root: Path) -> None:
        data = (root / file).read_bytes()
        assert old in data
        (root / file).write_bytes(data.replace(old, new, 1))

    return damage


def _picture(file: str, mode: str, size: tuple[int, int] = (48, 32), **how: Any) -> Damage:
    def damage(root: Path) -> None:
        (root / file).unlink(missing_ok=True)
        (root / file).parent.mkdir(exist_ok=True)
        Image.new(mode, size).save(root / file, **how)

    return damage


def _instead(file: str, make: Callable[[Path], object]) -> Damage:
    def damage(root: Path) -> None:
        (root / file).unlink()
        make(root / file)

    return damage


def _bomb(side: int = 60_000) -> bytes:
    """A picture's head that promises 3.6 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def _model(change: Callable[[tuple[ColmapImage, ...]], tuple[ColmapImage, ...]], **changes: Any) -> Damage:
    """Changes the images of the COLMAP model."""

    def damage(root: Path) -> None:
        model = read_colmap(root / "model")
        write_colmap(root / "model", replace(model, images=change(model.images), **changes))

    return damage


def _first(**changes: Any) -> Damage:
    return _model(lambda images: (replace(images[0], **changes), *images[1:]))


def _few_points(root: Path) -> None:
    model = read_colmap(root / "model")
    blind = {"observed_xy": np.empty((0, 2)), "observed_point": np.empty(0, np.int64)}
    points = {name: getattr(model, name)[:5] for name in ("points_xyz", "points_rgb", "points_error_px")}
    images = tuple(replace(image, **blind) for image in model.images)
    write_colmap(root / "model", replace(model, images=images, **points))


def _no_image(root: Path) -> None:
    model = read_colmap(root / "model")
    write_colmap(root / "model", replace(model, images=()))


def _half_local(images: tuple[ColmapImage, ...]) -> tuple[ColmapImage, ...]:
    local = (replace(image, c2w=ecef_to_enu(image.c2w, REFERENCE)) for image in images[7:])
    return (*images[:7], *local)


def _twin_names(images: tuple[ColmapImage, ...]) -> tuple[ColmapImage, ...]:
    names = [unicodedata.normalize(form, "Straße é.jpg") for form in ("NFC", "NFD")]
    return (*(replace(image, name=name) for image, name in zip(images, names, strict=False)), *images[2:])


def _transforms(change: Callable[[dict], object]) -> Damage:
    """Changes what `transforms.json` holds; where that is no object, what is returned is written."""

    def damage(root: Path) -> None:
        data = json.loads((root / "transforms.json").read_text())
        (root / "transforms.json").write_text(json.dumps(change(data) or data))

    return damage


def _pose(right: np.ndarray) -> Damage:
    def change(data: dict) -> None:
        matrix = np.array(data["frames"][2]["transform_matrix"])
        matrix[:3] = matrix[:3] @ right
        data["frames"][2]["transform_matrix"] = matrix.tolist()

    return _transforms(change)


def _frame(number: int, **changes: Any) -> Damage:
    return _transforms(lambda data: data["frames"][number].update(changes))


def _odm(change: Callable[[dict], object]) -> Damage:
    def damage(root: Path) -> None:
        file = root / "opensfm/reconstruction.json"
        (whole,) = json.loads(file.read_text())
        change(whole)
        file.write_text(json.dumps([whole]))

    return damage


def _shot(**changes: Any) -> Damage:
    return _odm(lambda whole: whole["shots"]["002.jpg"].update(changes))


def _lens(**changes: Any) -> Damage:
    return _odm(lambda whole: [lens.update(changes) for lens in whole["cameras"].values()])


def _tensors(file: str, **changes: Any) -> Damage:
    """Changes entries of a file of the older system; None takes one out."""

    def damage(root: Path) -> None:
        content = torch.load(root / file, weights_only=True) | changes
        torch.save({k: v for k, v in content.items() if v is not None}, root / file)

    return damage


def _older_pose(right: np.ndarray) -> Damage:
    def damage(root: Path) -> None:
        content = torch.load(root / METADATA, weights_only=True)
        content["c2w"] = content["c2w"] @ torch.tensor(right, dtype=torch.float32)
        torch.save(content, root / METADATA)

    return damage


def _saved(content: object, file: str, **how: Any) -> Damage:
    def damage(root: Path) -> None:
        (root / file).parent.mkdir(exist_ok=True)
        torch.save(content, root / file, **how)

    return damage


def _zip_bomb(root: Path) -> None:
    (root / "masks").mkdir()
    with zipfile.ZipFile(root / "masks/002.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("002.pt", bytes(300 * 2**20))


class _Harmful:
    """What a pickle would run."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


METADATA = "train/metadata/002.pt"
MIRROR, STRETCH = np.diag([-1.0, 1, 1, 1]), np.diag([2.0, 2, 2, 1])
NOT_A_NUMBER = np.diag([1.0, 1, 1, np.nan])
STOLEN = "/tmp/anerf-test-that-must-not-be"
# Kind of survey, damage, file that the sentence names, what it says. `prepare only`: an update needs no points.
BROKEN: dict[str, tuple[str, Damage, str, str]] = {
    # 1 to 10: a COLMAP model
    "no poses": ("colmap", _gone("model"), "survey", "holds no COLMAP model .*; put cameras.bin"),
    "missing file": ("colmap", _gone("model/points3D.bin"), "points3D.bin", "missing; write cameras.bin"),
    "half images.bin": ("colmap", _cut("model/images.bin", 0.5), "images.bin", "damaged .*; export"),
    "half points3D.bin": ("colmap", _cut("model/points3D.bin", 0.9), "points3D.bin", "damaged .*; export"),
    "trailing bytes": ("colmap", lambda r: _put("model/cameras.bin", (r / "model/cameras.bin").read_bytes() + b"x")(r), "cameras.bin", "1 bytes follow"),
    "zero images": ("colmap", _no_image, "images.bin", "holds no image; reconstruct"),
    "no such camera": ("colmap", _first(camera_id=9), "images.bin", "uses camera 9, .*; export"),
    "unknown lens": ("colmap", _patch("model/cameras.bin", struct.pack("<Ii", 1, 1), struct.pack("<Ii", 1, 99)), "cameras.bin", "unknown model number 99; undistort"),
    "few points": ("colmap, prepare only", _few_points, "", "only 5 sparse points.*; reconstruct"),
    "point of not-numbers": ("colmap", lambda r: write_colmap(r / "model", replace(read_colmap(r / "model"), points_xyz=np.full((300, 3), np.nan))), "points3D.bin", "not a finite number.*; export"),
    # 11 to 19: poses and names in a COLMAP model
    "NaN in images.bin": ("colmap", _first(c2w=np.column_stack((np.eye(3), np.full(3, np.nan)))), "images.bin", "pose of 000.jpg is not a rotation .*; remove"),
    "mixed datums": ("colmap", _model(_half_local), "007.jpg, 008.jpg, 009.jpg", "3 of the 10 .* 50 km from the others .*; bring all poses"),
    "climbing name": ("colmap", _first(name="../../secret.jpg"), "images.bin", "'../../secret.jpg', which is no plain path .*; rename"),
    "absolute name": ("colmap", _first(name="/etc/passwd"), "images.bin", "'/etc/passwd', which is no plain path"),
    "backslash name": ("colmap", _first(name="a\\b.jpg"), "images.bin", "which is no plain path"),
    "name twice": ("colmap", _first(name="001.jpg"), "images.bin", "names the photograph 001.jpg twice; remove"),
    "names that look alike": ("colmap", _model(_twin_names), "images.bin", "names the photograph Straße .* twice; remove"),
    "name that is no text": ("colmap", _patch("model/images.bin", b"000.jpg", b"\xff\xfe0.jpg"), "images.bin", "not UTF-8 text"),
    "no images folder": ("colmap", lambda r: (r / "images").rename(r / "pictures"), "images", "no images folder; put the photographs"),
    # 20 to 33: photographs and masks
    "missing photograph": ("colmap", _gone("images/002.jpg"), "images/002.jpg", "is missing; put it there"),
    "empty photograph": ("colmap", _put("images/002.jpg", b""), "images/002.jpg", ".0 bytes. cannot be decoded .*; copy"),
    "half a photograph": ("colmap", _cut("images/002.jpg", 0.6), "images/002.jpg", "cannot be decoded .*; copy"),
    "not a photograph": ("colmap", _put("images/002.jpg", b"text"), "images/002.jpg", "cannot be decoded .*; copy"),
    "link to a secret": ("colmap", _instead("images/002.jpg", lambda p: p.symlink_to("/etc/passwd")), "images/002.jpg", "cannot be decoded .*; copy"),
    "link to nothing": ("colmap", _instead("images/002.jpg", lambda p: p.symlink_to("/nowhere.jpg")), "images/002.jpg", "is missing; put it there"),
    "folder as photograph": ("colmap", _instead("images/002.jpg", lambda p: p.mkdir()), "images/002.jpg", "is a folder; put the photograph"),
    "decompression bomb": ("colmap", _put("images/002.jpg", _bomb()), "images/002.jpg", "cannot be decoded .*; copy"),
    "other size": ("colmap", _picture("images/002.jpg", "RGB", (24, 16)), "images/002.jpg", "has 24 x 16 pixels but the camera of 002.jpg has 48 x 32; bring"),
    "grey with 16 bits": ("colmap", _picture("images/002.jpg", "I;16", format="PNG"), "images/002.jpg", "type I;16; convert it"),
    "grey TIFF with 16 bits": ("colmap", _picture("images/002.jpg", "I;16", format="TIFF"), "images/002.jpg", "type I;16; convert it"),
    "transparent pixels": ("colmap", _picture("images/002.jpg", "RGBA", format="PNG"), "images/002.jpg", "has transparent pixels.*; save it without"),
    "mask of another size": ("colmap", _picture("masks/002.jpg.png", "L", (47, 32)), "masks/002.jpg.png", "has 47 x 32 pixels .*; bring"),
    "damaged mask": ("colmap", lambda r: (r / "masks").mkdir() or _put("masks/002.jpg.png", b"x")(r), "masks/002.jpg.png", "cannot be decoded .*; copy"),
    # 34 to 54: transforms.json
    "no JSON": ("transforms", _put("transforms.json", b"{"), "transforms.json", "is not JSON .*; export"),
    "not UTF-8": ("transforms", _put("transforms.json", b'{"w": "\xff"}'), "transforms.json", "is not JSON .*; export"),
    "endless nesting": ("transforms", _put("transforms.json", b"[" * 200_000), "transforms.json", "is not JSON .*; export"),
    "a list at the top": ("transforms", _put("transforms.json", b"[]"), "transforms.json", "valid dictionary.*; correct"),
    "no frames": ("transforms", _transforms(lambda d: d.update(frames=[])), "transforms.json", "has no frames; list"),
    "frame twice": ("transforms", _frame(1, file_path="./images/000.jpg"), "transforms.json", "images/000.jpg twice; remove"),
    "no size": ("transforms", _transforms(lambda d: d.pop("w") and None), "transforms.json", "images/000.jpg lacks w, h or fl_x; give"),
    "wrong type": ("transforms", _transforms(lambda d: d.update(fl_x="wide")), "transforms.json", "fl_x: .*valid number.*; correct"),
    "NaN as focal length": ("transforms", _transforms(lambda d: d.update(fl_x=float("nan"))), "transforms.json", "images/000.jpg: .*finite .*; correct"),
    "negative focal length": ("transforms", _transforms(lambda d: d.update(fl_x=-40)), "transforms.json", "images/000.jpg: .*must be positive; correct"),
    "unknown lens here": ("transforms", _transforms(lambda d: d.update(camera_model="EQUIRECTANGULAR")), "transforms.json", "EQUIRECTANGULAR.*; "),
    "fourth radial term": ("transforms", _transforms(lambda d: d.update(camera_model="OPENCV", k4=0.1)), "transforms.json", "k4 0.1.*; "),
    "lens that folds back": ("transforms", _transforms(lambda d: d.update(k1=-9.0)), "000.jpg", "explains only .*; calibrate it again"),
    "nowhere": ("transforms", _transforms(lambda d: d.pop("enu_reference") and None), "survey", "not in ECEF .*; .*--enu-ref"),
    "NaN as reference": ("transforms", _transforms(lambda d: d["enu_reference"].update(latitude_deg=float("nan"))), "transforms.json", "no place on Earth; give"),
    "odd split": ("transforms", _frame(0, split="../x"), "transforms.json", "is in the split '../x'; use"),
    "NaN pose": ("transforms", _pose(NOT_A_NUMBER), "transforms.json", "images/002.jpg holds numbers that are not finite; register"),
    "mirrored pose": ("transforms", _pose(MIRROR), "transforms.json", "images/002.jpg is mirrored .*; register"),
    "scaled pose": ("transforms", _pose(STRETCH), "transforms.json", "images/002.jpg is not a rotation .*; register"),
    "short pose": ("transforms", _frame(2, transform_matrix=[[1, 2], [3, 4]]), "transforms.json", "images/002.jpg is not 4 x 4 .*; export"),
    "mixed datums here": ("transforms", _pose(np.eye(4) + 6.4e6 * np.eye(4, k=3)), "002.jpg", "1 of the 10 .*; bring all poses"),
    "missing mask": ("transforms", _frame(2, mask_path="masks/none.png"), "masks/none.png", "is missing; put it there"),
    "name of half a letter": ("transforms", _frame(2, file_path="images/\ud800.jpg"), "transforms.json", "which is no plain path"),
    # 55 to 68: ODM
    "no reconstruction file": ("odm", _gone("opensfm/reconstruction.json"), "opensfm/reconstruction.json", "is missing; run"),
    "no reconstruction": ("odm", _put("opensfm/reconstruction.json", b"[]"), "reconstruction.json", "no reconstructed photograph; run"),
    "no list": ("odm", _put("opensfm/reconstruction.json", b"{}"), "reconstruction.json", "valid list; correct"),
    "missing camera": ("odm", _shot(camera="other"), "reconstruction.json", "002.jpg was taken by the camera 'other', .*; run"),
    "short rotation": ("odm", _shot(rotation=[1, 2]), "reconstruction.json", "0.shots.002.jpg.rotation.*; correct"),
    "NaN rotation": ("odm", _shot(rotation=[0, 0, float("nan")]), "reconstruction.json", "pose of 002.jpg holds .* not finite; register"),
    "NaN point": ("odm", _odm(lambda w: w["points"]["7"].update(coordinates=[0, float("inf"), 0])), "reconstruction.json", "point 7 is not made of finite numbers; run"),
    "panorama": ("odm", _lens(projection_type="spherical"), "reconstruction.json", "kind spherical cannot be used; reconstruct"),
    "no focal length": ("odm", _lens(focal_x=None), "reconstruction.json", "neither focal nor focal_x; export"),
    "cropped photograph": ("odm", _picture("images/002.jpg", "RGB", (40, 32)), "images/002.jpg", "has 40 x 32 pixels, which is not 48 x 32 .*; bring"),
    "photograph gone": ("odm", _gone("images/002.jpg"), "images/002.jpg", "is missing; put it there"),
    "climbing shot": ("odm", _odm(lambda w: w["shots"].update({"../x.jpg": w["shots"]["002.jpg"]})), "reconstruction.json", "no plain path .*; rename"),
    "broken cameras.json": ("odm", _put("cameras.json", b"[]"), "cameras.json", "valid dictionary; correct"),
    "no place": ("odm", _put("opensfm/reference_lla.json", b'{"latitude": 951, "longitude": 7, "altitude": 1}'), "reference_lla.json", "no place on Earth; give"),
    # 69 to 89: what the older system prepared
    "no coordinates.pt": ("older", _gone("coordinates.pt"), "coordinates.pt", "is missing; copy"),
    "bare pickle": ("older", _saved({"W": 1}, METADATA, _use_new_zipfile_serialization=False), METADATA, "is no zip .*; write it again"),
    "bare harmful pickle": ("older", _saved(_Harmful(STOLEN), METADATA, _use_new_zipfile_serialization=False), METADATA, "is no zip .*; write it again"),
    "harmful pickle": ("older", _saved({"W": _Harmful(STOLEN)}, METADATA), METADATA, "more than tensors and plain values .*; nothing in it was run"),
    "harmful coordinates": ("older", _saved(_Harmful(STOLEN), "coordinates.pt"), "coordinates.pt", "more than tensors and plain values .*; nothing"),
    "half a .pt": ("older", _cut(METADATA, 0.5), METADATA, "is no zip|is damaged"),
    "text as .pt": ("older", _put(METADATA, b"text"), METADATA, "is no zip .*; write it again"),
    "a list as .pt": ("older", _saved([1, 2], METADATA), METADATA, "holds a list, .*; copy"),
    "no c2w": ("older", _tensors(METADATA, c2w=None), METADATA, "has no c2w; copy"),
    "text for numbers": ("older", _tensors(METADATA, intrinsics="wide"), METADATA, "intrinsics is not made of numbers; copy"),
    "c2w of another shape": ("older", _tensors(METADATA, c2w=torch.eye(2)), METADATA, r"c2w has the shape \(2, 2\), not .*; copy"),
    "NaN c2w": ("older", _older_pose(NOT_A_NUMBER), METADATA, "pose of 002.jpg holds .* not finite; register"),
    "mirrored c2w": ("older", _older_pose(MIRROR), METADATA, "pose of 002.jpg is mirrored .*; register"),
    "width of NaN": ("older", _tensors(METADATA, W=float("nan")), METADATA, "W is nan, not a number of pixels; copy"),
    "scale of zero": ("older", _tensors("coordinates.pt", pose_scale_factor=0.0), "coordinates.pt", "factor positive; copy"),
    "picture gone": ("older", _gone("train/rgbs/002.jpg"), "train/rgbs/002.jpg", "is missing .*; put it there or remove"),
    "picture cropped": ("older", _picture("train/rgbs/002.jpg", "RGB", (40, 32)), "train/rgbs/002.jpg", "40 x 32 pixels, .*; bring"),
    "no metadata": ("older", lambda r: (_gone("train")(r), _gone("val")(r)), "older", "holds no metadata.*; give"),
    "id twice": ("older", lambda r: shutil.copytree(r / "train", r / "continual/a", symlinks=True), "older", "000.jpg twice; remove"),
    "mask of one row": ("older", _saved(torch.ones(48), "masks/002.pt"), "masks/002.pt", "is no mask, .*; copy"),
    "mask that unpacks to too much": ("older", _zip_bomb, "masks/002.pt", "unpacks to 314572800 bytes, .*; copy"),
}  # fmt: skip


@pytest.fixture
def broken(request, survey, small_odm, small_older) -> Path:
    """The survey of the case, broken."""
    kind, damage, *_ = BROKEN[request.param]
    if kind == "transforms":
        frames = [
            {
                "file_path": f"images/{image.name}",
                "transform_matrix": [*ecef_to_enu(image.c2w, REFERENCE).tolist(), [0, 0, 0, 1]],
            }
            for image in read_colmap(survey / "model").images
        ]
        data = {"w": 48, "h": 32, "fl_x": 40, "fl_y": 41, "cx": 24, "cy": 16, "frames": frames}
        data |= {"enu_reference": {"latitude_deg": 51.5, "longitude_deg": 7.4, "altitude_m": 200}}
        (survey / "transforms.json").write_text(json.dumps(data))
    root = {"odm": small_odm, "older": small_older}.get(kind, survey)
    damage(root)
    return root


def _check(error: InputError, file: str) -> None:
    sentence = str(error)
    assert "\n" not in sentence
    assert file in sentence
    assert "; " in sentence
    assert not Path(STOLEN).exists()


@pytest.mark.parametrize(("broken", "case"), [(case, case) for case in BROKEN], indirect=["broken"])
def test_preparing_ends_in_one_sentence_and_leaves_nothing(broken, case, tmp_path):
    kind, _, file, says = BROKEN[case]
    out = tmp_path / "made" / "scene"
    with pytest.raises(InputError, match=says) as caught:
        prepare_scene(broken, out, kind=kind.split(",")[0])
    _check(caught.value, file)
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize(
    ("broken", "case"),
    [(case, case) for case, (kind, *_) in BROKEN.items() if "prepare only" not in kind],
    indirect=["broken"],
)
def test_updating_ends_in_one_sentence_and_changes_no_byte(broken, case, make_survey, tmp_path):
    kind, _, file, says = BROKEN[case]
    make_survey(tmp_path / "first", n=3, seed=9)
    scene = prepare_scene(tmp_path / "first", tmp_path / "scene")
    before = _bytes(scene.root)
    with pytest.raises(InputError, match=says) as caught:
        update_scene(scene.root, broken, "after", kind=kind)
    _check(caught.value, file)
    assert _bytes(scene.root) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_flight_outside_the_box_changes_no_byte(survey, make_survey, tmp_path):
    make_survey(tmp_path / "first", n=3, seed=9)
    scene = prepare_scene(tmp_path / "first", tmp_path / "scene")
    _model(lambda images: (replace(images[0], c2w=images[0].c2w + np.eye(3, 4, 3) * 900.0), *images[1:]))(
        survey
    )
    before = _bytes(scene.root)
    with pytest.raises(InputError, match=r"000.jpg.* outside the scene's box, .*; check the survey's datum"):
        update_scene(scene.root, survey, "after")
    assert _bytes(scene.root) == before


def test_region_that_no_photograph_sees(survey, tmp_path):
    scene = prepare_scene(survey, tmp_path / "scene")
    with pytest.raises(PartitionError, match=r"no photograph sees region \d+ .*; divide"):
        grid_partition(scene, 60, 60, margin=1.0)
    assert not (scene.root / "partitions").exists() or not list((scene.root / "partitions").iterdir())


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
