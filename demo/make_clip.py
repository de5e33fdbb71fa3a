"""Make the demo's flight: a virtual camera over a real aerial photograph with signs on the ground.

    pip install av pillow      # the H.264 encoder: needed to make the clip, not to read it
    python demo/make_clip.py   # writes demo/flight.mp4 and demo/flight.truth.json

Everything follows from --seed. The ground is `ground.jpg` (see ATTRIBUTION.md), scaled by two, with signs of different
words, sizes, colours and angles. The camera flies over it in lanes and turns round between them, so half of the signs are
upside down. It climbs, sinks, tilts and shakes; there are motion blur, clouds and sensor noise.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

WIDTH, HEIGHT, FPS = 640, 480, 9
FRAMES = 234
ENLARGE = 2  # ground pixels per pixel of the photograph
GRID = (7, 4)  # signs along a lane, lanes
LARGEST_BYTES = 1_450_000

PLACES = """KELSO Perth LEEDS Derby BATH Ripon WELLS Truro EXETER Dover HYTHE Lewes CREWE Stafford LINCOLN Boston
GRANTHAM Newark SHEFFIELD Barnsley HALIFAX Skipton KENDAL Penrith CARLISLE Hexham DURHAM Whitby MALTON Thirsk SELBY
Norwich CROMER Thetford IPSWICH Bedford OXFORD Banbury READING Newbury ANDOVER Salisbury YEOVIL Taunton""".split()
WARNINGS = "DANGER STOP CAUTION RUNWAY CLOSED EXIT NORTH WATER FUEL HELIPAD LANDING SHELTER RESCUE BASE DEPOT".split()
# Paper, ink: blue green red. White, yellow, blue, green, red, black panels.
COLOURS = [
    ((245, 245, 245), (25, 25, 25)),
    ((245, 245, 245), (150, 40, 20)),
    ((60, 205, 245), (15, 15, 15)),
    ((120, 60, 15), (245, 245, 245)),
    ((70, 105, 20), (245, 245, 245)),
    ((35, 35, 175), (245, 245, 245)),
    ((40, 40, 40), (235, 235, 235)),
]
FACES = ["DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono-Bold.ttf"]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """A sign on the ground: its text, and its corners in ground pixels, clockwise from the text's top left."""

    text: str
    quad: Points
    letter_height: float


@dataclass(frozen=True)
class Pose:
    """Where the camera is: centre in ground pixels, image pixels per ground pixel, heading, tilt along both axes."""

    x: float
    y: float
    scale: float
    heading: float
    tilt_x: float
    tilt_y: float

    def homography(self) -> Points:
        """(3, 3), from ground to image."""
        cos, sin = self.scale * np.cos(self.heading), self.scale * np.sin(self.heading)
        turn = np.array(
            [[cos, -sin, -cos * self.x + sin * self.y], [sin, cos, -sin * self.x - cos * self.y], [0.0, 0.0, 1.0]]
        )
        tilt = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [self.tilt_x, self.tilt_y, 1.0]])
        centre = np.array([[1.0, 0.0, WIDTH / 2], [0.0, 1.0, HEIGHT / 2], [0.0, 0.0, 1.0]])
        return np.asarray(centre @ tilt @ turn)


