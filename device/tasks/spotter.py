"""Signs in a video: detect text, rotate it upright, read it, track it, and report each sign once.

    spotter = Spotter(detect, classify, recognise, charset)
    flight = spotter.run(open_source("flight.mp4"))
    for sign in flight.signs: print(sign.text, sign.confidence)

The three networks are plain callables from one float32 array to another, in the layout of their ONNX files
(N, C, H, W): models of our engine, sessions of another runtime, or a stand-in in a test.

    detect    : (1, 3, H, W) -> (1, 1, H, W)      probability of text, per pixel
    classify  : (N, 3, 48, 192) -> (N, 2)         probability of upright, of upside down
    recognise : (N, 3, 48, W) -> (N, T, CHARSET)  probability of each character, per step
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from alula.device.camera.source import Frame, FrameSource, Image
from alula.device.tasks.boxes import Box, BoxConfig, Floats, find_boxes
from alula.device.tasks.crops import crop_quad, detector_input, detector_size
from alula.device.tasks.log import Log, NoLog
from alula.device.tasks.motion import Motion
from alula.device.tasks.recognise import Network, Reading, read, upside_down
from alula.device.tasks.track import Sighting, Track, TrackConfig, Tracker
from alula.runtime.errors import ShapeError, SourceError

EDGE = 3.0  # pixels: a box this close to the image's edge may continue outside


@dataclass(frozen=True)
class SpotterConfig:
    """What to spend on each frame.

    every      : one of `every` frames is looked at
    long_side  : of the detector's input, pixels; frames are never enlarged
    widths     : of the recogniser's input, pixels, ascending: few, so that few programs are planned
    batches    : crops at once, for classifier and recogniser; 1 is always allowed
    turned     : probability of "upside down" above which a crop is rotated
    """

    every: int = 1
    long_side: int = 640
    widths: tuple[int, ...] = (96, 160, 256, 384, 640)
    batches: tuple[int, ...] = (1, 4)
    turned: float = 0.9
    boxes: BoxConfig = field(default_factory=BoxConfig)
    tracks: TrackConfig = field(default_factory=TrackConfig)


@dataclass(frozen=True)
class Sign:
    """A sign: its best reading and where and when it was seen. `quad` belongs to `frame`, in pixels of the image.

    picture : the name of that frame's file, for one of a folder's
    """

    text: str
    confidence: float
    first_frame: int
    last_frame: int
    first_time_s: float
    last_time_s: float
    sightings: int
    frame: int
    quad: list[list[float]]
    picture: str = ""

    def as_json(self) -> str:
        """One line of a JSONL file."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class FrameTimes:
    """What one frame took, in milliseconds of wall-clock time."""

    frame: int
    capture_ms: float
    detect_ms: float
    recognise_ms: float
    boxes: int
    crops: int


@dataclass(frozen=True)
class Flight:
    """What a run over a source gave. `frames` were looked at; `counts` is what became of the source's frames."""

    signs: list[Sign]
    sightings: list[Sighting]
    frames: int
    duration_s: float
    times: list[FrameTimes]
    counts: dict[str, float]


Watcher = Callable[[Frame, "list[tuple[Track, Sighting]]"], None]


