"""One table of tiles: for each CPU, how wide its vectors are and how much of a result its registers hold.

width   : float32 lanes of a vector
rows    : pixels (rows of a matrix product) per tile
vectors : vectors of output channels per tile; rows * vectors accumulators, plus weights, fit the register file
l2_bytes: how much of its second-level cache a core may fill
by_lane : a multiply-add may pick one lane of its factor, so inputs are loaded a vector at a time (NEON)
load_many: one instruction loads up to four vectors of weights
depthwise_rows: rows of outputs that a depthwise convolution computes together
s8      : tiles of products of 8-bit integers
"""

from dataclasses import replace

from alula.runtime.frozen import frozen


@frozen
class S8Tiles:
    """Tile sizes of a product of int8.

    rows    : pixels per tile
    columns : output channels per tile, a multiple of 4
    by_lane : four products of a lane at a time with NEON's dot product; else pairs of products, summed at the end
    """

    rows: int
    columns: int
    by_lane: bool

    @property
    def step(self) -> int:
        """The length of a run of inputs is a multiple of this, in bytes."""
        return 4 if self.by_lane else 8

    def panel_width(self, left: int) -> int:
        """How wide a panel of weights is when `left` output channels are left: a multiple of 4."""
        return min(self.columns, -(-left // 4) * 4)


@frozen
class Tiles:
    """Tile sizes of one CPU."""

    width: int
    rows: int
    vectors: int
    l2_bytes: int
    by_lane: bool = False
    load_many: bool = False
    depthwise_rows: int = 1
    s8: S8Tiles = S8Tiles(2, 4, by_lane=False)

    @property
    def columns(self) -> int:
        """Output channels per tile."""
        return self.width * self.vectors

    @property
    def step(self) -> int:
        """What the widths of tiles are multiples of: half a vector, or a whole one of four lanes."""
        return max(self.width // 2, 4)

    def panel_width(self, left: int) -> int:
        """How wide a panel of weights is when `left` output channels are left: as few steps as hold them."""
        return min(self.columns, -(-left // self.step) * self.step)


AVX512, AVX2, SSE = Tiles(16, 14, 2, 1 << 19, depthwise_rows=4), Tiles(8, 6, 2, 1 << 18), Tiles(4, 6, 2, 1 << 17)
NEON = Tiles(4, 5, 4, 1 << 18, by_lane=True, load_many=True, depthwise_rows=4)
A53 = Tiles(4, 5, 4, 1 << 18, by_lane=True, load_many=False, depthwise_rows=4)

BY_CPU = {
    "x86-64-v4": AVX512, "znver4": AVX512, "znver5": AVX512, "skylake-avx512": AVX512, "icelake-server": AVX512,
    "sapphirerapids": AVX512, "x86-64-v3": AVX2, "haswell": AVX2, "znver1": AVX2, "znver2": AVX2, "znver3": AVX2,
    "alderlake": AVX2, "x86-64-v2": SSE, "x86-64": SSE, "cortex-a53": A53, "cortex-a72": NEON, "cortex-a76": NEON,
    "apple-m1": NEON, "generic": NEON,
}  # fmt: skip

PAIRS, DOT = S8Tiles(4, 4, by_lane=False), S8Tiles(4, 16, by_lane=True)
S8_BY_CPU = {"cortex-a53": PAIRS, "cortex-a72": PAIRS, "cortex-a76": DOT, "apple-m1": DOT, "generic": PAIRS} | {
    cpu: PAIRS for cpu, tiles in BY_CPU.items() if tiles is AVX512
}


def for_cpu(cpu: str) -> Tiles:
    """The tiles of a CPU; those of its family's smallest member where the name is not in the table."""
    tiles = BY_CPU.get(cpu, SSE)
    return replace(tiles, s8=S8_BY_CPU.get(cpu, tiles.s8))