def words(rng: np.random.Generator, count: int) -> list[str]:
    """Different words: place names, warnings, and numbers with letters before them. No word reads upside down."""
    chosen = [
        *rng.choice(PLACES, size=count // 2, replace=False),
        *rng.choice(WARNINGS, size=count // 4, replace=False),
    ]
    while len(chosen) < count:
        letters = "".join(rng.choice(list("ABCDEFGHJKLMNPRTUVWY"), size=rng.integers(1, 3)))
        number = f"{letters}{rng.integers(20, 1000)}"
        if number not in chosen:
            chosen.append(number)
    return [str(word) for word in rng.permutation(chosen)]


def panel_image(rng: np.random.Generator, text: str, letter_height: float) -> NDArray[np.float32]:
    """(h, w, 3): a painted board, a little dirty."""
    face = str(FONTS / FACES[rng.integers(len(FACES))])
    left, top, right, bottom = ImageFont.truetype(face, 200).getbbox("H")
    font = ImageFont.truetype(face, max(8, round(200 * letter_height / (bottom - top))))
    left, top, right, bottom = font.getbbox(text)
    margin_x, margin_y = round(letter_height * rng.uniform(0.45, 0.8)), round(letter_height * rng.uniform(0.35, 0.6))
    paper, ink = COLOURS[rng.integers(len(COLOURS))]
    size = (round(right - left) + 2 * margin_x, round(bottom - top) + 2 * margin_y)
    board = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(board)
    draw.text((margin_x - left, margin_y - top), text, font=font, fill=ink)
    if rng.random() < 0.4:
        draw.rectangle((3, 3, size[0] - 4, size[1] - 4), outline=ink, width=2)
    painted = np.asarray(board, np.float32) * np.float32(rng.uniform(0.8, 1.0))
    dirt = cv2.GaussianBlur(rng.normal(size=painted.shape[:2]).astype(np.float32), (0, 0), 4.0)
    return np.asarray(painted + dirt[:, :, None] * np.float32(rng.uniform(20.0, 70.0)))


def paint_board(ground: NDArray[np.uint8], board: NDArray[np.float32], to_ground: Points) -> None:
    """Lay a board on the ground, in place, with its shadow. to_ground: (2, 3), from board to ground"""
    h, w = board.shape[:2]
    reach = int(np.hypot(w, h) / 2) + 16
    x, y = (to_ground @ (w / 2, h / 2, 1.0)).astype(int)
    left, top = max(0, x - reach), max(0, y - reach)
    patch = ground[top : y + reach, left : x + reach]
    area = (patch.shape[1], patch.shape[0])
    here = to_ground - np.array([[0.0, 0.0, left], [0.0, 0.0, top]])
    whole = np.ones((h, w), np.float32)
    shadow = here + np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 6.0]])
    shade = cv2.GaussianBlur(cv2.warpAffine(whole, shadow, area), (0, 0), 2.0)[:, :, None]
    cover = cv2.warpAffine(whole, here, area, flags=cv2.INTER_LINEAR)[:, :, None]
    paint = cv2.warpAffine(board, here, area, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    patch[:] = np.clip(patch * (1.0 - 0.5 * shade) * (1.0 - cover) + paint * cover, 0, 255).astype(np.uint8)


def lay_signs(rng: np.random.Generator, ground: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[Panel]]:
    """The ground with a sign somewhere in each cell of a grid."""
    columns, lanes = GRID
    ground = ground.copy()
    height, width = ground.shape[:2]
    panels = []
    for place, text in enumerate(words(rng, columns * lanes)):
        letter_height = float(rng.uniform(15.0, 36.0))
        board = panel_image(rng, text, letter_height)
        h, w = board.shape[:2]
        column, lane = place % columns, place // columns
        x = (column + 0.5 + rng.uniform(-0.12, 0.12)) * (width - 420) / columns + 210
        y = (lane + 0.5 + rng.uniform(-0.12, 0.12)) * height / lanes
        angle = np.deg2rad(rng.uniform(-15.0, 15.0))
        cos, sin = np.cos(angle), np.sin(angle)
        to_ground = np.array([[cos, -sin, x - cos * w / 2 + sin * h / 2], [sin, cos, y - sin * w / 2 - cos * h / 2]])
        paint_board(ground, board, to_ground)
        corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64)
        panels.append(Panel(text, corners @ to_ground[:, :2].T + to_ground[:, 2], letter_height))
    return ground, panels


def wander(rng: np.random.Generator, count: int, period: float) -> Points:
    """(count,) a smooth random course, about -1 to 1, that changes over `period` frames."""
    t = np.arange(count) / period
    course = sum(rng.uniform(0.5, 1.0) * np.sin(2 * np.pi * (f * t + rng.uniform())) / f for f in (1.0, 1.7, 2.9))
    return np.asarray(course / np.abs(course).max())


def fly(rng: np.random.Generator, width: int, height: int) -> list[Pose]:
    """One pose a frame: lanes there and back, with a half turn of the camera between them."""
    lanes = GRID[1]
    turn = 9  # frames
    straight = (FRAMES - (lanes - 1) * turn) // lanes
    x: list[float] = []
    y: list[float] = []
    heading: list[float] = []
    near, far = 310.0, width - 310.0
    for lane in range(lanes):
        there = lane % 2 == 0
        count = straight if lane < lanes - 1 else FRAMES - len(x)
        x += list(np.linspace(near if there else far, far if there else near, count))
        y += [(lane + 0.5) * height / lanes] * count
        heading += [np.pi * lane] * count
        if lane < lanes - 1:
            ease = 0.5 - 0.5 * np.cos(np.pi * (np.arange(turn) + 1) / (turn + 1))
            x += [x[-1]] * turn
            y += list((lane + 0.5 + ease) * height / lanes)
            heading += list(np.pi * (lane + ease))
    scale = 0.93 + 0.13 * wander(rng, FRAMES, 90.0)
    sway = wander(rng, FRAMES, 40.0)
    yaw = np.deg2rad(4.0) * wander(rng, FRAMES, 50.0)
    tilt_x, tilt_y = 2.0e-4 * wander(rng, FRAMES, 45.0), 2.5e-4 * wander(rng, FRAMES, 60.0)
    return [
        Pose(x[i] + 8.0 * sway[-i], y[i] + 22.0 * sway[i], scale[i], heading[i] + yaw[i], tilt_x[i], tilt_y[i])
        for i in range(FRAMES)
    ]


