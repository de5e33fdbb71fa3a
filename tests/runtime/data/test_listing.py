"""What is an image in a folder, and what is said of the rest."""

from pathlib import Path

from alula.runtime.data.listing import list_images, tell_left_out
from alula.runtime.files import printable
from tests.runtime.data.formats import random_images, write_ppm


def test_images_of_sub_folders_are_found_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (image,), _ = random_images(1)
    for name in ("b.ppm", "a/1.ppm", "a/.hidden/2.ppm"):
        write_ppm(tmp_path / name, image)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "gone.ppm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.ppm").symlink_to(tmp_path / "b.ppm")
    left_out: dict[str, str] = {}
    found = list_images(tmp_path, left_out, deep=True)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/1.ppm", "b.ppm", "c.ppm"]
    assert {Path(path).name: why for path, why in left_out.items()} == {
        ".hidden": "hidden", "up": "a link", "gone.ppm": "not an image"
    }  # fmt: skip
    assert [path.name for path in list_images(tmp_path, {})] == ["b.ppm", "c.ppm"]


def test_the_line_counts_each_reason_and_stays_short() -> None:
    assert tell_left_out({}) == ""
    many = {f"set/{k:03d}": "hidden" for k in range(99)} | {"a": "not an image"}
    assert tell_left_out(many) == "left out: 99 (hidden: set/000, set/001, ...), 1 (not an image: a)"
    assert tell_left_out({str(k): f"why {k}" for k in range(9)}).endswith("5 for other reasons")


def test_names_of_bytes_and_of_control_characters_are_escaped() -> None:
    assert printable("grün 1.jpg") == "grün 1.jpg"
    assert printable("gr\udcfcn\n\x1b.jpg") == "gr\\xfcn\\n\\x1b.jpg"
