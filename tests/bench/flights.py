"""A rendered flight over moving objects, what a noisy detector sees of it, and who the objects really are.

The ground is a texture, a camera pans and climbs over it, objects drive over it under roofs and over each other. Each frame is drawn,
from the ground to the roofs, so what is covered, and by how much, is counted in pixels. The camera's shift is measured in the image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alula.device.tasks.motion import Motion
from alula.runtime.data.opencv import opencv

WIDTH, HEIGHT, RATE = 640, 360, 15.0  # pixels of an image; frames per second
OBJECTS, ROOFS, WORLD = 18, 30, (2000, 1600)  # at a time; width and height of the world
SIDES = np.array([[48.0, 30.0], [34.0, 34.0], [24.0, 44.0]])  # width and height of each class
MIN_VISIBLE = 0.25  # of an object that a detector can see
MIN_OVERLAP = 0.6  # of two boxes of one class of which a detector keeps one
FALSE_ALARMS = 0.6  # in a frame


@dataclass
class Thing:
    """One object. place, velocity : (2,) pixels of the world, and per second; seen_s : when it was last visible"""

    identity: int
    kind: int
    place: NDArray[np.float64]
    velocity: NDArray[np.float64]
    scale: float
    phase: float
    seen_s: float | None = None


@dataclass
class View:
    """One frame: boxes of the detector (N, 4), scores, classes; the measured shift; identities and visible boxes of the objects (G, 4)."""

    time_s: float
    shift: tuple[float, float] | None
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    identities: list[int]
    truth: NDArray[np.float64]


@dataclass
class Flight:
    """Frames, and how long objects were out of sight before they were seen again, seconds."""

    views: list[View] = field(default_factory=list)
    hidden_s: list[float] = field(default_factory=list)


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) and (M, 4): (N, M)."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    sides = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - corner, 0.0)
    shared = sides.prod(axis=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)


class Scene:
    """The world and its camera at one time."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        cv2 = opencv("the benchmark's images")
        noise = self.rng.integers(0, 256, (WORLD[1] // 4, WORLD[0] // 4, 3), dtype=np.uint8)
        self.ground = cv2.GaussianBlur(cv2.resize(noise, WORLD), (0, 0), 2.0)
        self.colours = self.rng.integers(0, 256, (64, 3), dtype=np.uint8)
        centres = self.rng.uniform((500, 400), (1500, 1200), (ROOFS, 2))
        halves = self.rng.uniform(22, 48, (ROOFS, 2))
        self.roofs = np.concatenate([centres - halves, centres + halves], axis=1)
        self.phases = self.rng.uniform(0, 2 * np.pi, 4)
        self.things: list[Thing] = []
        self.born = 0

    def camera(self, time_s: float) -> tuple[NDArray[np.float64], float]:
        """The centre of what it sees, in the world, and image pixels for one of the world."""
        angle = self.phases + time_s * np.array([0.5, 0.37, 0.23, 1.7])
        centre = np.array([1000.0, 800.0]) + (170 * np.sin(angle[0]), 120 * np.sin(angle[1]))
        return centre + 4.0 * np.sin(angle[3]), 1.0 + 0.2 * np.sin(angle[2])

    def advance(self, time_s: float, step_s: float) -> None:
        """Objects drive on, and new ones come in at the edges of the view."""
        centre, zoom = self.camera(time_s)
        reach = np.array([WIDTH, HEIGHT]) / zoom / 2 + 60
        for thing in self.things:
            thing.velocity = thing.velocity + self.rng.normal(0, 14 * np.sqrt(step_s), 2)
            thing.place = thing.place + thing.velocity * step_s
        self.things = [thing for thing in self.things if (np.abs(thing.place - centre) < reach).all()]
        while len(self.things) < OBJECTS:
            self.born += 1
            along = self.rng.integers(0, 2)
            place = self.rng.uniform(-0.85, 0.85, 2) * reach
            if self.born > OBJECTS:
                place[along] = self.rng.choice([-1, 1]) * (reach[along] - 5)
            velocity = self.rng.normal(0, 15, 2)
            velocity[along] = -np.sign(place[along]) * self.rng.uniform(60, 150)
            thing = Thing(self.born, int(self.rng.integers(0, 3)), centre + place, velocity, 0.0, 0.0)
            thing.scale, thing.phase = self.rng.uniform(0.8, 1.5), self.rng.uniform(0, 6.28)
            self.things.append(thing)

    def draw(self, time_s: float) -> tuple[NDArray[np.uint8], list[tuple[Thing, float, NDArray[np.float64]]]]:
        """The image; and each object with the part of it that is visible, 0 to 1, and the box around that part."""
        cv2 = opencv("the benchmark's images")
        centre, zoom = self.camera(time_s)
        matrix = np.array([[zoom, 0, WIDTH / 2 - zoom * centre[0]], [0, zoom, HEIGHT / 2 - zoom * centre[1]]])
        image = cv2.warpAffine(self.ground, matrix, (WIDTH, HEIGHT))
        owner = np.full((HEIGHT, WIDTH), -1, np.int32)
        places = []
        for index, thing in enumerate(self.things):
            half = SIDES[thing.kind] * thing.scale * (1 + 0.2 * np.sin(0.6 * time_s + thing.phase)) / 2
            box = np.round((np.concatenate([thing.place - half, thing.place + half]) - np.tile(centre, 2)) * zoom
                           + np.tile((WIDTH / 2, HEIGHT / 2), 2)).astype(int)  # fmt: skip
            places.append(box)
            _fill(image, box, self.colours[thing.identity % 64])
            _fill(owner, box, index)
        for roof in self.roofs:
            box = np.round((roof - np.tile(centre, 2)) * zoom + np.tile((WIDTH / 2, HEIGHT / 2), 2)).astype(int)
            _fill(image, box, np.array([60, 60, 70], np.uint8))
            _fill(owner, box, -2)
        seen = []
        for index, (thing, box) in enumerate(zip(self.things, places, strict=True)):
            left, top = np.maximum(box[:2], 0)
            mine = owner[top : max(box[3], 0), left : max(box[2], 0)] == index
            rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
            if rows.size:
                around = np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1], float)
                seen.append((thing, mine.sum() / (box[2:] - box[:2]).prod(), around))
        return image, seen


