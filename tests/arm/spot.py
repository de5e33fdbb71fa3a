"""The text spotter on some frames of the demo's clip, here or on a board.

python -m tests.arm.spot SPOTTER.alula LONG_SIDE FRAME...      # prints one JSON object
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from alula.demo.networks import load_networks
from alula.demo.run import CLIP
from alula.device.camera import VideoFile
from alula.device.tasks.networks import assemble
from alula.device.tasks.spotter import SpotterConfig


def spot(packed: Path, long_side: int, wanted: list[int]) -> list[dict[str, Any]]:
    """The whole signs in each of the wanted frames, each looked at for the first time.

    OpenCV rounds otherwise on another CPU, which decides what is read of a sign that the image's edge cuts.
    """
    networks, charset = load_networks(packed)
    config = SpotterConfig(long_side=long_side)
    found = []
    with VideoFile(CLIP) as clip:
        for frame in clip:
            if frame.index in wanted:
                spotter = assemble(networks, charset, config)
                for sighting in (sighting for _, sighting in spotter.look(frame) if sighting.whole):
                    text = sighting.reading.text if sighting.reading else ""
                    found.append({"frame": frame.index, "quad": sighting.quad.tolist(), "text": text})
            if frame.index >= max(wanted):
                break
    return found


def main() -> None:
    """Print what is seen, and what was imported for it."""
    packed, long_side, *frames = sys.argv[1:]
    seen = spot(Path(packed), int(long_side), [int(frame) for frame in frames])
    print(json.dumps({"seen": seen, "imported": sorted({"numba", "llvmlite", "onnxruntime"} & set(sys.modules))}))


if __name__ == "__main__":
    main()
