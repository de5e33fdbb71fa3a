"""The doctor: what this machine is, what of it works, and how to mend the rest.

Nothing native is imported here. Whatever may kill a process (a wheel for a newer CPU, a kernel) runs in a child.
"""

from alula.device.doctor.checkup import CHECKS, examine
from alula.device.doctor.finding import Finding, Verdict, worst
from alula.device.doctor.machine import Machine

__all__ = ["CHECKS", "Finding", "Machine", "Verdict", "examine", "worst"]