def fly(seed: int, seconds: float) -> Flight:
    """A flight of so many seconds; now and then the camera loses up to three frames."""
    scene, motion, flight = Scene(seed), Motion(), Flight()
    last_s, frame = 0.0, 0
    while frame < seconds * RATE:
        time_s = frame / RATE
        scene.advance(time_s, time_s - last_s)
        image, seen = scene.draw(time_s)
        visible = [(thing, part, box) for thing, part, box in seen if part >= MIN_VISIBLE]
        for thing, _, _ in visible:
            if thing.seen_s is not None and thing.seen_s < last_s:
                flight.hidden_s.append(time_s - thing.seen_s)
            thing.seen_s = time_s
        boxes, scores, classes = detect(scene.rng, visible)
        identities, truth = [t.identity for t, _, _ in visible], np.array([b for _, _, b in visible]).reshape(-1, 4)
        flight.views.append(View(time_s, motion.shift(image), boxes, scores, classes, identities, truth))
        last_s = time_s
        frame += 1 + (int(scene.rng.integers(1, 4)) if scene.rng.random() < 0.02 else 0)
    return flight


def detect(
    rng: np.random.Generator, visible: list[tuple[Thing, float, NDArray[np.float64]]]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """What a detector says: sides jitter by 4 %, what is covered scores less; misses and false alarms; one box of two that overlap."""
    rows = []
    for thing, part, box in visible:
        score = float(np.clip(0.3 + 0.6 * part + rng.normal(0, 0.08), 0.0, 0.99))
        if rng.random() > (0.06 if part > 0.6 else 0.3):
            noisy = box + rng.normal(0, 0.04, 4) * np.tile(box[2:] - box[:2], 2)
            rows.append((score, thing.kind, noisy))
    for _ in range(rng.poisson(FALSE_ALARMS)):
        kind = int(rng.integers(0, 3))
        corner, sides = rng.uniform((0, 0), (WIDTH - 60, HEIGHT - 60)), SIDES[kind] * rng.uniform(0.7, 1.5)
        rows.append((float(rng.uniform(0.1, 0.7)), kind, np.concatenate([corner, corner + sides])))
    rows.sort(key=lambda row: -row[0])
    kept: list[tuple[float, int, NDArray[np.float64]]] = []
    for score, kind, box in rows:
        same = np.array([other for _, k, other in kept if k == kind]).reshape(-1, 4)
        if not (overlaps(box[None], same) > MIN_OVERLAP).any():
            kept.append((score, kind, box))
    return (
        np.array([box for _, _, box in kept], np.float32).reshape(-1, 4),
        np.array([score for score, _, _ in kept], np.float32),
        np.array([kind for _, kind, _ in kept], np.int64),
    )


def _fill(image: NDArray[np.generic], box: NDArray[np.int64], value: object) -> None:
    left, top, right, bottom = np.maximum(box, 0)
    image[top:bottom, left:right] = value
