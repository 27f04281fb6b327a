"""Runs the race of audio: our rows, those of other Rust crates, C libraries and Python packages, all in one run.

    cargo xtask bench audio

Builds the peers next to this file into target/peers/audio, times everything, measures the quality of each resampler by
the same judge, and writes the part of benches/README.md between its two marks. Our rows and the crates' are those of
benches/audio.rs. A row's time is the least of its batches, which other work on the machine disturbs least.
"""
import json, os, pathlib, platform, re, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORK = TARGET / "peers" / "audio"
README = ROOT / "benches" / "README.md"
MARKS = "<!-- race -->", "<!-- end of race -->"
LIBRARIES = ["soxr", "speexdsp", "swresample", "avutil", "opus", "spandsp", "m"]
PAIRS = [(8000, 16000), (16000, 8000), (24000, 8000), (48000, 8000), (24000, 16000), (8000, 24000), (8000, 48000)]
OURS, FLOOR = "offhook", "plain vectors in C"
TITLES = {
    "ulaw_encode": "mu-law encode", "ulaw_decode": "mu-law decode", "alaw_encode": "A-law encode",
    "alaw_decode": "A-law decode", "g722_encode": "G.722 encode", "g722_decode": "G.722 decode",
    "opus_encode": "Opus encode, 16 kHz, 24 kbit/s, complexity 5", "opus_decode": "Opus decode, 16 kHz",
    "recorder": "stereo WAV", "mixer": "mix of two", "auto_gain": "gain control with limiter",
    "dc_blocker": "direct current out", "comfort_noise": "comfort noise, two coefficients",
    "conceal_none_lost": "concealment, nothing lost", "conceal_tenth_lost": "concealment, every tenth lost",
    "jitter_buffer": "jitter buffer, a packet in and out",
}


def run(*command, **options):
    return subprocess.run(command, check=True, cwd=ROOT, **options)


def build():
    WORK.mkdir(parents=True, exist_ok=True)
    source = ROOT / "benches" / "peers"
    run("cc", "-O2", "-march=native", source / "peers.c", "-o", WORK / "peers", *[f"-l{name}" for name in LIBRARIES])
    run("cc", "-O3", "-march=native", "-ffast-math", source / "floor.c", "-o", WORK / "floor", "-lm")
    run("cargo", "build", "--quiet", "--release", "--package", "offhook-audio-benches", "--example", "race")
    for rate in sorted({rate for pair in PAIRS for rate in pair}):
        with open(WORK / f"voice_{rate}.raw", "wb") as file:
            run(TARGET / "release" / "examples" / "race", "voice", str(rate), stdout=file)


def timed():
    """{group: {name: ns}} of everything."""
    rows = {}
    def add(group, name, ns):
        rows.setdefault(group, {})[name] = ns
    run("cargo", "bench", "--quiet", "--package", "offhook-audio-benches", "--bench", "audio", "--", "--noplot",
        "--warm-up-time", "0.2", "--measurement-time", "1", stdout=subprocess.DEVNULL)
    for sample in (TARGET / "criterion").glob("*/*/new/sample.json"):
        name, group = sample.parents[1].name, sample.parents[2].name
        if sample.stat().st_mtime < STARTED:
            continue
        sample = json.loads(sample.read_text())
        add(group, name, min(t / n for t, n in zip(sample["times"], sample["iters"])))
    for command in ([WORK / "peers", "time", WORK], [WORK / "floor"]):
        for line in run(*command, capture_output=True, text=True).stdout.splitlines():
            row = json.loads(line)
            add(row["group"], row["name"], row["least"])
    for group, name, ns in python_rows():
        add(group, name, ns)
    return rows


def least_ns(step):
    for _ in range(200):
        step()
    batches = []
    for _ in range(41):
        start = time.thread_time_ns()
        for _ in range(1000):
            step()
        batches.append((time.thread_time_ns() - start) / 1000)
    return min(batches)


def python_rows():
    """As a Python program gets them; a package that is not there has no row."""
    voice = (WORK / "voice_8000.raw").read_bytes()[16000:16320]
    try:
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import audioop
    except ImportError:
        return
    for law in ("ulaw", "alaw"):
        encode, decode = getattr(audioop, f"lin2{law}"), getattr(audioop, f"{law}2lin")
        codes = encode(voice, 2)
        yield f"{law}_encode", "Python audioop", least_ns(lambda: encode(voice, 2))
        yield f"{law}_decode", "Python audioop", least_ns(lambda: decode(codes, 2))
    if np is not None:
        table = np.frombuffer(audioop.ulaw2lin(bytes(range(256)), 2), np.int16)
        codes = audioop.lin2ulaw(voice, 2)
        yield "ulaw_decode", "numpy, by table", least_ns(lambda: table[np.frombuffer(codes, np.uint8)])
        every = np.arange(65536).astype(np.uint16).view(np.int16).tobytes()
        codes_of = np.frombuffer(audioop.lin2ulaw(every, 2), np.uint8)
        yield "ulaw_encode", "numpy, by table", least_ns(lambda: codes_of[np.frombuffer(voice, np.uint16)])


# --- the judge of resamplers: tones of two seconds at -1 dBFS, of which the middle second counts

AMPLITUDE = 32767 * 10 ** (-1 / 20)


