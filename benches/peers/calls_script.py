"""What every engine is driven with; the same as `benches/calls/script.rs`."""

import array
import math

CYCLE_SECONDS = 8.0
SPEECH_SECONDS = 2.0
HEARD = "Could you tell me when my next appointment is, please?"
TOKENS = "Sure, |I |can |look |that |up. |Please |hold |for |one |short |moment.".split("|")


def sentence(rate_hz, seconds=1.5):
    """Something like a voice, as 16-bit samples."""
    samples = array.array("h")
    for n in range(int(rate_hz * seconds)):
        time = n / rate_hz
        buzz = sum(math.sin(2 * math.pi * 140 * k * time) / k for k in range(1, 12))
        samples.append(int(4000 * buzz * (0.5 + 0.5 * math.sin(2 * math.pi * 3 * time))))
    return samples.tobytes()
