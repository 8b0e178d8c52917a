"""The signals that end a command, and how it says that one did."""

from __future__ import annotations

import signal

from protozorfs.errors import ProtozorfsError

EXIT_SIGNAL = 128  # plus the signal's number: the exit code of what a signal ended
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class EndedBySignal(ProtozorfsError):
    """A signal came to a command, and what was going on is over and closed.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.number = number


def stop_signals() -> list[signal.Signals]:
    """Those of STOP_SIGNALS that end this command.

    The loss of the terminal does not where the caller has it ignored, as nohup(1) does. SIGINT
    always does: scripts have it ignored by what they start in the background, and end that by it.
    """
    return [
        number
        for number in STOP_SIGNALS
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]
