// How fast the plainest vector code of the same arithmetic is on this processor: a bound to hold our rows against.
// Constant lengths, one instruction set, rounding and order of additions as the compiler likes.
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCHES = 41, HISTORY = 256 };
typedef float Vector __attribute__((vector_size(64), aligned(4)));
#define BARRIER __asm__ volatile("" ::: "memory")

// Not static, so that the compiler has to write them.
int16_t IN[960], OUT[1920];
uint8_t CODES[160];
float LINE[HISTORY + 960], PLANES[6][HISTORY + 160], WEIGHTS[HISTORY];

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static void time_row(const char *group, void (*step)(void)) {
    for (int n = 0; n < 200; n++) step();
    long count = 64;
    for (double start = now_ns();; count *= 2, start = now_ns()) {
        for (long n = 0; n < count; n++) step();
        if (now_ns() - start > 2e6) break;
    }
    double times[BATCHES];
    for (int batch = 0; batch < BATCHES; batch++) {
        double start = now_ns();
        for (long n = 0; n < count; n++) step();
        times[batch] = (now_ns() - start) / count;
    }
    qsort(times, BATCHES, sizeof *times, by_size);
    printf("{\"group\":\"%s\",\"name\":\"plain vectors in C\",\"least\":%.2f,\"median\":%.2f}\n", group, times[0], times[BATCHES / 2]);
}

static void ulaw_decode(void) {
    for (int n = 0; n < 160; n++) {
        int16_t code = (uint8_t)~CODES[n];
        int16_t value = (((code & 15) << 3) + 132) << (code >> 4 & 7);
        OUT[n] = code & 128 ? 132 - value : value - 132;
    }
    BARRIER;
}

static void ulaw_encode(void) {
    for (int n = 0; n < 160; n++) {
        int32_t negative = IN[n] < 0, value = negative ? ~IN[n] : IN[n];
        value = (value > 32635 ? 32635 : value) + 132;
        union { float number; uint32_t bits; } f = {(float)value};
        int segment = (int)(f.bits >> 23) - 134;
        CODES[n] = ~(negative << 7 | segment << 4 | (value >> (segment + 3) & 15));
    }
    BARRIER;
}

static void stereo(void) {
    for (int n = 0; n < 160; n++) {
        OUT[2 * n] = IN[n];
        OUT[2 * n + 1] = IN[n + 160];
    }
    BARRIER;
}

static void mix(void) {
    for (int n = 0; n < 160; n++) {
        int sum = IN[n] + IN[n + 160];
        OUT[n] = sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
    }
    BARRIER;
}

// 160 samples at 8 kHz of `down` times as many, by a filter of 36 weights for each `down`.
static inline void decimate(int down) {
    int history = 36 * down;
    for (int n = 0; n < history; n++) LINE[n] = LINE[n + 160 * down];
    for (int n = 0; n < 160 * down; n++) LINE[history + n] = IN[n];
    for (int plane = 0; plane < down; plane++)
        for (int n = 0; n < 196; n++) PLANES[plane][n] = LINE[n * down + plane];
    for (int block = 0; block < 160; block += 80) {
        Vector sums[5] = {0};
        for (int k = 0; k < history; k++) {
            const float *from = PLANES[k % down] + block + k / down;
            for (int n = 0; n < 5; n++) sums[n] += WEIGHTS[k] * *(const Vector *)(from + 16 * n);
        }
        for (int n = 0; n < 80; n++) OUT[block + n] = (int16_t)lrintf(sums[n / 16][n % 16]);
    }
    BARRIER;
}

static void from_16(void) { decimate(2); }
static void from_24(void) { decimate(3); }
static void from_48(void) { decimate(6); }

static void to_16(void) {
    for (int n = 0; n < 36; n++) LINE[n] = LINE[n + 160];
    for (int n = 0; n < 160; n++) LINE[36 + n] = IN[n];
    for (int block = 0; block < 160; block += 80) {
        Vector even[5] = {0}, odd[5] = {0};
        for (int k = 0; k < 36; k++)
            for (int n = 0; n < 5; n++) {
                Vector samples = *(const Vector *)(LINE + block + k + 16 * n);
                even[n] += WEIGHTS[2 * k] * samples;
                odd[n] += WEIGHTS[2 * k + 1] * samples;
            }
        for (int n = 0; n < 80; n++) {
            OUT[2 * (block + n)] = (int16_t)lrintf(even[n / 16][n % 16]);
            OUT[2 * (block + n) + 1] = (int16_t)lrintf(odd[n / 16][n % 16]);
        }
    }
    BARRIER;
}

int main(void) {
    for (int n = 0; n < 960; n++) IN[n] = 8000 * sin(n * 0.17) + rand() % 500;
    for (int n = 0; n < HISTORY; n++) WEIGHTS[n] = 0.001f * (n % 7);
    time_row("ulaw_encode", ulaw_encode);
    time_row("ulaw_decode", ulaw_decode);
    time_row("resample_8000_16000", to_16);
    time_row("resample_16000_8000", from_16);
    time_row("resample_24000_8000", from_24);
    time_row("resample_48000_8000", from_48);
    time_row("recorder", stereo);
    time_row("mixer", mix);
    return 0;
}
