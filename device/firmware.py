"""Query Raspberry Pi's firmware without `vcgencmd`: one ioctl on /dev/vcio.

The message is 1031 words: length, 0, tag 0x00030080, size of the value, 0, error, 4096 bytes of text, 0. The command
goes in as text, the reply comes back in its place.
Source: raspberrypi/utils, vcgencmd/vcgencmd.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

TAG = 0x00030080  # GET_GENCMD_RESULT
TEXT_BYTES = 4096
HEAD = struct.Struct("=6I")
MESSAGE_BYTES = HEAD.size + TEXT_BYTES + 4
REQUEST = (3 << 30) | (struct.calcsize("P") << 16) | (100 << 8)  # _IOWR(100, 0, char *)
DEVICES = ("dev/vcio_gencmd", "dev/vcio")

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
SINCE_BOOT = 16  # the same four bits again, from here on: has occurred
MEANINGS = {
    UNDER_VOLTAGE: "under-voltage",
    CAPPED: "clock capped",
    THROTTLED: "throttled",
    SOFT_LIMIT: "soft temperature limit",
}

Ioctl = Callable[[int, int, bytearray], object]


def encode(command: str) -> bytearray:
    """The message that asks a command."""
    text = command.encode("ascii")
    message = bytearray(MESSAGE_BYTES)
    HEAD.pack_into(message, 0, MESSAGE_BYTES, 0, TAG, TEXT_BYTES, 0, 0)
    message[HEAD.size : HEAD.size + len(text)] = text
    return message


def decode(message: bytes | bytearray) -> str:
    """The reply in a message. raise: OSError if the firmware refused"""
    if error := HEAD.unpack_from(message)[5]:
        raise OSError(f"the firmware answered with error {error}")
    return bytes(message[HEAD.size : HEAD.size + TEXT_BYTES]).partition(b"\0")[0].decode("ascii", "replace").strip()


def ask(command: str, root: Path = Path("/"), devices: Sequence[str] = DEVICES, ioctl: Ioctl | None = None) -> str:
    """The firmware's reply to a command of `vcgencmd`.

    raise : OSError if there is no such device, it may not be opened, or it refuses
    """
    if ioctl is None:
        import fcntl

        ioctl = fcntl.ioctl
    refusal: OSError = FileNotFoundError(2, "no such file", str(root / devices[-1]))
    for name in devices:
        try:
            with open(root / name, "rb", buffering=0) as device:
                message = encode(command)
                ioctl(device.fileno(), REQUEST, message)
                return decode(message)
        except FileNotFoundError:
            continue
        except OSError as error:
            refusal = error
    raise refusal


def parse_throttled(reply: str) -> int:
    """The bits of `throttled=0x50005`. raise: ValueError if it is something else"""
    name, _, value = reply.partition("=")
    if name.strip() != "throttled":
        raise ValueError(f"expected throttled=0x..., got {reply!r}")
    return int(value, 16)


def meanings(bits: int) -> tuple[list[str], list[str]]:
    """What is the case now, and what was since boot."""
    now = [name for bit, name in MEANINGS.items() if bits & bit]
    since = [name for bit, name in MEANINGS.items() if bits & bit << SINCE_BOOT]
    return now, since
