"""Pipecat behind a WebSocket that speaks Twilio's protocol, with providers that cost nothing.

The same script as `benches/calls/script.rs`, driven by the same callers: a transcript the moment the caller has spoken,
twelve tokens, two sentences that are ready.

    python calls_pipecat.py PORT [silero|webrtc|off]
"""

import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from calls_script import CYCLE_SECONDS, HEARD, SPEECH_SECONDS, TOKENS, sentence

RATE_HZ = 8000
TTS_RATE_HZ = 24000
PORT, VAD = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "silero"
SENTENCE = sentence(TTS_RATE_HZ)

logger.remove()
app = FastAPI()


class NullSTT(STTService):
    def __init__(self):
        super().__init__(ttfs_p99_latency=0.0, settings=STTSettings(model=None, language=None))
        self.samples, self.told = 0, -1

    async def run_stt(self, audio):
        self.samples += len(audio) // 2
        cycle, position = divmod(self.samples, int(RATE_HZ * CYCLE_SECONDS))
        if position >= RATE_HZ * (SPEECH_SECONDS - 0.03) and cycle > self.told:
            self.told = cycle
            yield TranscriptionFrame(HEARD, "caller", "2026-01-01T00:00:00Z", finalized=True)
        else:
            yield None


class NullLLM(LLMService):
    def __init__(self):
        names = (
            "model system_instruction temperature max_tokens top_p top_k frequency_penalty presence_penalty seed "
            "user_turn_completion_config"
        )
        super().__init__(settings=LLMSettings(filter_incomplete_user_turns=False, **dict.fromkeys(names.split())))

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for token in TOKENS:
            await self.push_frame(LLMTextFrame(token))
        await self.push_frame(LLMFullResponseEndFrame())


class NullTTS(TTSService):
    def __init__(self):
        settings = TTSSettings(model=None, voice=None, language=None)
        super().__init__(push_start_frame=True, push_stop_frames=True, sample_rate=RATE_HZ, settings=settings)

    async def run_tts(self, text, context_id):
        async def pieces():
            for start in range(0, len(SENTENCE), TTS_RATE_HZ // 5):
                yield SENTENCE[start : start + TTS_RATE_HZ // 5]

        frames = self._stream_audio_frames_from_iterator(pieces(), in_sample_rate=TTS_RATE_HZ, context_id=context_id)
        async for frame in frames:
            yield frame


class WebRtcVAD(VADAnalyzer):
    def __init__(self, **options):
        import webrtcvad

        super().__init__(**options)
        self.judge = webrtcvad.Vad(2)

    def num_frames_required(self):
        return self.sample_rate // 50

    def voice_confidence(self, buffer):
        return float(self.judge.is_speech(bytes(buffer), self.sample_rate))


def vad():
    params = VADParams(stop_secs=0.2, start_secs=0.2)
    if VAD == "silero":
        from pipecat.audio.vad.silero import SileroVADAnalyzer

        return SileroVADAnalyzer(params=params)
    return WebRtcVAD(params=params) if VAD == "webrtc" else None


@app.websocket("/{path:path}")
async def media(socket: WebSocket, path: str):
    await socket.accept()
    for _ in ("connected", "start"):
        await socket.receive_text()
    serializer = TwilioFrameSerializer(
        stream_sid="MZ", params=TwilioFrameSerializer.InputParams(auto_hang_up=False)
    )
    params = FastAPIWebsocketParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        add_wav_header=False,
        serializer=serializer,
        audio_out_10ms_chunks=2,
    )
    transport = FastAPIWebsocketTransport(websocket=socket, params=params)
    context = LLMContext([{"role": "system", "content": "You are a helpful receptionist."}])
    stop = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.3)
    user, assistant = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(vad_analyzer=vad(), user_turn_strategies=UserTurnStrategies(stop=[stop])),
    )
    stages = [transport.input(), NullSTT(), user, NullLLM(), NullTTS(), transport.output(), assistant]
    rates = PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ)
    # All that can be left out is: what is measured is the engine.
    worker = PipelineWorker(
        Pipeline(stages), params=rates, enable_rtvi=False, enable_turn_tracking=False, idle_timeout_secs=None
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


uvicorn.run(app, host="127.0.0.1", port=PORT, loop="uvloop", log_level="error", access_log=False)
