//! What hears a call takes no memory once it is there.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use offhook::audio::progress::{CallProgress, Country};
use offhook::audio::silero::SileroWindow;
use offhook::audio::{BeepDetector, DtmfDetector, EnergyVad, EnergyVadSettings};
use offhook_local::weights::Models;

/// The system's memory, and how often this thread asked for some.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: as asked.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as asked.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn frames_take_no_memory() {
    let (mut keys, mut beeps) = (DtmfDetector::new(8_000), BeepDetector::new(8_000));
    let mut vad = EnergyVad::new(8_000, EnergyVadSettings::default()).unwrap();
    let mut progress = CallProgress::new(8_000, Country::Germany).unwrap();
    let sound = sound(8_000);
    let before = ASKED.get();
    for frame in sound.chunks(160) {
        keys.push(frame);
        beeps.push(frame);
        vad.push(frame);
        progress.push(frame);
    }
    assert_eq!(ASKED.get(), before);
}

#[test]
fn windows_take_no_memory() {
    let silero = offhook_local::silero::load(&Models::locate().unwrap()).unwrap();
    let mut workspace = silero.workspace(2);
    let (mut one, mut other) = (silero.stream(8_000).unwrap(), silero.stream(8_000).unwrap().gated());
    let sound = sound(8_000);
    let before = ASKED.get();
    for samples in sound.chunks_exact(one.window()) {
        let mut windows = [
            SileroWindow { stream: &mut one, samples, probability: 0.0 },
            SileroWindow { stream: &mut other, samples, probability: 0.0 },
        ];
        silero.judge(&mut workspace, &mut windows).unwrap();
    }
    assert_eq!(ASKED.get(), before);
}

/// Keys, tones and noise, and silence between.
fn sound(rate_hz: usize) -> Vec<i16> {
    let wave = |n: usize| {
        let (at, part) = (n as f32 / rate_hz as f32, n * 4 / rate_hz % 4);
        let tone = |hz: f32| (std::f32::consts::TAU * hz * at).sin() * 6_000.0;
        match part {
            0 => (tone(770.0) + tone(1_336.0)) as i16,
            1 => tone(425.0) as i16,
            2 => (n.wrapping_mul(2_654_435_761) >> 18 & 0xfff) as i16,
            _ => 0,
        }
    };
    (0..6 * rate_hz).map(wave).collect()
}
