// What a user would link instead, called directly.
//
//   peers time SOUNDS            ns for each frame of 20 ms of every row, as JSON lines
//   peers resample NAME FROM TO  16-bit samples from stdin to stdout, frame by frame as a call would
//
// SOUNDS holds voice_RATE.raw. The time of a row is the least and the median of batches, on the thread's own clock.
#define _GNU_SOURCE
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>
#include <opus/opus.h>
#include <soxr.h>
#include <spandsp.h>
#include <speex/speex_resampler.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 41, FRAME_MAX = 960, OUT_MAX = 16384 };

typedef struct {
    int16_t *samples;
    int frame, frames, at;
} Sound;

static Sound sound_of(const char *folder, int rate) {
    char path[512];
    snprintf(path, sizeof path, "%s/voice_%d.raw", folder, rate);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    Sound sound = {malloc(rate * 4 * sizeof(int16_t)), rate / 50, 0, 0};
    sound.frames = fread(sound.samples, sizeof(int16_t), rate * 4, file) / sound.frame;
    fclose(file);
    return sound;
}

static const int16_t *next(Sound *sound) {
    const int16_t *frame = sound->samples + sound->frame * sound->at;
    sound->at = (sound->at + 1) % sound->frames;
    return frame;
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

typedef void (*Step)(void *);

static void time_row(const char *group, const char *name, Step step, void *state) {
    for (int n = 0; n < 200; n++) step(state);
    long count = 64;
    for (double start = now_ns();; count *= 2, start = now_ns()) {
        for (long n = 0; n < count; n++) step(state);
        if (now_ns() - start > 2e6) break;
    }
    double times[BATCHES];
    for (int batch = 0; batch < BATCHES; batch++) {
        double start = now_ns();
        for (long n = 0; n < count; n++) step(state);
        times[batch] = (now_ns() - start) / count;
    }
    qsort(times, BATCHES, sizeof *times, by_size);
    printf("{\"group\":\"%s\",\"name\":\"%s\",\"least\":%.2f,\"median\":%.2f}\n", group, name, times[0], times[BATCHES / 2]);
    fflush(stdout);
}

// --- resampling

typedef struct Resampler {
    int from, to;
    void *handle;
    size_t (*run)(struct Resampler *, const int16_t *, size_t, int16_t *);
    Sound *sound;
} Resampler;

static size_t run_soxr(Resampler *r, const int16_t *in, size_t length, int16_t *out) {
    size_t taken, made;
    soxr_process(r->handle, in, length, &taken, out, OUT_MAX, &made);
    return made;
}

static size_t run_speex(Resampler *r, const int16_t *in, size_t length, int16_t *out) {
    spx_uint32_t taken = length, made = OUT_MAX;
    speex_resampler_process_int(r->handle, 0, in, &taken, out, &made);
    return made;
}

static size_t run_swr(Resampler *r, const int16_t *in, size_t length, int16_t *out) {
    const uint8_t *from = (const uint8_t *)in;
    uint8_t *to = (uint8_t *)out;
    return swr_convert(r->handle, &to, OUT_MAX, &from, length);
}

static const char *const RESAMPLERS[] = {"soxr HQ", "soxr QQ", "speexdsp q5", "swresample"};

static Resampler resampler_of(const char *name, int from, int to) {
    Resampler r = {from, to, NULL, NULL, NULL};
    if (!strncmp(name, "soxr", 4)) {
        soxr_error_t error;
        soxr_io_spec_t io = soxr_io_spec(SOXR_INT16_I, SOXR_INT16_I);
        soxr_quality_spec_t quality = soxr_quality_spec(strstr(name, "HQ") ? SOXR_HQ : SOXR_QQ, 0);
        soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
        r.handle = soxr_create(from, to, 1, &error, &io, &quality, &runtime);
        r.run = run_soxr;
    } else if (!strncmp(name, "speexdsp", 8)) {
        int error;
        r.handle = speex_resampler_init(1, from, to, 5, &error);
        r.run = run_speex;
    } else {
        AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
        SwrContext *context = NULL;
        swr_alloc_set_opts2(&context, &mono, AV_SAMPLE_FMT_S16, to, &mono, AV_SAMPLE_FMT_S16, from, 0, NULL);
        swr_init(context);
        r.handle = context;
        r.run = run_swr;
    }
    return r;
}

static void step_resample(void *state) {
    static int16_t out[OUT_MAX];
    Resampler *r = state;
    r->run(r, next(r->sound), r->from / 50, out);
}

static void resample_stdin(const char *name, int from, int to) {
    static int16_t in[FRAME_MAX], out[OUT_MAX];
    Resampler r = resampler_of(name, from, to);
    while (fread(in, sizeof *in, from / 50, stdin) == (size_t)(from / 50))
        fwrite(out, sizeof *out, r.run(&r, in, from / 50, out), stdout);
}

// --- G.711 by tables, as FFmpeg and most programs do it

static int16_t TO_LINEAR[256];
static uint8_t TO_ULAW[65536];
static uint8_t CODES[160];
static int16_t LINEAR[FRAME_MAX];

static void step_decode(void *state) {
    (void)state;
    for (int n = 0; n < 160; n++) LINEAR[n] = TO_LINEAR[CODES[n]];
    __asm__ volatile("" ::: "memory");
}

static void step_encode(void *state) {
    const int16_t *in = next(state);
    for (int n = 0; n < 160; n++) CODES[n] = TO_ULAW[(uint16_t)in[n]];
    __asm__ volatile("" ::: "memory");
}

// --- G.722 and Opus

typedef struct {
    void *encoder, *decoder;
    Sound *sound;
    uint8_t packets[64][1500];
    int lengths[64], at;
} Codec;

static void step_g722_encode(void *state) {
    Codec *codec = state;
    uint8_t packet[400];
    g722_encode(codec->encoder, packet, next(codec->sound), 320);
}

static void step_g722_decode(void *state) {
    Codec *codec = state;
    codec->at = (codec->at + 1) % 64;
    g722_decode(codec->decoder, LINEAR, codec->packets[codec->at], 160);
}

static void step_opus_encode(void *state) {
    Codec *codec = state;
    uint8_t packet[1500];
    codec->at = opus_encode(codec->encoder, next(codec->sound), 320, packet, sizeof packet);
}

static void step_opus_decode(void *state) {
    Codec *codec = state;
    codec->at = (codec->at + 1) % 64;
    if (opus_decode(codec->decoder, codec->packets[codec->at], codec->lengths[codec->at], LINEAR, 320, 0) < 0) abort();
}

static void time_codecs(Sound *wide) {
    static Codec g722, opus;
    g722.sound = opus.sound = wide;
    g722.encoder = g722_encode_init(NULL, 64000, 0);
    g722.decoder = g722_decode_init(NULL, 64000, 0);
    for (int n = 0; n < 64; n++) g722_encode(g722.encoder, g722.packets[n], next(wide), 320);
    time_row("g722_encode", "spandsp", step_g722_encode, &g722);
    time_row("g722_decode", "spandsp", step_g722_decode, &g722);
    int error;
    opus.encoder = opus_encoder_create(16000, 1, OPUS_APPLICATION_VOIP, &error);
    opus_encoder_ctl(opus.encoder, OPUS_SET_BITRATE(24000));
    opus_encoder_ctl(opus.encoder, OPUS_SET_COMPLEXITY(5));
    opus.decoder = opus_decoder_create(16000, 1, &error);
    for (int n = 0; n < 64; n++) opus.lengths[n] = opus_encode(opus.encoder, next(wide), 320, opus.packets[n], 1500);
    time_row("opus_encode", "libopus of Debian", step_opus_encode, &opus);
    time_row("opus_decode", "libopus of Debian", step_opus_decode, &opus);
}

int main(int count, char **arguments) {
    if (count == 5 && !strcmp(arguments[1], "resample")) {
        resample_stdin(arguments[2], atoi(arguments[3]), atoi(arguments[4]));
        return 0;
    }
    if (count != 3 || strcmp(arguments[1], "time")) {
        fprintf(stderr, "usage: peers time SOUNDS | peers resample NAME FROM TO\n");
        return 1;
    }
    Sound narrow = sound_of(arguments[2], 8000), wide = sound_of(arguments[2], 16000);
    for (int code = 0; code < 256; code++) TO_LINEAR[code] = ulaw_to_linear(code);
    for (int sample = 0; sample < 65536; sample++) TO_ULAW[sample] = linear_to_ulaw((int16_t)sample);
    time_row("ulaw_encode", "table of 64 KiB", step_encode, &narrow);
    time_row("ulaw_decode", "table", step_decode, NULL);
    static const int PAIRS[][2] = {{8000, 16000}, {16000, 8000}, {24000, 8000}, {48000, 8000}, {24000, 16000}, {8000, 24000}, {8000, 48000}};
    for (size_t pair = 0; pair < sizeof PAIRS / sizeof *PAIRS; pair++) {
        char group[64];
        snprintf(group, sizeof group, "resample_%d_%d", PAIRS[pair][0], PAIRS[pair][1]);
        Sound sound = sound_of(arguments[2], PAIRS[pair][0]);
        for (size_t name = 0; name < sizeof RESAMPLERS / sizeof *RESAMPLERS; name++) {
            Resampler r = resampler_of(RESAMPLERS[name], PAIRS[pair][0], PAIRS[pair][1]);
            r.sound = &sound;
            time_row(group, RESAMPLERS[name], step_resample, &r);
        }
    }
    time_codecs(&wide);
    return 0;
}
