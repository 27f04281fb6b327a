"""Writes what ONNX Runtime makes of the voice in ../silero.rs: a probability a line, for 8 and then 16 kHz.

    pip install onnxruntime==1.31.1 numpy && python reference.py silero_vad.onnx > probabilities.txt
"""

import sys

import numpy as np
import onnxruntime

# Formants of a, i, u and o in Q14 (2 r cos w and -r^2 of each resonator), for 8 and for 16 kHz.
VOWELS = {8000: [[(25978, -15580), (18725, -15390), (-12052, -14830)], [(30480, -15580), (-4938, -14830), (-19702, -14830)],
                 [(30000, -15580), (21958, -15390), (-8012, -14830)], [(28460, -15580), (23526, -15390), (-9060, -14830)]],
          16000: [[(30320, -15970), (28116, -15880), (15022, -15590)], [(31540, -15970), (19522, -15590), (11246, -15590)],
                  [(31410, -15970), (28990, -15880), (16540, -15590)], [(31000, -15970), (29400, -15880), (16130, -15590)]]}


def voice(rate):
    """Six seconds: noise, then four words of vowels at a falling pitch, with pauses; whole numbers only."""
    seed, phase, states, samples = 1, 0, [[0, 0] for _ in range(3)], []
    for n in range(6 * rate):
        seed = (seed * 1103515245 + 12345) % 2**31
        noise = seed // 2**16 % 64 - 32
        ms = n * 1000 // rate
        word, within = divmod(ms - 800, 1200)
        sounds = ms >= 800 and within < 800
        pitch = 190 - within // 16 - 12 * word if sounds else 100
        phase += pitch
        pulse = 0
        if phase >= rate:
            phase -= rate
            pulse = min(within, 800 - within, 100) * 40 if sounds else 0
        x = pulse + noise
        for state, (a, b) in zip(states, VOWELS[rate][(within // 200 + word) % 4]):
            x += (a * state[0] + b * state[1]) // 2**14
            x = max(-200000, min(200000, x))
            state[1], state[0] = state[0], x
            x //= 4
        samples.append(max(-32768, min(32767, x)))
    return np.array(samples, np.float32) / 32768


def main():
    session = onnxruntime.InferenceSession(sys.argv[1])
    for rate in VOWELS:
        window, state = rate * 32 // 1000, np.zeros((2, 1, 128), np.float32)
        samples = np.concatenate([np.zeros(window // 8, np.float32), voice(rate)])
        for start in range(0, len(samples) - window - window // 8 + 1, window):
            piece = samples[None, start : start + window + window // 8]
            inputs = {"input": piece, "state": state, "sr": np.array(rate, np.int64)}
            probability, state = session.run(None, inputs)
            print(f"{probability[0, 0]:.6f}")


main()
