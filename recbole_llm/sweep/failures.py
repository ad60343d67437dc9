"""What went wrong in a trial: whether it was the trial or its machine."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_llm.cluster import COLOUR

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


def death(text: str) -> dict[str, str]:
    """Return the error of a trial whose process died, by what Ray wrote of it.

    The last failure counts: its first line, or of an exception in Ray's own call the last one.
    """
    text = COLOUR.sub("", text)
    lines = [line.strip() for line in text.rpartition("Failure #")[2].splitlines()[1:]]
    first, *others = [line for line in lines if line] or ["out of memory?"]
    message = others[-1] if others and first.startswith("ray::") else first
    return {"type": DIED, "message": message, "traceback": text}


def is_of_the_machine(error: Mapping[str, str] | None) -> bool:
    """Tell whether a trial may end well elsewhere, at another time, or with more of something.

    It was too slow, found no memory or no disk, or its process or its GPU died. A loss that is not
    finite and a setting that is wrong are the trial's own.
    """
    if error is None:
        return False
    message = error["message"].lower()
    return error["type"] in OF_THE_MACHINE or any(word in message for word in WORDS)
