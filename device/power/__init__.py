"""Power: meters in order of trust, and a log that assigns their joules to what the program was doing."""

from alula.device.power.fallback import WithFallback
from alula.device.power.idle import IdleBaseline, measure_idle
from alula.device.power.kinds import Candidate, Trust
from alula.device.power.log import EnergyLog
from alula.device.power.meter import Accuracy, Meter, Reading, worst
from alula.device.power.meters.hwmon import Hwmon
from alula.device.power.meters.rapl import Rapl
from alula.device.power.meters.recording import Replay
from alula.device.power.meters.utilisation import Utilisation
from alula.device.power.select import select_meter, survey, usage

__all__ = [
    "Accuracy",
    "Candidate",
    "EnergyLog",
    "Hwmon",
    "IdleBaseline",
    "Meter",
    "Rapl",
    "Reading",
    "Replay",
    "Trust",
    "Utilisation",
    "WithFallback",
    "measure_idle",
    "select_meter",
    "survey",
    "usage",
    "worst",
]
