"""Temperature, and whether the firmware throttles the processor."""

from __future__ import annotations

from alula.device import firmware
from alula.device.doctor.finding import Fact, Finding, Verdict, unknown
from alula.device.doctor.machine import Machine

HOT_C, THROTTLES_C = 70.0, 80.0  # a Pi lowers its clock by steps from 80 °C on
SOFT_LIMIT_C = 60.0  # ... and the 3B+ and 3A+ from 60 °C on
SOFT_LIMIT_MODELS = ("Raspberry Pi 3 Model B Plus", "Raspberry Pi 3 Model A Plus")
SUPPLY = "use the board's own power supply and a short cable"
COOL = "give it a heat sink or a fan"


def temperature(machine: Machine) -> Finding:
    """The hottest thermal zone of the processor."""
    zones: dict[str, float] = {}
    for path in machine.glob("sys/class/thermal/thermal_zone*"):
        folder = machine.below(path)
        value = machine.number(f"{folder}/temp")
        if value is not None and -40_000 < value < 150_000:
            zones[machine.text(f"{folder}/type") or path.name] = value / 1e3
    of_cpu = {name: c for name, c in zones.items() if "cpu" in name or "pkg" in name} or zones
    if not of_cpu:
        return unknown("temperature", temperature_c=None)
    name, hottest_c = max(of_cpu.items(), key=lambda item: item[1])
    facts: dict[str, Fact] = {"temperature_c": hottest_c}
    found = f"{hottest_c:.1f} °C ({name})"
    if hottest_c >= THROTTLES_C:
        return Finding("temperature", Verdict.WARNING, found, f"the clock goes down from 80 °C on: {COOL}", facts)
    if hottest_c >= SOFT_LIMIT_C and machine.model.startswith(SOFT_LIMIT_MODELS):
        return Finding("temperature", Verdict.NOTE, found, f"this board clocks 1.2 GHz above 60 °C: {COOL}", facts)
    if hottest_c >= HOT_C:
        return Finding("temperature", Verdict.NOTE, found, f"near to 80 °C, where the clock goes down: {COOL}", facts)
    return Finding("temperature", Verdict.OK, found, facts=facts)


def throttling(machine: Machine, ioctl: firmware.Ioctl | None = None) -> Finding:
    """The firmware's flags: now, and since boot. Where it cannot be asked, the kernel's under-voltage alarm."""
    bits, source, refusal = _bits(machine, ioctl)
    blind = machine.model.startswith("Raspberry Pi Zero")
    if bits is None:
        return _alarm(machine, refusal)
    now, since = firmware.meanings(bits)
    facts: dict[str, Fact] = {"throttled": f"{bits:#x}", "throttled_now": ", ".join(now),
                              "throttled_since_boot": ", ".join(since), "under_voltage_is_seen": not blind}  # fmt: skip
    parts = [f"now: {', '.join(now)}"] if now else []
    parts += [f"since boot: {', '.join(since)}"] if since else []
    parts = parts or ["none, now or since boot"]
    parts += ["this board cannot see under-voltage"] if blind else []
    found = f"{'; '.join(parts)} ({source}, {bits:#x})"
    if bits & firmware.UNDER_VOLTAGE:
        return Finding("throttling", Verdict.WRONG, found, f"the supply is too weak: {SUPPLY}", facts)
    if now:
        return Finding("throttling", Verdict.WARNING, found, f"the clock is held down now: {COOL}", facts)
    if bits & firmware.UNDER_VOLTAGE << firmware.SINCE_BOOT:
        return Finding("throttling", Verdict.WARNING, found, f"the supply was too weak for a while: {SUPPLY}", facts)
    if since:
        return Finding("throttling", Verdict.NOTE, found, f"the clock was held down since boot: {COOL}", facts)
    return Finding("throttling", Verdict.NOTE if blind else Verdict.OK, found, facts=facts)


def _bits(machine: Machine, ioctl: firmware.Ioctl | None) -> tuple[int | None, str, str]:
    """The flags and their source; or None, and why they cannot be read."""
    try:
        return firmware.parse_throttled(firmware.ask("get_throttled", machine.root, ioctl=ioctl)), "firmware", ""
    except PermissionError:
        refusal = "this user may not ask the firmware"
    except (OSError, ValueError):
        refusal = ""
    for path in machine.glob("sys/devices/platform/soc*/*firmware/get_throttled"):
        bits = machine.number(machine.below(path), 16)  # hexadecimal, without 0x
        if bits is not None:
            return bits, "kernel", ""
    return None, "", refusal


def _alarm(machine: Machine, refusal: str) -> Finding:
    """The alarm of the kernel's driver `rpi_volt`: under-voltage alone."""
    fix = "add the user to the group video: sudo usermod -aG video $USER, then log in again" if refusal else ""
    for path in machine.glob("sys/class/hwmon/hwmon*/name"):
        if machine.text(machine.below(path)) != "rpi_volt":
            continue
        alarm = machine.number(f"{machine.below(path.parent)}/in0_lcrit_alarm")
        if alarm is None:
            continue
        facts: dict[str, Fact] = {"throttled": None, "under_voltage": bool(alarm)}
        if alarm:
            return Finding("throttling", Verdict.WRONG, "under-voltage (kernel alarm)", SUPPLY, facts)
        found = "no under-voltage (kernel alarm); throttling is not known here"
        return Finding("throttling", Verdict.NOTE if refusal else Verdict.OK, found, fix, facts)
    if refusal:
        return Finding("throttling", Verdict.NOTE, f"not known here: {refusal}", fix, {"throttled": None})
    return unknown("throttling", throttled=None)
