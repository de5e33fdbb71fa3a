"""The text of an error: one line, printable, short, and what it says first and last stays."""

from __future__ import annotations

import pickle

import numpy as np

from alula.runtime.errors import MAX_LINE, GraphError, SourceError, one_line


def test_a_hostile_name_neither_breaks_the_line_nor_floods_it() -> None:
    name = "a\x1b[2J\n" + 900 * "b"
    told = str(GraphError(f"net.alula: node {name}: expected an input, got {name!r}; copy the file again"))
    assert told.isprintable() and len(told) <= MAX_LINE
    assert told.startswith("net.alula: node a") and told.endswith("; copy the file again")
    assert ": expected an input, got " in told


def test_a_short_message_stays_as_it_is() -> None:
    error = SourceError("clip.mp4: expected a video, got nothing; check the path")
    assert str(pickle.loads(pickle.dumps(error))) == error.args[0]


def test_a_path_stays_whole_where_words_can_be_cut() -> None:
    path = f"/home/pi/{'a-long-folder/' * 10}net.alula"
    text = f"demo: expected the networks in {path} {'and many words ' * 9}, got nothing; {'do this or that ' * 9}at the end"
    told = one_line(text)
    assert path in told and len(told) <= MAX_LINE and told.endswith("at the end") and ", got nothing; do this" in told
    assert one_line(f"{path}: {'words ' * 90}").startswith(f"{path}: words")


def test_no_text_is_longer_than_a_line() -> None:
    generator = np.random.default_rng(0)
    pieces = ["; ", ": expected ", ", got ", "x" * 90, "\n", "'ä ", " /a/b", "/" * 70]
    for _ in range(500):
        text = "".join(generator.choice(pieces, int(generator.integers(0, 200))))
        assert len(one_line(text)) <= MAX_LINE and one_line(text).isprintable()
