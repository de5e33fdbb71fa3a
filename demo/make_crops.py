"""Make crops.npz: what the spotter cuts out of some frames of the clip, for machines that have no OpenCV.

python demo/make_crops.py SPOTTER.alula      # as `alula demo` packs it; writes demo/crops.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alula.demo.lines import CROPS
from alula.demo.networks import load_networks
from alula.device.camera import VideoFile
from alula.device.tasks.crops import crop_quad
from alula.device.tasks.networks import assemble
from alula.device.tasks.recognise import CLASSIFIER_WIDTH

HERE = Path(__file__).resolve().parent
EVERY, FRAMES = 12, 12  # of the clip; frames that are kept


def main() -> None:
    """Write the crops of signs that the truth knows, as they lie in the image: some upside down.

    None is wider than the classifier's input, so that no crop needs squeezing where it is read.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", type=Path)
    args = parser.parse_args()
    networks, charset = load_networks(args.networks)
    truth = json.loads((HERE / "flight.truth.json").read_text(encoding="utf-8"))
    names = [sign["text"] for sign in truth["signs"]]
    kept: list[tuple[int, str, np.ndarray]] = []
    with VideoFile(HERE / "flight.mp4") as clip:
        for frame in clip:
            if frame.index % EVERY or len({index for index, *_ in kept}) == FRAMES:
                continue
            spotter = assemble(networks, charset)
            quads = {names[int(n)]: np.array(quad) for n, quad in truth["visible"][frame.index].items()}
            for _, sighting in spotter.look(frame):
                centre = sighting.quad.mean(axis=0)
                nearest = min(
                    quads, key=lambda name: float(np.abs(quads[name].mean(axis=0) - centre).max()), default=None
                )
                if nearest and np.abs(quads[nearest].mean(axis=0) - centre).max() < 12:
                    kept.append((frame.index, nearest, crop_quad(frame.image, sighting.quad, CLASSIFIER_WIDTH)))
    frames, texts, crops = zip(*kept, strict=True)
    np.savez_compressed(
        CROPS, frames=np.array(frames, np.int32), texts=np.array(texts), widths=np.array([c.shape[1] for c in crops], np.int32),
        pixels=np.concatenate(crops, axis=1),
    )  # fmt: skip
    print(f"{CROPS}: {len(kept)} crops of {len(set(frames))} frames, {CROPS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