def resampled(name, pair, samples):
    program = [TARGET / "release" / "examples" / "race", "resample"]
    if name != OURS:
        program = [WORK / "peers", "resample", name]
    out = run(*program, *map(str, pair), input=samples.astype("<i2").tobytes(), capture_output=True).stdout
    return np.frombuffer(out, "<i2").astype(float)


def tone(hz, rate):
    return np.round(AMPLITUDE * np.sin(2 * np.pi * hz * np.arange(2 * rate) / rate))


def middle(samples, rate):
    return samples[rate // 2:rate // 2 + rate]


def fit(samples, hz, rate):
    """The amplitude of a tone, and its power over that of everything else, in dB."""
    phase = 2 * np.pi * hz * np.arange(len(samples)) / rate
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], 1)
    weights = np.linalg.lstsq(basis, samples, rcond=None)[0]
    rest = samples - basis @ weights
    amplitude = np.hypot(weights[0], weights[1])
    return amplitude, 10 * np.log10(amplitude ** 2 / 2 / max(np.mean(rest ** 2), 1e-9))


def quality(name, pair):
    from_hz, to_hz = pair
    heard = lambda hz: middle(resampled(name, pair, tone(hz, from_hz)), to_hz)
    low, snr_1k = fit(heard(1000), 1000, to_hz)
    snr_3k3 = fit(heard(3300), 3300, to_hz)[1]
    gains = [fit(heard(hz), hz, to_hz)[0] for hz in range(300, 3401, 310)]
    ripple = 20 * np.log10(max(gains) / min(gains))
    if to_hz > from_hz:
        spectrum = np.abs(np.fft.rfft(heard(3300) * np.hanning(to_hz))) ** 2
        hz = np.fft.rfftfreq(to_hz, 1 / to_hz)
        folded = 10 * np.log10(spectrum[hz > from_hz / 2 + 100].sum() / spectrum[abs(hz - 3300) < 50].sum())
    else:
        left = np.sqrt(np.mean(heard(to_hz * 5 / 8) ** 2))
        folded = 20 * np.log10(max(left, 1e-3) / (low / np.sqrt(2)))
    return snr_1k, snr_3k3, ripple, folded, latency_ms(name, pair)


def latency_ms(name, pair):
    """What a listener hears: from a click going in to its peak coming out, frame by frame."""
    from_hz, to_hz = pair
    click = np.zeros(2 * from_hz)
    click[from_hz] = 20000
    out = resampled(name, pair, click)
    peak = int(np.argmax(np.abs(out)))
    held = 2 * to_hz - len(out)
    return (peak - to_hz + max(held, 0)) * 1000 / to_hz


# --- the table

def ns(value):
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def title(group):
    pair = re.fullmatch(r"resample_(\d+)_(\d+)", group)
    return f"resample {int(pair[1]):,} → {int(pair[2]):,} Hz" if pair else TITLES.get(group, group.replace("_", " "))


def speed_table(rows):
    lines = ["| work on 20 ms | offhook, ns | best peer | ns | lead | other peers, ns | plain vectors in C, ns |",
             "|---|---|---|---|---|---|---|"]
    known = list(TITLES)
    for group in sorted(rows, key=lambda group: (known.index(group) if group in known else 5.5, group)):
        row = dict(rows[group])
        if OURS not in row:
            continue
        ours, floor = row.pop(OURS), row.pop(FLOOR, None)
        peers = sorted(row.items(), key=lambda peer: peer[1])
        best = f"{peers[0][0]} | {ns(peers[0][1])} | {peers[0][1] / ours:.1f}×" if peers else "– | – | –"
        others = ", ".join(f"{name} {ns(value)}" for name, value in peers[1:]) or "–"
        lines.append(f"| {title(group)} | {ns(ours)} | {best} | {others} | "
                     + (f"{ns(floor)} ({ours / floor:.2f})" if floor else "–") + " |")
    return lines


def quality_table():
    lines = ["| resampler | Hz | SNR at 1 kHz, dB | SNR at 3.3 kHz, dB | ripple 0.3 to 3.4 kHz, dB | image of 3.3 kHz or alias of"
             " 5/8 of the new rate, dB | latency, ms |", "|---|---|---|---|---|---|---|"]
    for pair in PAIRS:
        for name in [OURS, "soxr HQ", "speexdsp q5", "swresample"]:
            one, three, ripple, folded, latency = quality(name, pair)
            lines.append(f"| {name} | {pair[0]:,} → {pair[1]:,} | {one:.1f} | {three:.1f} | {ripple:.3f} | {folded:.1f} | "
                         f"{latency:.2f} |")
    return lines


def machine():
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()[1]
    return f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {platform.system()}, Rust {rust}"


def write(lines):
    text = README.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    README.write_text(before + MARKS[0] + "\n" + "\n".join(lines) + "\n" + MARKS[1] + after)


if __name__ == "__main__":
    sys.path.insert(0, str(WORK / "python"))
    try:
        import numpy as np
    except ImportError:
        np = None
    STARTED = time.time()
    build()
    lines = [f"Taken on {machine()}, by `cargo xtask bench audio`.", "", *speed_table(timed())]
    if np is not None:
        lines += ["", *quality_table()]
    write(lines)
    print("\n".join(lines))
