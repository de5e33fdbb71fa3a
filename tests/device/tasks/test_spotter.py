"""The spotter from frame to sign, with stand-in networks, and once with the real ones through onnxruntime."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from alula.device.camera import Counts, Frame, VideoFile, open_source
from alula.device.camera.source import SourceBase
from alula.device.tasks.annotate import AnnotatedVideo
from alula.device.tasks.recognise import charset_from_metadata
from alula.device.tasks.spotter import Spotter, SpotterConfig, write_signs
from alula.device.tasks.track import TrackConfig
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import ShapeError, SourceError

cv2 = opencv("these tests")
CHARSET = ["", "U", "P", "X", " "]
CLIP = Path(__file__).parents[3] / "demo" / "flight.mp4"


class Images(SourceBase):
    """A source of given images."""

    def __init__(self, images: list[np.ndarray]) -> None:
        super().__init__("images", live=False)
        self.images, self.counts, self.fps = images, Counts(), 10.0

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self.images):
            yield self._deliver(image, index, index / 10, 0.0)


def flight(count: int = 8, step: int = 30, upside_down: bool = False) -> list[np.ndarray]:
    """A green board over grey noise that moves; its left end is red, so that one can tell which way up it is."""
    rng = np.random.default_rng(2)
    ground = cv2.resize(rng.integers(90, 130, (48, 100, 3), np.uint8), (1000, 480), interpolation=cv2.INTER_CUBIC)
    ground[200:240, 400:560] = (0, 255, 0)
    ground[200:240, 400:430] = (0, 0, 255)
    views = [ground[:, k * step : k * step + 640] for k in range(count)]
    return [np.ascontiguousarray(view[::-1, ::-1] if upside_down else view) for view in views]


def detect(x: np.ndarray) -> np.ndarray:
    """Saturated colour is text; boxes are found shrunk, as the real detector has it."""
    blue, green, red = x[0]
    text = ((np.maximum(green, red) > 0.9) & (blue < -0.9)).astype(np.uint8)
    return cv2.erode(text, np.ones((25, 25))).astype(np.float32)[None, None]


def classify(x: np.ndarray) -> np.ndarray:
    """Upside down if the red end is on the right."""
    red = x[:, 2] > 0.5
    turned = np.array([np.nonzero(one)[1].mean() > 60 if one.any() else False for one in red], np.float32)
    return np.stack([1 - turned, turned], axis=1)


def recognise(x: np.ndarray) -> np.ndarray:
    """UP where the red end is on the left, else XX."""
    out = np.zeros((len(x), 4, len(CHARSET)), np.float32)
    for row, one in zip(out, x, strict=True):
        upright = np.nonzero(one[2] > 0.5)[1].mean() < 60
        row[np.arange(4), [1, 0, 2, 0] if upright else [3, 0, 3, 0]] = 0.97
    return out


class CountingLog:
    def __init__(self) -> None:
        self.phases: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.depth = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        assert self.depth == 0, "phases do not nest here"
        self.phases[name] += 1
        self.depth += 1
        yield
        self.depth -= 1

    def count(self, name: str) -> None:
        self.counts[name] += 1


def spotter(**config: object) -> Spotter:
    return Spotter(detect, classify, recognise, CHARSET, SpotterConfig(**config))  # type: ignore[arg-type]


@pytest.mark.parametrize("upside_down", [False, True])
def test_a_sign_is_reported_once_whichever_way_up_it_is(upside_down: bool) -> None:
    result = spotter().run(Images(flight(upside_down=upside_down)))
    (sign,) = result.signs
    assert sign.text == "UP" and sign.confidence == pytest.approx(0.97, abs=1e-3)
    assert (sign.first_frame, sign.last_frame, sign.sightings) == (0, 7, 8)
    assert (sign.first_time_s, sign.last_time_s) == (0.0, 0.7)
    low, high = np.min(sign.quad, axis=0), np.max(sign.quad, axis=0)
    left = 640 - 560 + 30 * sign.frame if upside_down else 400 - 30 * sign.frame
    assert low == pytest.approx([left, 240 if upside_down else 200], abs=12)
    assert high - low == pytest.approx([160, 40], abs=20)


def test_settled_signs_are_seen_and_not_read_again() -> None:
    result = spotter(tracks=TrackConfig(settle_after=3)).run(Images(flight()))
    assert [seen.reading is not None for seen in result.sightings] == [True] * 3 + [False] * 5
    assert [times.crops for times in result.times] == [1] * 3 + [0] * 5


def test_images_that_do_not_follow_each_other_give_the_signs_in_each(tmp_path: Path) -> None:
    for number, image in enumerate([flight(1)[0], np.ascontiguousarray(flight(1)[0][::-1, ::-1])]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    alone = spotter().run(open_source(tmp_path / "1.png"))
    assert [(sign.text, sign.picture, sign.sightings) for sign in alone.signs] == [("UP", "1.png", 1)]
    both = spotter().run(open_source(tmp_path))
    assert [(sign.text, sign.sightings) for sign in both.signs] == [("UP", 2)]  # the same text twice is one sign
    (tmp_path / "1.png").unlink()
    assert len(spotter().run(open_source(tmp_path)).signs) == 1
    assert spotter().run(open_source(tmp_path, sequence=True)).signs == []  # seen in one frame of a video


def test_every_nth_frame_is_looked_at_and_the_log_hears_of_each_phase() -> None:
    log = CountingLog()
    result = Spotter(detect, classify, recognise, CHARSET, SpotterConfig(every=3), log).run(Images(flight()))
    assert [times.frame for times in result.times] == [0, 3, 6] and result.frames == 3
    assert log.counts == {"frame": 3}
    assert log.phases == {"capture": 9, "detect": 3, "recognise": 3}  # eight frames and the end
    assert result.counts["delivered"] == 8


def test_it_stops_after_the_frames_asked_for() -> None:
    result = spotter().run(Images(flight()), frames=4)
    assert result.frames == 4 and result.signs[0].last_frame == 3


def test_large_frames_are_shrunk_for_the_detector_alone() -> None:
    large = [cv2.resize(image, (1600, 1200), interpolation=cv2.INTER_NEAREST) for image in flight(4)]
    (sign,) = spotter().run(Images(large)).signs
    assert np.ptp(np.array(sign.quad)[:, 0]) == pytest.approx(400, abs=50)


def test_a_source_without_frames_is_an_error() -> None:
    with pytest.raises(SourceError, match="images: expected frames, got none"):
        spotter().run(Images([]))


def test_a_network_that_is_no_detector_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"detector: expected \(1, 1, 480, 640\), got \(1, 1000\)"):
        Spotter(lambda x: np.zeros((1, 1000), np.float32), classify, recognise, CHARSET).run(Images(flight(1)))


def test_empty_images_of_the_ground_give_no_sign() -> None:
    result = spotter().run(Images([np.zeros((480, 640, 3), np.uint8)] * 3))
    assert result.signs == [] and result.frames == 3


def test_signs_are_written_as_json_lines(tmp_path: Path) -> None:
    result = spotter().run(Images(flight()))
    write_signs(result.signs, tmp_path / "signs.jsonl")
    (line,) = (tmp_path / "signs.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["text"] == "UP" and len(record["quad"]) == 4
    assert {"confidence", "first_frame", "last_frame", "first_time_s", "last_time_s", "sightings", "frame"} <= set(
        record
    )


def test_the_annotated_video_has_every_frame_and_the_boxes_in_it(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "seen.avi", 10.0) as video:
        spotter().run(Images(flight()), watch=video.watch)
    with open_source(tmp_path / "seen.avi") as source:
        frames = list(source)
    assert len(frames) == 8
    assert np.abs(frames[0].image.astype(int) - flight()[0]).max() > 60


def test_an_annotated_video_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\.mp4 or \.avi"):
        AnnotatedVideo(tmp_path / "seen.gif", 10.0)
    with pytest.raises(SourceError, match="no such folder"):
        AnnotatedVideo(tmp_path / "nowhere" / "seen.mp4", 10.0)


@pytest.mark.skipif(
    importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="the OCR networks are not installed"
)
def test_the_real_networks_read_the_signs_of_the_first_seconds_of_the_demo() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3

    def session(file: str) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])

    names = ("ch_PP-OCRv4_det_infer.onnx", "ch_ppocr_mobile_v2.0_cls_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx")
    sessions = [session(name) for name in names]
    charset = charset_from_metadata(sessions[2].get_modelmeta().custom_metadata_map["character"])
    assert len(charset) == 6625
    networks = [lambda x, s=s: s.run(None, {s.get_inputs()[0].name: x})[0] for s in sessions]
    truth = json.loads(CLIP.with_suffix(".truth.json").read_text())
    with VideoFile(CLIP) as clip:
        result = Spotter(*networks, charset, SpotterConfig(every=3)).run(clip, frames=10)
    passed = [
        sign["text"]
        for number, sign in enumerate(truth["signs"])
        if sum(str(number) in truth["visible"][frame] for frame in range(0, 30, 3)) >= 3
    ]
    assert len(passed) >= 3
    assert [sign.text for sign in result.signs if sign.text in passed] == passed
