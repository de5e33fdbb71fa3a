"""From a graph of fixed shapes to instructions: what an op's `lower` rule may ask for, and what it emits.

An instruction is a kernel and its argument words. A word is an integer, a float, or a `Ref`: the address of a buffer,
known only when memory is laid out. Buffers live from the first instruction that names them to the last.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.kernels.reorder import gather_words
from alula.runtime.memory.aligned import TAIL
from alula.runtime.memory.packing import PLAIN, Packing
from alula.runtime.ops.contract import find
from alula.runtime.ops.rules import Rules

if TYPE_CHECKING:
    from alula.runtime.kernels.lang import Kernel
    from alula.runtime.kernels.tiles import Tiles
    from alula.runtime.memory.variables import Variable


WORD = 4  # bytes of what is looked up when an order is copied


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of a buffer, plus an offset in bytes."""

    buffer: str
    offset: int = 0

    def __add__(self, nbytes: int) -> Ref:
        return Ref(self.buffer, self.offset + nbytes)


@dataclass(frozen=True, slots=True)
class FnRef:
    """The address of a kernel, for kernels that call another one."""

    kernel: str


Word = int | float | Ref | FnRef


@dataclass(frozen=True, slots=True)
class Guard:
    """An instruction runs where the flag is set, or (`when` false) where it is not."""

    flag: Ref
    when: bool = True


@dataclass(slots=True)
class Instruction:
    """A kernel call, or (kernel None) a node that runs as its NumPy reference.

    words   : arguments of the kernel
    buffers : of a reference node: what it reads and writes
    """

    kernel: Kernel | None
    words: Sequence[Word]
    node: Node
    buffers: Sequence[str] = ()
    inplace: tuple[str, str] | None = None  # (output buffer, input buffer) that may share memory
    guard: Guard | None = None

    @property
    def named(self) -> list[str]:
        """The buffers that it names."""
        flag = [self.guard.flag.buffer] if self.guard else []
        return [*(word.buffer for word in self.words if isinstance(word, Ref)), *self.buffers, *flag]


