"""What a proxy used, read from /proc: every thread of every process it consists of."""

import os
import resource
from dataclasses import dataclass

from children import descendants

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    user_us: float = 0.0
    system_us: float = 0.0
    switches: int = 0
    rss_kib: int = 0
    peak_kib: int = 0

    def since(self, earlier):
        return Usage(
            self.user_us - earlier.user_us,
            self.system_us - earlier.system_us,
            self.switches - earlier.switches,
            self.rss_kib,
            self.peak_kib,
        )

    @property
    def cpu_us(self):
        return self.user_us + self.system_us


def usage(pid):
    """The sum over a process and its descendants since they started."""
    total = Usage()
    for member in descendants(pid):
        try:
            _add(total, member)
        except OSError:
            continue
    return total


def machine_us():
    """Microseconds that all CPUs together were busy since the start, whoever kept them so."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_US


def tools_us():
    """Microseconds spent by this program and by every child it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent) * 1e6


def _add(total, pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    total.user_us += int(fields[11]) * TICK_US
    total.system_us += int(fields[12]) * TICK_US
    status = _status(f"/proc/{pid}/status")
    total.rss_kib += status.get("VmRSS", 0)
    total.peak_kib += status.get("VmHWM", 0)
    for task in os.listdir(f"/proc/{pid}/task"):
        thread = _status(f"/proc/{pid}/task/{task}/status")
        total.switches += thread.get("voluntary_ctxt_switches", 0)
        total.switches += thread.get("nonvoluntary_ctxt_switches", 0)


def _status(path):
    numbers = {}
    with open(path) as lines:
        for line in lines:
            name, _, value = line.partition(":")
            first = value.split()[:1]
            if first and first[0].isdigit():
                numbers[name] = int(first[0])
    return numbers
