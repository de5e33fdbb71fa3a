"""Read enough of an ELF file to check a pack. No tools, only `struct`.

source : System V ABI, chapters 4 and 5; 64 bits, little-endian
"""

from __future__ import annotations

import struct

from alula.runtime.errors import CompilerError
from alula.runtime.frozen import frozen

MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
DT_NEEDED, DT_STRTAB, DT_TEXTREL = 1, 5, 22
SHT_DYNSYM = 11
HEADER = struct.Struct(
    "<16sHHIQQQIHHHHHH"
)  # e_ident, type, machine, version, entry, phoff, shoff, flags, sizes and counts
SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, align, entsize
DYNAMIC = struct.Struct("<QQ")
SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size


@frozen
class SharedObject:
    """What a shared object exports and wants.

    architecture : as `uname -m` says it
    defined      : its dynamic symbols
    undefined    : those that others must bring
    needed       : libraries that it asks for
    page_size    : the largest pages it can be mapped with
    faults       : an executable stack, text that must be written to
    """

    architecture: str
    defined: frozenset[str]
    undefined: frozenset[str]
    needed: tuple[str, ...]
    page_size: int
    faults: tuple[str, ...]


def architecture_of(data: bytes) -> str:
    """The architecture that an ELF header names; empty if it is none of ours or no header."""
    if len(data) < HEADER.size or data[:6] != b"\x7fELF\x02\x01":
        return ""
    machine = HEADER.unpack_from(data)[2]
    return next((name for name, number in MACHINES.items() if number == machine), "")


def read_shared_object(data: bytes) -> SharedObject:
    """Parse a shared object.

    raise : CompilerError if it is none, or damaged
    """
    architecture = architecture_of(data)
    if not architecture:
        raise CompilerError("expected a shared object for x86-64 or 64-bit ARM, got another file; build it again")
    try:
        return _parse(data, architecture)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise CompilerError(f"expected a whole shared object, got a damaged one ({error}); build it again") from None


def _parse(data: bytes, architecture: str) -> SharedObject:
    _, _, _, _, _, phoff, shoff, _, _, phsize, phnum, shsize, shnum, _ = HEADER.unpack_from(data)
    segments = [SEGMENT.unpack_from(data, phoff + i * phsize) for i in range(phnum)]
    sections = [SECTION.unpack_from(data, shoff + i * shsize) for i in range(shnum)]
    loads = [s for s in segments if s[0] == PT_LOAD]
    faults = ["an executable stack"] if any(s[0] == PT_GNU_STACK and s[1] & 1 for s in segments) else []

    def offset_of(address: int) -> int:
        for _, _, offset, vaddr, _, filesz, _, _ in loads:
            if vaddr <= address < vaddr + filesz:
                return int(offset + address - vaddr)
        raise ValueError(f"no segment holds address {address:#x}")

    def text(at: int) -> str:
        return data[at : data.index(b"\0", at)].decode("ascii")

    entries: dict[int, list[int]] = {}
    for segment in segments:
        if segment[0] == PT_DYNAMIC:
            for tag, value in DYNAMIC.iter_unpack(data[segment[2] : segment[2] + segment[5]]):
                entries.setdefault(tag, []).append(value)
    if DT_TEXTREL in entries:
        faults.append("text that is written to")
    strings = offset_of(entries[DT_STRTAB][0]) if DT_STRTAB in entries else 0
    symbols = [
        symbol
        for section in sections if section[1] == SHT_DYNSYM
        for symbol in SYMBOL.iter_unpack(data[section[4] : section[4] + section[5]]) if symbol[0]
    ]  # fmt: skip
    return SharedObject(
        architecture,
        frozenset(text(strings + name) for name, _, _, section, _, _ in symbols if section),
        frozenset(text(strings + name) for name, _, _, section, _, _ in symbols if not section),
        tuple(text(strings + name) for name in entries.get(DT_NEEDED, [])),
        min((int(load[7]) for load in loads), default=0),
        tuple(faults),
    )