@dataclass
class Lowering:
    """The state of one lowering.

    specs     : static spec of every tensor
    values    : what is known already: constants and folded tensors
    constants : names of the graph's own constants: the values that are the same for every program
    tiles     : the tile table of this CPU
    n_threads : how many threads will run the program (scratch is sized by it)
    hold      : keeps a packed constant, shared by all programs of a model: (key, maker) -> key
    variables : tensors that training changes, by name
    follows   : tensor -> the variable in whose storage order it lies in memory (a gradient, an optimiser's state)
    left      : what one rule made and another one reads in the same run
    """

    specs: dict[str, TensorSpec]
    values: Mapping[str, Array]
    constants: Container[object]
    tiles: Tiles
    n_threads: int
    hold: Callable[[str, Callable[[], Array]], str]
    variables: Mapping[str, Variable] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    tables: dict[str, Array] = field(default_factory=dict)
    node: Node | None = None
    guard: Guard | None = None
    left: dict[tuple[Guard | None, tuple[str, ...]], Ref] = field(default_factory=dict)
    _held: dict[tuple[str, str], Ref] = field(default_factory=dict)
    _reordered: dict[tuple[Guard | None, str, str], Ref] = field(default_factory=dict)

    def spec(self, name: str) -> TensorSpec:
        """Static shape and dtype of a tensor."""
        return self.specs[name]

    def value(self, name: str) -> Array | None:
        """The value of a tensor that is known when the program is planned, else None."""
        return self.values[name] if name in self.values else None

    def known(self, name: str) -> bool:
        """Whether the value is known when the program is planned (without decoding it)."""
        return name in self.values

    def packable(self, name: str) -> bool:
        """Whether `packed` takes the tensor: a known one, or a variable."""
        return name in self.values or name in self.variables

    def ref(self, name: str) -> Ref:
        """The address of a tensor; a known one is kept in its canonical order."""
        root = self.root(name)
        if root in self.values:
            return self.packed(root, PLAIN)
        if root in self.variables and name not in self.follows:  # read or written as a tensor
            return self._in_order(self.variables[root], PLAIN)
        variable = self.variable_of(name) or self.variable_of(root)
        if variable is not None and not variable.is_plain:  # read as a tensor: its writer uses its order
            return self._copied(Ref(root), variable, PLAIN)
        return Ref(root)

    def storage(self, name: str) -> tuple[Ref, int]:
        """The address of a tensor in the order in which it lies, and how many float32 that are, padding included."""
        variable = self.variable_of(name)
        return Ref(self.root(name)), variable.size if variable else self.spec(name).size

    def variable_of(self, name: str) -> Variable | None:
        """The variable whose storage order a tensor has: itself, or the one that it follows."""
        return self.variables.get(self.follows.get(name, name))

    def _in_order(self, variable: Variable, packing: Packing) -> Ref:
        """The address of a variable in some packing: its storage, or a copy that every run recomputes."""
        if variable.packing is None:
            variable.settle(packing)
        if variable.packing == packing:
            return Ref(variable.name)
        return self._copied(Ref(variable.name), variable, packing)

    def _copied(self, source: Ref, variable: Variable, packing: Packing) -> Ref:
        """A copy, in another order, of what lies in that of a variable; made once in every run."""
        if variable.spec.itemsize != WORD:
            raise GraphError(
                f"{variable.name}: expected elements of {WORD} bytes in {packing}, got {variable.spec.dtype} in {variable.packing}; "
                "give both the same order"
            )
        return self._once(source.buffer, str(packing), lambda: self.emit_reorder(source, variable.lookup(packing)))

    def _once(self, name: str, order: str, make: Callable[[], Ref]) -> Ref:
        """What is made once in every run: under no guard, or once under each."""
        for guard in (None, self.guard):
            if (guard, name, order) in self._reordered:
                return self._reordered[guard, name, order]
        ref = self._reordered[self.guard, name, order] = make()
        return ref

    def leave(self, key: tuple[str, ...], ref: Ref) -> None:
        """Leave something for a rule that is lowered later, and runs under the same guard or under none of its own."""
        self.left[self.guard, key] = ref

    def found(self, key: tuple[str, ...]) -> Ref | None:
        """What another rule has left."""
        return self.left.get((None, key)) or self.left.get((self.guard, key))

    def forget(self, variable: str) -> None:
        """Let go of the copies of a variable that has a new value."""
        self._reordered = {key: ref for key, ref in self._reordered.items() if key[1] != variable}

    def emit_reorder(self, source: Ref, indices: Array, target: Ref | None = None) -> Ref:
        """Look up 4-byte words by int32 indices."""
        target = target or self.scratch(WORD * len(indices) + TAIL)  # kernels may read a vector too far
        self.emit(gather_words, x=source, indices=self.table(indices), y=target, count=len(indices))
        return target

    def packed(self, name: str, packing: Packing) -> Ref:
        """The address of a known tensor, or of a variable, in another order.

        A constant is packed once per model. A variable's first order becomes its storage.
        """
        if name in self.variables:
            return self._in_order(self.variables[name], packing)
        if name in self.constants:
            ref = Ref(self.hold(f"{name}|{packing}", lambda: packing.make(self.values[name])))
            self._held[name, str(packing)] = ref
            return ref
        return self.table(packing.make(self.values[name]))

    def lying(self, name: str, packing: Packing) -> Ref | None:
        """The address of a variable, or of a constant, that lies in this order already; None if it does not."""
        if name in self.variables:
            return Ref(name) if self.variables[name].packing == packing else None
        return self._held.get((name, str(packing)))

    def derived(self, name: str, order: str, source: Packing, make: Callable[[Ref], Ref]) -> Ref | None:
        """Another order of a variable that lies in the order `source`, made once in every run; None if it does not.

        order : its name
        """
        if name not in self.variables or self.variables[name].packing != source:
            return None
        return self._once(name, order, lambda: make(Ref(name)))

    def table(self, array: Array) -> Ref:
        """The address of data made for this program (an index table, interpolation weights)."""
        name = f"table|{len(self.tables)}"
        self.tables[name] = np.ascontiguousarray(array)
        return Ref(name)

    def zeros(self, nbytes: int) -> Ref:
        """The address of `nbytes` zero bytes: what padding reads."""
        size = 1 << max(nbytes - 1, 63).bit_length()
        return Ref(self.hold(f"|zeros{size}", lambda: np.zeros(size, np.uint8)))

    def scratch(self, nbytes: int) -> Ref:
        """Memory that lives from the first to the last instruction that names it."""
        name = f"scratch|{len(self.sizes)}"
        self.sizes[name] = max(int(nbytes), 1)
        return Ref(name)

    def root(self, name: str) -> str:
        """The buffer that holds a tensor."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def alias(self, output: str, source: str) -> None:
        """Let a tensor be another one's bytes (Reshape, Identity); its op says so in its contract (`is_view`)."""
        assert self.node is None or find(self.node.op, self.node.label).is_view, self.node
        self.aliases[output] = source

    def emit(self, kernel: Kernel, *, inplace: tuple[str, str] | None = None, **arguments: Word | list[Word]) -> None:
        """Append an instruction. Arguments are the kernel's, by name; a list fills its tail of words.

        inplace : (output, input) tensors whose buffers may be one, if the input is not read later
        """
        assert self.node is not None
        missing = set(kernel.arguments) ^ set(arguments)
        if missing:
            raise GraphError(f"{self.node.label}: kernel {kernel.name} and its lowering disagree on {sorted(missing)}")
        words: list[Word] = []
        for name in kernel.arguments:
            value = arguments[name]
            if isinstance(value, list):
                words += value
            else:
                words.append(value)
        pair = (self.root(inplace[0]), self.root(inplace[1])) if inplace else None
        self.instructions.append(Instruction(kernel, words, self.node, inplace=pair, guard=self.guard))

    def emit_reference(self, node: Node) -> None:
        """Append a node that runs as its NumPy reference, between two stretches of kernels."""
        names = [n for n in node.reads if n not in self.values] + [n for n in node.outputs if n]
        buffers = [self.root(n) for n in names]
        self.instructions.append(Instruction(None, [], node, buffers=buffers, guard=self.guard))


# (lowering, node) -> False if no kernel takes these shapes and dtypes; then the rule has emitted nothing
Rule = Callable[[Lowering, Node], bool]
LOWERING: Rules[Rule] = Rules("lower")
lowers = LOWERING.add
# As above, for an output that belongs to a variable: writes it in the variable's own order, or returns False if that is another
IN_STORAGE: Rules[Rule] = Rules("lower")
lowers_in_storage = IN_STORAGE.add
