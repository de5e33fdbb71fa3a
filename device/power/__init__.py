"""Power: meters in order of trust, and a log that assigns their joules to what the program was doing."""

from alula.device.power.fallback import WithFallback
from alula.device.power.hwmon import Hwmon
from alula.device.power.idle import IdleBaseline, measure_idle
from alula.device.power.log import EnergyLog
from alula.device.power.meter import Accuracy, Meter, Reading
from alula.device.power.rapl import Rapl
from alula.device.power.replay import Replay
from alula.device.power.select import select_meter, survey
from alula.device.power.utilisation import Utilisation

__all__ = [
    "Accuracy",
    "EnergyLog",
    "Hwmon",
    "IdleBaseline",
    "Meter",
    "Rapl",
    "Reading",
    "Replay",
    "Utilisation",
    "WithFallback",
    "measure_idle",
    "select_meter",
    "survey",
]