class Spotter:
    """Reads the signs of one flight. Make a new one for the next flight: it remembers what it saw."""

    def __init__(
        self,
        detect: Network,
        classify: Network,
        recognise: Network,
        charset: Sequence[str],
        config: SpotterConfig | None = None,
        log: Log | None = None,
    ) -> None:
        self.config = config or SpotterConfig()
        if self.config.every < 1 or not self.config.widths:
            raise ValueError(f"spotter: expected every >= 1 and at least one width, got {self.config}")
        self._detect, self._classify, self._recognise = detect, classify, recognise
        self._charset = charset
        self._log: Log = log or NoLog()
        self._motion = Motion()
        self._tracker = Tracker(self.config.tracks)
        self._sightings: list[Sighting] = []
        self._times: list[FrameTimes] = []
        self._names: dict[int, str] = {}  # of frames that are files
        self._sequence = True

    def run(self, source: FrameSource, frames: int | None = None, watch: Watcher | None = None) -> Flight:
        """Look at a source until it ends.

        frames : stop when this many have been looked at; None: at the source's end
        watch  : called after each frame with what was seen in it
        raise  : SourceError if the source gives not one frame

        Where the source is no sequence, each frame is looked at alone, and one sighting makes a sign.
        """
        if not source.sequence:
            self._sequence = False
            self._tracker.config = replace(self.config.tracks, min_sightings=1)
        began_s = time.perf_counter()
        capture_ms = _Watch()
        iterator = iter(source)
        delivered = 0
        while frames is None or len(self._times) < frames:
            with self._log.phase("capture"), capture_ms:
                frame = next(iterator, None)
            if frame is None:
                break
            delivered += 1
            if (delivered - 1) % self.config.every:
                continue
            seen = self.look(frame, capture_ms.take())
            if watch is not None:
                watch(frame, seen)
        if delivered == 0:
            raise SourceError(f"{source.name}: expected frames, got none; is the source empty?")
        self._tracker.finish()
        duration_s = time.perf_counter() - began_s
        return Flight(self.signs(), self._sightings, len(self._times), duration_s, self._times, source.counts.as_dict())

    def look(self, frame: Frame, capture_ms: float = 0.0) -> list[tuple[Track, Sighting]]:
        """Look at one frame: its boxes, each with its track."""
        detect_ms, recognise_ms = _Watch(), _Watch()
        with self._log.phase("detect"), detect_ms:
            boxes = self._find(frame.image)
            self._tracker.move(self._motion.shift(frame.image) if self._sequence else None)
            tracks = self._tracker.assign(boxes)
        with self._log.phase("recognise"), recognise_ms:
            unsettled = [row for row, track in enumerate(tracks) if not track.settled(self.config.tracks)]
            readings = dict(zip(unsettled, self._read(frame.image, [boxes[row] for row in unsettled]), strict=True))
        seen = []
        for row, (box, track) in enumerate(zip(boxes, tracks, strict=True)):
            whole = _inside(box.quad, frame.image)
            sighting = Sighting(frame.index, frame.time_s, box.quad, box.score, whole, readings.get(row))
            track.sightings.append(sighting)
            seen.append((track, sighting))
        if frame.name:
            self._names[frame.index] = frame.name
        self._sightings += [sighting for _, sighting in seen]
        self._times.append(
            FrameTimes(frame.index, capture_ms, detect_ms.take(), recognise_ms.take(), len(boxes), len(unsettled))
        )
        self._log.count("frame")
        return seen

    def signs(self) -> list[Sign]:
        """The signs so far, in order of appearance."""
        return [_sign(track, self._names) for track in self._tracker.signs()]

    def _find(self, image: Image) -> list[Box]:
        size = detector_size((image.shape[0], image.shape[1]), self.config.long_side)
        batch, scale = detector_input(image, size)
        probability = np.asarray(self._detect(batch))
        if probability.shape != (1, 1, *size):
            raise ShapeError(
                f"detector: expected (1, 1, {size[0]}, {size[1]}), got {probability.shape}; is it a text detector?"
            )
        boxes = find_boxes(probability[0, 0], self.config.boxes)
        return [Box((box.quad / np.float32(scale)).astype(np.float32), box.score) for box in boxes]

    def _read(self, image: Image, boxes: Sequence[Box]) -> list[Reading]:
        if not boxes:
            return []
        crops = [crop_quad(image, box.quad, self.config.widths[-1]) for box in boxes]
        turned = upside_down(self._classify, crops, self.config.turned, self.config.batches)
        crops = [
            np.ascontiguousarray(crop[::-1, ::-1]) if turn else crop for crop, turn in zip(crops, turned, strict=True)
        ]
        return read(self._recognise, crops, self._charset, self.config.widths, self.config.batches)


def signs_as_json(signs: Sequence[Sign]) -> str:
    """One JSON object a line, in order of appearance."""
    return "".join(sign.as_json() + "\n" for sign in signs)


def write_signs(signs: Sequence[Sign], path: str | Path) -> None:
    """Write the signs to a file."""
    Path(path).write_text(signs_as_json(signs), encoding="utf-8")


def _sign(track: Track, names: Mapping[int, str]) -> Sign:
    best = track.best()
    assert best is not None and best.reading is not None, "only tracks with a reading are reported"
    agreeing = [
        seen.reading.confidence
        for seen in track.sightings
        if seen.reading is not None and seen.reading.text == best.reading.text and seen.whole == best.whole
    ]
    first, last = track.sightings[0], track.sightings[-1]
    return Sign(
        text=best.reading.text,
        confidence=round(float(np.mean(agreeing)), 4),
        first_frame=first.frame,
        last_frame=last.frame,
        first_time_s=round(first.time_s, 3),
        last_time_s=round(last.time_s, 3),
        sightings=len(track.sightings),
        frame=best.frame,
        quad=[[round(float(x), 1), round(float(y), 1)] for x, y in best.quad],
        picture=names.get(best.frame, ""),
    )


def _inside(quad: Floats, image: Image) -> bool:
    height, width = image.shape[:2]
    low, high = quad.min(axis=0), quad.max(axis=0)
    return bool(low.min() > EDGE and high[0] < width - EDGE and high[1] < height - EDGE)


class _Watch:
    """A stopwatch that adds up until it is read."""

    def __init__(self) -> None:
        self._total_ms = 0.0

    def __enter__(self) -> None:
        self._began_s = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._total_ms += 1000.0 * (time.perf_counter() - self._began_s)

    def take(self) -> float:
        total_ms, self._total_ms = self._total_ms, 0.0
        return total_ms
