"""What a process takes of the machine."""

import psutil


class ProcessUsage:
    """CPU time and memory of one process, read from the system; of a process that has ended, what was last seen."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._cpu_s = 0.0
        self._rss_bytes = 0

    def cpu_s(self) -> float:
        """Seconds of CPU since the process started, user and system, all threads."""
        try:
            times = self._process.cpu_times()
        except psutil.NoSuchProcess:
            return self._cpu_s
        self._cpu_s = times.user + times.system
        return self._cpu_s

    def rss_bytes(self) -> int:
        """Resident memory now."""
        try:
            self._rss_bytes = self._process.memory_info().rss
        except psutil.NoSuchProcess:
            return self._rss_bytes
        return self._rss_bytes
