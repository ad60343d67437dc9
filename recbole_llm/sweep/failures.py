"""What went wrong in a trial: whether it was the trial or its machine."""

from __future__ import annotations

from collections.abc import Mapping

LOST = {
    "type": "TrialLost",
    "message": "Ray ended without saying what became of it. --resume tries it again.",
    "traceback": "",
}
DIED = "TrialDied"
TIMEOUT = "TrialTimeoutError"
OF_THE_MACHINE = (LOST["type"], DIED, TIMEOUT, "OutOfMemoryError", "MemoryError")
WORDS = (
    "out of memory", "can't allocate memory", "cuda error", "cublas_status", "cudnn_status",
    "no space left", "quota exceeded",
)  # fmt: skip


def is_of_the_machine(error: Mapping[str, str] | None) -> bool:
    """Tell whether a trial may end well elsewhere, at another time, or with more of something.

    It was too slow, found no memory or no disk, or its process or its GPU died. A loss that is not
    finite and a setting that is wrong are the trial's own.
    """
    if error is None:
        return False
    message = error["message"].lower()
    return error["type"] in OF_THE_MACHINE or any(word in message for word in WORDS)
