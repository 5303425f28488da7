"""Makes camera paths in the browser: key frames that can be dragged, played, saved and filmed."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import viser

from anerf.errors import InputError
from anerf.products.path_file import read_path, save_path
from anerf.viewer.camera import ViewFrame
from anerf.viewer.camera_man import CameraMan
from anerf.viewer.feed import LiveFeed
from anerf.viewer.live import Film, JobNews
from anerf.viewer.panels.path import FileAction, KeyAction, PathAction, PathPanel
from anerf.viewer.path_draft import FOLDER, Draft, path_file, saved_names
from anerf.viewer.settings import Exhibit

_LINE_RGB, _KEY_RGB = (255, 214, 10), (255, 255, 255)
_STEPS_A_LEG = 16
_PLAY_EVERY_S = 0.08
_GIZMO = 0.12
_KEY_SIZE = 0.03
_OF_VIDEOS = "videos"
"""The folder of videos' own paths, among the saved ones: no name leads there."""
_saving = threading.Lock()
"""Of all browsers, so that none saves between another's look and its writing."""


@dataclass(frozen=True)
class PathHost:
    """What the editor needs of its browser: see `LiveHost`; `samples` and `flight` are a video's.

    `flight` is whose look a video of the checkpoint in a folder has.
    """

    attempt: Callable[[Callable[[], None]], None]
    say: Callable[[str, str], None]
    checkpoint_uri: Callable[[], str]
    samples: Callable[[], int]
    flight: Callable[[str], str | None]


