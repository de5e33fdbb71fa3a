"""The specification's own decoder reads what we write, so the page is enough to re-implement the format."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from alula.runtime.artifact import format as limits
from alula.runtime.artifact import huffman
from alula.runtime.artifact.encodings import CODINGS, ENCODINGS
from alula.runtime.graph import DTYPES

PAGE = (Path(__file__).parents[3] / "docs" / "artifact-format.md").read_text(encoding="utf-8")


def test_the_decoder_on_the_page_decodes_our_streams() -> None:
    scope: dict[str, object] = {}
    source = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert source
    exec(source[1], scope)
    generator = np.random.default_rng(0)
    for bits in range(1, 9):
        for count in (1, 4, 5, 999):
            symbols = np.clip(generator.normal(1 << bits >> 1, (1 << bits) / 6, count), 0, (1 << bits) - 1).astype(
                np.uint8
            )
            decode = scope["decode"]
            assert callable(decode)
            assert decode(huffman.encode(symbols, bits), count, bits) == symbols.tolist()


def test_the_page_names_every_encoding_dtype_and_limit() -> None:
    for word in (*ENCODINGS, *CODINGS):
        assert f"`{word}`" in PAGE
    for dtype in DTYPES:
        assert dtype in PAGE
    assert limits.MAGIC.hex(" ").upper() in PAGE
    for limit in (
        limits.MAX_HEADER_SIZE,
        limits.MAX_TENSORS,
        limits.MAX_NODES,
        limits.MAX_NAME_LENGTH,
        huffman.TABLE_SIZE,
    ):
        assert f"{limit:,}".replace(",", " ") in PAGE
    assert f"at most {limits.MAX_FUSED} element-wise" in PAGE
    assert f"1 to {limits.MAX_GRAPHS} objects" in PAGE
    assert f"rank at most {limits.MAX_RANK}" in PAGE
    assert f"multiple of {limits.ALIGNMENT}" in PAGE
    assert f"| {limits.HEADER_SIZE}– | the JSON" in PAGE
