"""The images in a folder, as people mean it: without what their systems and programs put there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from alula.runtime.data.image import is_image_file
from alula.runtime.files import printable

HIDDEN = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)  # in lower case; and all names that begin with a dot
HIDDEN_WHY, OTHER_WHY, FOLDER_WHY, LINK_WHY = "hidden", "not an image", "a folder", "a link"
EXAMPLES, REASONS = 2, 4  # that a line names


def is_hidden(name: str) -> bool:
    """Whether a name is one that people do not see, or did not make."""
    return name.startswith(".") or name.lower() in HIDDEN


def list_images(folder: Path, left_out: dict[str, str], deep: bool = False) -> list[Path]:
    """The image files of a folder, sorted by path.

    left_out : takes what is none: path -> why, for `tell_left_out`
    deep     : those of its sub-folders too, hidden ones excepted, and links to folders: what they hold belongs elsewhere
    raise    : OSError
    """
    images: list[Path] = []
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if is_hidden(entry.name):
                    left_out[printable(path)] = HIDDEN_WHY
                elif entry.is_dir():
                    if deep and not entry.is_symlink():
                        waiting.append(path)
                    else:
                        left_out[printable(path)] = LINK_WHY if deep else FOLDER_WHY
                elif why := _no_image(entry):
                    left_out[printable(path)] = why
                else:
                    images.append(path)
    return sorted(images)


def _no_image(entry: os.DirEntry[str]) -> str:
    try:
        return "" if entry.is_file() and is_image_file(Path(entry.path)) else OTHER_WHY
    except OSError as error:
        return error.strerror or str(error)


def visible_folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder by name, sorted, without hidden ones.

    raise : OSError
    """
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry for entry in entries if entry.is_dir() and not is_hidden(entry.name)}


def tell_left_out(left_out: Mapping[str, str], what: str = "left out") -> str:
    """One line: how many for each reason, with examples; "" if there are none.

    left_out : path -> why
    """
    whys: dict[str, list[str]] = {}
    for path, why in left_out.items():
        whys.setdefault(why, []).append(path)
    told = [_some(why, paths) for why, paths in list(whys.items())[:REASONS]]
    rest = sum(len(paths) for paths in list(whys.values())[REASONS:])
    return f"{what}: {', '.join([*told, *([f'{rest} for other reasons'] if rest else [])])}" if told else ""


def _some(why: str, paths: list[str]) -> str:
    shown = sorted(paths)
    more = ", ..." if len(shown) > EXAMPLES else ""
    return f"{len(shown)} ({why}: {', '.join(shown[:EXAMPLES])}{more})"