class PathEditor:
    """One browser's path, its nodes in the scene, and its panel."""

    def __init__(
        self,
        gui: viser.GuiApi,
        scene: viser.SceneApi,
        frame: ViewFrame,
        camera: CameraMan,
        exhibit: Exhibit,
        feed: LiveFeed | None,
        who: int,
        host: PathHost,
    ) -> None:
        self._scene, self._frame, self._camera, self._exhibit = scene, frame, camera, exhibit
        self._feed, self._who, self._host = feed, who, host
        self._draft = Draft()
        self._nodes: list[viser.SceneNodeHandle] = []
        self._gizmo: viser.TransformControlsHandle | None = None
        self._playing = threading.Event()
        self._known: dict[Path, tuple[int, int]] = {}
        self._panel = panel = PathPanel(gui, saved_names(exhibit.out), feed is not None)
        panel.on_add(self._add)
        panel.on_choose(self._choose)
        panel.on_leg(self._set_leg)
        panel.on_action(lambda action: host.attempt(lambda: self._act(action)))
        panel.on_film(lambda: host.attempt(self._film))

    def stop(self) -> None:
        """The browser has gone."""
        self._playing.clear()

    def _add(self) -> None:
        leg_s = float(self._panel.leg_s.value)
        # Not chosen: its arrows would surround the camera.
        self._set(self._draft.added(self._camera.c2w, self._camera.fov_y_deg, leg_s), None)

    def _act(self, action: KeyAction | PathAction | FileAction) -> None:
        chosen = self._panel.chosen
        match action:
            case "go there" if chosen is not None:
                self._drop_gizmo()
                draft = self._draft
                pose, fov_y_deg = draft.poses[chosen], draft.fovs_y_deg[chosen]
                self._camera.take_pose(pose, self._reach_m, fov_y_deg)
            case "replace" if chosen is not None:
                self._set(self._draft.moved(chosen, self._camera.c2w, self._camera.fov_y_deg), chosen)
            case "remove" if chosen is not None:
                self._set(self._draft.without(chosen), None)
            case "go there" | "replace" | "remove":
                self._host.say("No key frame is chosen", "Choose one under Key frame first.")
            case "play":
                self._play()
            case "halt":
                self._playing.clear()
            case "clear":
                self._set(Draft(), None)
            case "save":
                self._save()
            case "open":
                self._open()

    def _open(self) -> None:
        file = path_file(self._exhibit.out, self._panel.name.value)
        # Looked at first: what somebody saves while it is read was not opened here.
        mark = _mark(file)
        draft = Draft.of(read_path(file, self._exhibit.model.reference))
        if mark is not None:
            self._known[file] = mark  # before it is seen: it may be saved from then on
        self._set(draft, None)

    def _save(self) -> None:
        out = self._exhibit.out
        file = path_file(out, self._panel.name.value)
        with _saving:
            if _mark(file) not in (None, self._known.get(file)):
                raise InputError(
                    f"path {file.stem!r} is there already, and not as it was opened or saved here:"
                    " choose another name, or open it first"
                )
            self._write(file)
            if (mark := _mark(file)) is not None:
                self._known[file] = mark
        self._panel.tell_saved(saved_names(out))
        self._host.say("Path saved", f"It is {file.parent.name}/{file.name} in the output folder.")

    def _write(self, file: Path) -> None:
        model, path = self._exhibit.model, self._draft.path()
        file.parent.mkdir(parents=True, exist_ok=True)
        save_path(file, path, model.reference, model.scene_name)

    def _play(self) -> None:
        path = self._draft.path()
        self._playing.set()
        start = time.monotonic()
        while self._playing.is_set() and (at_s := time.monotonic() - start) < path.duration_s:
            key = path.at(path.start_s + at_s)
            self._camera.take_pose(key.c2w, self._reach_m, key.fov_y_deg)
            time.sleep(_PLAY_EVERY_S)
        self._playing.clear()

    def _film(self) -> None:
        assert self._feed is not None
        checkpoint_uri = self._host.checkpoint_uri()
        flight = self._host.flight(checkpoint_uri)
        # The job reads its path when its turn comes: by then a saved one may be another.
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}.json"
        file = self._exhibit.out / FOLDER / _OF_VIDEOS / name
        self._write(file)
        wish = Film(
            checkpoint_uri,
            str(file),
            self._panel.fps,
            self._panel.film_size_px,
            self._host.samples(),
            flight,
        )
        job_id = self._feed.jobs.film(wish)
        self._panel.tell_film(f"Video {job_id} waits for its turn.", 0.0)
        self._feed.follow(job_id, self._who, self._hear)

    def _hear(self, news: JobNews) -> None:
        if news.is_over:
            self._panel.tell_film(f"Video {news.job_id}: {news.state.lower()}. {news.message}", None)
            return
        share = news.step / news.of_steps if news.of_steps else 0.0
        self._panel.tell_film(f"Video {news.job_id}: frame {news.step} of {news.of_steps}", min(share, 1.0))

    @property
    def _reach_m(self) -> float:
        return max(self._exhibit.model.aabb.size) / 2

    def _choose(self) -> None:
        chosen, draft = self._panel.chosen, self._draft
        if chosen is not None and chosen < len(draft):
            self._panel.leg_s.value = max(0.1, draft.legs_s[chosen])
        self._place_gizmo()

    def _set_leg(self) -> None:
        chosen = self._panel.chosen
        if chosen:
            self._set(self._draft.timed(chosen, float(self._panel.leg_s.value)), chosen)

    def _set(self, draft: Draft, chosen: int | None) -> None:
        self._draft = draft
        self._panel.offer(len(draft), chosen, sum(draft.legs_s))
        self._redraw()
        self._place_gizmo()

    def _redraw(self) -> None:
        for node in self._nodes:
            node.remove()
        self._nodes = []
        draft = self._draft  # once: it may become another meanwhile
        for i, pose in enumerate(draft.poses):
            wxyz, position = self._frame.from_enu(pose)
            self._nodes.append(
                self._scene.add_camera_frustum(
                    f"/path/keys/{i}",
                    fov=float(np.radians(draft.fovs_y_deg[i])),
                    aspect=16 / 9,
                    scale=_KEY_SIZE,
                    thickness=2.0,
                    thickness_units="screen",
                    color=_KEY_RGB,
                    wxyz=wxyz,
                    position=position,
                )
            )
        if len(draft) > 1:
            path = draft.path()
            times = path.start_s + np.linspace(0, path.duration_s, _STEPS_A_LEG * len(draft))
            places = self._frame.point(np.array([path.at(float(t)).c2w[:, 3] for t in times]))
            edges = np.stack((places[:-1], places[1:]), axis=1).astype(np.float32)
            self._nodes.append(
                self._scene.add_line_segments(
                    "/path/line", edges, _LINE_RGB, thickness=3.0, thickness_units="screen"
                )
            )

    def _drop_gizmo(self) -> None:
        gizmo, self._gizmo = self._gizmo, None
        if gizmo is not None:
            gizmo.remove()

    def _place_gizmo(self) -> None:
        self._drop_gizmo()
        chosen, draft = self._panel.chosen, self._draft
        if chosen is None or chosen >= len(draft):
            return
        wxyz, position = self._frame.from_enu(draft.poses[chosen])
        self._gizmo = gizmo = self._scene.add_transform_controls(
            "/path/gizmo", scale=_GIZMO, wxyz=wxyz, position=position, depth_test=False
        )

        @gizmo.on_drag_end
        def _(_: viser.TransformControlsEvent) -> None:
            pose = self._frame.to_enu(gizmo.wxyz, gizmo.position)
            self._draft = self._draft.moved(chosen, pose)
            self._redraw()


def _mark(file: Path) -> tuple[int, int] | None:
    """Changes whenever the file is saved; None where there is none."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns
