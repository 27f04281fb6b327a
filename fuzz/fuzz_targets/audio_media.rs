//! Any bytes are a sound file or an error, and a file sounds the same as a clip and as a stream of frames.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_media::{Limits, Options, Prompt, Source, decode_file};

const CALL_HZ: u32 = 8_000;

fuzz_target!(
    // The panics of the format readers are caught and answered as errors. The hook of the fuzzer would abort in them;
    // a panic that gets out of here ends the run without it.
    init: std::panic::set_hook(Box::new(|_| ())),
    |data: &[u8]| {
        let mut options = Options::default();
        options.limits = Limits { bytes_max: 1 << 20, duration_max: Duration::from_secs(10) };
        let clip = decode_file(Source::from_bytes(data.to_vec()), &options);
        let frames = Prompt::open(Source::from_bytes(data.to_vec()), &options, CALL_HZ)
            .and_then(|prompt| prompt.collect::<Result<Vec<_>, _>>());
        match (clip, frames) {
            (Ok(clip), Ok(frames)) => assert_eq!(clip.to_frames(CALL_HZ).unwrap(), frames),
            (Err(clip), Err(frames)) => assert_eq!(clip.kind(), frames.kind()),
            (clip, frames) => panic!("{clip:?} is not {frames:?}"),
        }
    }
);