def between(a: Pose, b: Pose, part: float) -> Pose:
    """The pose on the way from one to the next."""
    mixed = (1.0 - part) * np.array(list(vars(a).values())) + part * np.array(list(vars(b).values()))
    return Pose(*mixed)


def shoot(
    rng: np.random.Generator,
    ground: NDArray[np.uint8],
    pose: Pose,
    after: Pose,
    shutter: float,
    light: float,
    noise: float,
) -> NDArray[np.uint8]:
    """One frame: the exposure is the mean of what the moving camera sees while the shutter is open."""
    steps = 9
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for step in range(steps):
        view = between(pose, after, shutter * (step / (steps - 1) - 0.5)).homography()
        seen = cv2.warpPerspective(ground, view, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        image += seen
    image *= light / steps
    image += rng.normal(size=image.shape).astype(np.float32) * np.sqrt(np.maximum(image, 0.0) * 0.05 + noise**2)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def encode(frames: list[NDArray[np.uint8]], path: Path, largest_bytes: int) -> None:
    """H.264 at the best quality that keeps the file small enough."""
    import av  # OpenCV's wheels read H.264 and do not write it

    for crf in range(26, 45):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            # One thread: the same bytes on every machine. A key frame every two seconds.
            stream.options = {"crf": str(crf), "preset": "veryslow", "threads": "1", "g": str(2 * FPS)}
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
            container.mux(stream.encode())
        print(f"crf {crf}: {path.stat().st_size} bytes")
        if path.stat().st_size <= largest_bytes:
            return
    raise SystemExit(
        f"{path}: expected at most {largest_bytes} bytes, got more at the lowest quality; fly fewer frames"
    )


def visible(panel: Panel, pose: Pose) -> Points | None:
    """(4, 2) corners in the image, or None if the sign is not wholly in it."""
    quad = cv2.perspectiveTransform(panel.quad[None], pose.homography())[0]
    inside = (quad > 0).all() and (quad[:, 0] < WIDTH - 1).all() and (quad[:, 1] < HEIGHT - 1).all()
    return quad if inside else None


def film(seed: int, photograph: NDArray[np.uint8]) -> tuple[list[NDArray[np.uint8]], dict[str, object]]:
    """The frames and the truth about them."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(photograph, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    ground, panels = lay_signs(rng, ground)
    poses = fly(rng, ground.shape[1], ground.shape[0])
    shutter = 0.11 + 0.09 * wander(rng, FRAMES, 25.0)  # of the time between two frames
    light = 0.72 + 0.40 * wander(rng, FRAMES, 70.0)
    noise = 2.5 + 1.5 * wander(rng, FRAMES, 60.0)
    frames, seen = [], []
    for index, pose in enumerate(poses):
        after = poses[min(index + 1, FRAMES - 1)]
        frames.append(shoot(rng, ground, pose, after, shutter[index], light[index], noise[index]))
        quads = {str(number): visible(panel, pose) for number, panel in enumerate(panels)}
        seen.append({number: np.round(quad, 1).tolist() for number, quad in quads.items() if quad is not None})
    truth = {
        "seed": seed,
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "frames": FRAMES,
        "signs": [
            {
                "text": panel.text,
                "letter_height_px": round(panel.letter_height, 1),
                "ground": np.round(panel.quad, 1).tolist(),
            }
            for panel in panels
        ],
        "visible": seen,
    }
    return frames, truth


def write_truth(truth: dict[str, object], path: Path) -> None:
    """JSON, one sign and one frame a line."""
    lines = []
    for key, value in truth.items():
        if isinstance(value, list):
            items = ",\n".join("  " + json.dumps(item, separators=(",", ":")) for item in value)
            lines.append(f'"{key}": [\n{items}\n]')
        else:
            lines.append(f'"{key}": {json.dumps(value)}')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    """Write the clip and its truth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--ground", type=Path, default=HERE / "ground.jpg", help="an aerial photograph")
    parser.add_argument("--out", type=Path, default=HERE / "flight.mp4")
    args = parser.parse_args()
    photograph = cv2.imread(str(args.ground))
    if photograph is None:
        raise SystemExit(f"{args.ground}: expected an image, got none that OpenCV reads")
    frames, truth = film(args.seed, photograph)
    encode(frames, args.out, LARGEST_BYTES)
    write_truth(truth, args.out.with_suffix(".truth.json"))


if __name__ == "__main__":
    main()
