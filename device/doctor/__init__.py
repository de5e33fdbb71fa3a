"""The doctor: what this machine is, what works on it, and how to fix the rest.

Nothing native is imported here. Anything that may kill a process (a wheel for a newer CPU, a kernel) runs in a child.
"""

from alula.device.doctor.checkup import CHECKS, examine
from alula.device.doctor.finding import Finding, Verdict, worst
from alula.device.doctor.machine import Machine

__all__ = ["CHECKS", "Finding", "Machine", "Verdict", "examine", "worst"]
