"""LiveKit Agents behind a WebSocket that speaks Twilio's protocol, with providers that cost nothing.

The same script as `benches/calls/script.rs`, driven by the same callers. Its session has no room: audio comes and goes by
the interfaces that it has for that, and what it sends is paced in frames of 20 ms.

    python calls_livekit.py PORT [native|silero]
"""

import asyncio
import audioop
import base64
import json
import logging
import os
import sys
import time

os.environ.setdefault("LIVEKIT_URL", "")

import uvicorn
from fastapi import FastAPI, WebSocket
from livekit import rtc
from livekit.agents import Agent, AgentSession, inference, llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN
from livekit.agents.voice import io

from calls_script import CYCLE_SECONDS, HEARD, SPEECH_SECONDS, TOKENS, sentence

STT_RATE_HZ = 16000
TTS_RATE_HZ = 24000
PORT, VAD = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "native"
SENTENCE = sentence(TTS_RATE_HZ)

logging.disable(logging.WARNING)
app = FastAPI()


class Ear(io.AudioInput):
    def __init__(self, socket):
        super().__init__(label="socket")
        self.socket = socket

    async def __anext__(self):
        while True:
            message = json.loads(await self.socket.receive_text())
            if message["event"] == "media":
                pcm = audioop.ulaw2lin(base64.b64decode(message["media"]["payload"]), 2)
                return rtc.AudioFrame(pcm, 8000, 1, len(pcm) // 2)


class Mouth(io.AudioOutput):
    def __init__(self, socket):
        super().__init__(label="socket", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=8000)
        self.socket, self.waiting, self.pushed, self.played, self.complete = socket, bytearray(), 0.0, 0.0, False
        self.may_run, self.has_more = asyncio.Event(), asyncio.Event()
        self.may_run.set()
        self.task = asyncio.create_task(self.pace())

    async def capture_frame(self, frame):
        await super().capture_frame(frame)
        if not self.pushed:
            self.played = 0.0
        self.pushed += frame.duration
        self.complete = False
        self.waiting += audioop.lin2ulaw(bytes(frame.data), 2)
        self.has_more.set()

    def flush(self):
        super().flush()
        if self.pushed:
            self.complete = True
            self.has_more.set()

    def clear_buffer(self):
        if self.pushed:
            self.waiting.clear()
            self.pushed, self.complete = 0.0, False
            self.say_clear()
            self.on_playback_finished(playback_position=self.played, interrupted=True)

    def pause(self):
        super().pause()
        self.may_run.clear()
        self.say_clear()

    def resume(self):
        super().resume()
        self.may_run.set()

    def say_clear(self):
        asyncio.ensure_future(self.socket.send_text('{"event":"clear","streamSid":"MZ"}'))

    async def pace(self):
        while True:
            await self.has_more.wait()
            due = time.perf_counter()
            while self.waiting and (len(self.waiting) >= 160 or self.complete):
                if not self.may_run.is_set():
                    await self.may_run.wait()
                    due = time.perf_counter()
                    continue
                if not self.played:
                    self.on_playback_started(created_at=time.time())
                payload = base64.b64encode(bytes(self.waiting[:160])).decode()
                del self.waiting[:160]
                await self.socket.send_text(
                    json.dumps({"event": "media", "streamSid": "MZ", "media": {"payload": payload}})
                )
                self.played += 0.02
                due = max(due + 0.02, time.perf_counter() - 0.02)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.has_more.clear()
            if self.complete and self.pushed:
                position, self.pushed, self.complete = self.pushed, 0.0, False
                self.on_playback_finished(playback_position=position, interrupted=False)


class NullSTTStream(stt.RecognizeStream):
    async def _run(self):
        samples, told = 0, -1
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            samples += frame.samples_per_channel
            cycle, position = divmod(samples, int(STT_RATE_HZ * CYCLE_SECONDS))
            if position >= STT_RATE_HZ * (SPEECH_SECONDS - 0.03) and cycle > told:
                told = cycle
                heard = stt.SpeechData(language="en", confidence=1.0, text=HEARD)
                kind = stt.SpeechEventType.FINAL_TRANSCRIPT
                self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[heard]))


class NullSTT(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, buffer, *, language=NOT_GIVEN, conn_options=None):
        raise NotImplementedError

    def stream(self, *, language=NOT_GIVEN, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return NullSTTStream(stt=self, conn_options=conn_options, sample_rate=STT_RATE_HZ)


class NullLLMStream(llm.LLMStream):
    async def _run(self):
        for token in TOKENS:
            self._event_ch.send_nowait(
                llm.ChatChunk(id="x", delta=llm.ChoiceDelta(role="assistant", content=token))
            )


class NullLLM(llm.LLM):
    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **_):
        return NullLLMStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class NullTTSStream(tts.ChunkedStream):
    async def _run(self, emitter):
        emitter.initialize(
            request_id="x", sample_rate=TTS_RATE_HZ, num_channels=1, mime_type="audio/pcm", frame_size_ms=100
        )
        for start in range(0, len(SENTENCE), TTS_RATE_HZ // 5):
            emitter.push(SENTENCE[start : start + TTS_RATE_HZ // 5])
        emitter.flush()


class NullTTS(tts.TTS):
    def __init__(self):
        capabilities = tts.TTSCapabilities(streaming=False)
        super().__init__(capabilities=capabilities, sample_rate=TTS_RATE_HZ, num_channels=1)

    def synthesize(self, text, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return NullTTSStream(tts=self, input_text=text, conn_options=conn_options)


def vad():
    if VAD == "silero":
        from livekit.plugins import silero

        return silero.VAD.load(min_silence_duration=0.25)
    return inference.VAD(min_silence_duration=0.25)


@app.websocket("/{path:path}")
async def media(socket: WebSocket, path: str):
    await socket.accept()
    for _ in ("connected", "start"):
        await socket.receive_text()
    session = AgentSession(
        stt=NullSTT(),
        llm=NullLLM(),
        tts=NullTTS(),
        vad=vad(),
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"mode": "fixed", "min_delay": 0.3, "max_delay": 3.0},
            "interruption": {"mode": "vad", "min_duration": 0.5},
            "preemptive_generation": {"enabled": True},
        },
        aec_warmup_duration=None,
        user_away_timeout=None,
    )
    session.input.audio, session.output.audio = Ear(socket), Mouth(socket)
    await session.start(Agent(instructions="You are a helpful receptionist."), record=False)
    await asyncio.Event().wait()


uvicorn.run(app, host="127.0.0.1", port=PORT, loop="uvloop", log_level="error", access_log=False)
