"""What processes take of the machine while the load is on."""

import psutil

from client_demo.headless.load.process import LoadError


class Usage:
    """CPU time and memory of some processes, summed; of one that has ended, what was last seen."""

    def __init__(self, pids: list[int]) -> None:
        try:
            processes = [psutil.Process(pid) for pid in pids]
        except psutil.NoSuchProcess as error:
            raise LoadError(f"there is no process {error.pid}") from error
        self._cpu_s: dict[psutil.Process, float] = dict.fromkeys(processes, 0.0)
        self._rss_bytes: dict[psutil.Process, int] = dict.fromkeys(self._cpu_s, 0)

    def cpu_s(self) -> float:
        """Seconds of CPU since the processes started, user and system."""
        for process in self._cpu_s:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            self._cpu_s[process] = times.user + times.system
        return sum(self._cpu_s.values())

    def rss_bytes(self) -> int:
        """Resident memory now."""
        for process in self._rss_bytes:
            try:
                self._rss_bytes[process] = process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return sum(self._rss_bytes.values())
