//! Files, sound and broken, as they come from outside. Each is made here, byte by byte.

use std::f64::consts::TAU;
use std::io::{self, Read};
use std::time::Duration;

use offhook::ErrorKind;
use offhook::audio::{Recorder, g711};
use offhook_media::{Clip, Limits, Options, Prompt, Source, decode_file};
use proptest::prelude::*;

#[test]
fn linear_wav_comes_back_bit_for_bit() {
    let samples = tone(8_000, 1_000);
    let clip = decode(wav(PCM, 1, 8_000, 16, &le16(&samples))).unwrap();
    assert_eq!(clip, Clip { rate_hz: 8_000, samples });
    assert_eq!(clip.duration(), Duration::from_millis(125));
}

#[test]
fn companded_wav_decodes_as_the_engine_does() {
    let samples = tone(8_000, 1_000);
    for (format, encode, decoded) in [
        (ULAW, g711::encode_ulaw as fn(&[i16], &mut [u8]), g711::decode_ulaw as fn(&[u8], &mut [i16])),
        (ALAW, g711::encode_alaw, g711::decode_alaw),
    ] {
        let (mut codes, mut expected) = (vec![0; samples.len()], vec![0; samples.len()]);
        encode(&samples, &mut codes);
        decoded(&codes, &mut expected);
        assert_eq!(decode(wav(format, 1, 8_000, 8, &codes)).unwrap().samples, expected);
    }
}

#[test]
fn other_widths_keep_their_sound() {
    let samples = tone(16_000, 500);
    let wide: Vec<u8> = samples.iter().flat_map(|s| (i32::from(*s) << 8).to_le_bytes()[..3].to_vec()).collect();
    assert_eq!(decode(wav(PCM, 1, 16_000, 24, &wide)).unwrap().samples, samples);

    let float: Vec<u8> = samples.iter().flat_map(|s| (f32::from(*s) / 32_768.0).to_le_bytes()).collect();
    assert_eq!(decode(wav(FLOAT, 1, 16_000, 32, &float)).unwrap().samples, samples);
}

#[test]
fn floats_beyond_full_scale_clip_and_no_number_is_silence() {
    let float: Vec<u8> = [2.0_f32, -2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.5]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let clip = decode(wav(FLOAT, 1, 8_000, 32, &float)).unwrap();
    assert_eq!(clip.samples, [i16::MAX, i16::MIN, i16::MAX, i16::MIN, 0, 16_384]);
}

#[test]
fn channels_are_mixed_down_to_their_mean() {
    let stereo = le16(&[100, 300, -32_768, -32_768, 32_767, -32_767]);
    assert_eq!(decode(wav(PCM, 2, 8_000, 16, &stereo)).unwrap().samples, [200, -32_768, 0]);
    let four = le16(&[0, 0, 0, 400, 8, 8, 8, 8]);
    assert_eq!(decode(wav(PCM, 4, 8_000, 16, &four)).unwrap().samples, [100, 8]);
}

#[test]
fn aiff_is_read_too() {
    let samples = tone(8_000, 300);
    assert_eq!(decode(aiff_8khz(&samples)).unwrap(), Clip { rate_hz: 8_000, samples });
}

#[test]
fn a_recording_of_the_engine_is_read_finished_or_not() {
    let mut recorder = Recorder::new(8_000).unwrap();
    let samples = tone(8_000, 160);
    let (mut file, mut data) = (recorder.header().to_vec(), Vec::new());
    recorder.write_frame(&samples, &samples, &mut data).unwrap();
    file.extend_from_slice(&data);
    assert_eq!(decode(file.clone()).unwrap().samples, samples);
    file[..44].copy_from_slice(&recorder.finish());
    assert_eq!(decode(file).unwrap().samples, samples);
}

#[test]
fn a_reader_that_cannot_go_back_is_enough() {
    let samples = tone(8_000, 5_000);
    let file = wav(PCM, 1, 8_000, 16, &le16(&samples));
    let source = Source::from_reader(io::Cursor::new(file));
    assert_eq!(decode_file(source, &Options::default()).unwrap().samples, samples);
}

#[test]
fn frames_have_the_rate_of_the_call_and_end_in_silence() {
    let clip = Clip { rate_hz: 24_000, samples: tone(24_000, 24_000 + 100) };
    let frames = clip.to_frames(8_000).unwrap();
    assert_eq!(frames.len(), 51);
    assert!(frames.iter().all(|frame| frame.len() == 160));
    assert!(frames[50][40..].iter().all(|sample| *sample == 0));
    let level = offhook::audio::level::rms_dbfs(&frames[25]);
    assert!((level - offhook::audio::level::rms_dbfs(&clip.samples)).abs() < 0.1, "{level}");
    assert_eq!(clip.to_frames(0).unwrap_err().kind(), ErrorKind::ConfigInvalid);
}

#[test]
fn a_prompt_streams_what_a_clip_holds() {
    for (file_hz, call_hz) in [(8_000, 8_000), (16_000, 8_000), (22_050, 8_000), (8_000, 48_000)] {
        let file = wav(PCM, 1, file_hz, 16, &le16(&tone(file_hz, 10_007)));
        let clip = decode(file.clone()).unwrap();
        let prompt = Prompt::open(Source::from_bytes(file), &Options::default(), call_hz).unwrap();
        let frames: Vec<_> = prompt.map(Result::unwrap).collect();
        assert_eq!(frames, clip.to_frames(call_hz).unwrap(), "{file_hz} -> {call_hz}");
    }
}

#[test]
fn no_file_is_rejected() {
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("one byte", vec![0x52]),
        ("text", b"Once upon a time there was a telephone. ".repeat(50)),
        ("zeros", vec![0; 10_000]),
        ("a header alone", wav(PCM, 1, 8_000, 16, &[])),
    ];
    for (name, bytes) in cases {
        assert_eq!(decode(bytes).unwrap_err().kind(), ErrorKind::Rejected, "{name}");
    }
}

#[test]
fn a_file_cut_off_is_rejected_and_not_played_in_part() {
    let whole = wav(PCM, 1, 8_000, 16, &le16(&tone(8_000, 4_000)));
    for length in [13, 30, 43, 44, 46, 1_001, whole.len() - 1, whole.len() - 2] {
        assert_eq!(decode(whole[..length].to_vec()).unwrap_err().kind(), ErrorKind::Rejected, "{length} bytes");
    }
}

#[test]
fn opus_in_ogg_is_unsupported() {
    assert_eq!(decode(ogg_opus()).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_rate_beyond_reason_is_unsupported() {
    let file = wav(PCM, 1, 1_000, 16, &le16(&tone(8_000, 100)));
    assert_eq!(decode(file).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn numbers_that_break_the_decoder_are_rejected() {
    let mut no_width = wav(PCM, 1, 8_000, 16, &[0; 100]);
    no_width[34..36].fill(0);
    let mut no_channels = wav(PCM, 1, 8_000, 16, &[0; 100]);
    no_channels[22..24].fill(0);
    let mut no_rate = wav(PCM, 1, 8_000, 16, &[0; 100]);
    no_rate[24..28].fill(0);
    let adpcm_without_width = wav(ADPCM, 1, 8_000, 0, &[0; 100]);
    let adpcm_of_many_channels = wav(ADPCM, 0xffff, 8_000, 4, &[0; 100]);
    for file in [no_width, no_channels, no_rate, adpcm_without_width, adpcm_of_many_channels] {
        let kind = decode(file).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Rejected | ErrorKind::Unsupported), "{kind:?}");
    }
}

#[test]
fn the_limits_hold() {
    let file = wav(PCM, 1, 8_000, 16, &le16(&tone(8_000, 8_000)));
    let with = |bytes_max, duration_max| {
        let mut options = Options::default();
        options.limits = Limits { bytes_max, duration_max };
        let whole = decode_file(Source::from_bytes(file.clone()), &options).map(|_| ());
        let streamed = decode_file(Source::from_reader(io::Cursor::new(file.clone())), &options).map(|_| ());
        let prompt = Prompt::open(Source::from_bytes(file.clone()), &options, 8_000)
            .and_then(|prompt| prompt.collect::<Result<Vec<_>, _>>())
            .map(|_| ());
        [whole, streamed, prompt].map(|result| result.map_err(|error| error.kind()))
    };
    assert_eq!(with(16_044, Duration::from_secs(1)), [Ok(()); 3]);
    assert_eq!(with(16_043, Duration::from_secs(1)), [Err(ErrorKind::Rejected); 3]);
    assert_eq!(with(16_044, Duration::from_millis(999)), [Err(ErrorKind::Rejected); 3]);
    assert_eq!(with(16_044, Duration::ZERO), [Err(ErrorKind::Rejected); 3]);
}

#[test]
fn a_source_that_fails_is_unavailable() {
    let head = wav(PCM, 1, 8_000, 16, &[0; 200_000])[..100_000].to_vec();
    let source = Source::from_reader(io::Cursor::new(head).chain(Failing));
    assert_eq!(decode_file(source, &Options::default()).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_prompt_that_breaks_says_so_once_and_ends() {
    let whole = wav(PCM, 1, 8_000, 16, &le16(&tone(8_000, 8_000)));
    let source = Source::from_bytes(whole[..10_000].to_vec());
    let mut prompt = Prompt::open(source, &Options::default(), 8_000).unwrap();
    let errors = prompt.by_ref().filter(Result::is_err).count();
    assert_eq!(errors, 1);
    assert!(prompt.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_give_a_clip_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..500), kind in 0_usize..8) {
        let magic: [&[u8]; 8] =
            [b"", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"OggS", b"fLaC", b"ID3", b"\xff\xfb\x90\x00", b"FORM", b"\0\0\0\x18ftypM4A "];
        let _ = decode([magic[kind], &bytes].concat());
    }

    #[test]
    fn a_damaged_file_gives_a_clip_or_an_error(
        damage in prop::collection::vec((0_usize..400, any::<u8>()), 1..8),
        format in prop::sample::select(vec![PCM, ALAW, ULAW, FLOAT, ADPCM]),
        is_aiff in any::<bool>(),
    ) {
        let bits = if format == PCM { 16 } else if format == FLOAT { 32 } else { 8 };
        let samples = tone(8_000, 100);
        let mut file = if is_aiff { aiff_8khz(&samples) } else { wav(format, 1, 8_000, bits, &le16(&samples)) };
        for (at, byte) in damage {
            let at = at % file.len();
            file[at] = byte;
        }
        if let Ok(clip) = decode(file) {
            prop_assert!(!clip.samples.is_empty());
        }
    }
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
const ADPCM: u16 = 0x11;

fn decode(bytes: Vec<u8>) -> offhook::Result<Clip> {
    decode_file(Source::from_bytes(bytes), &Options::default())
}

/// A sine of 440 Hz at -6 dBFS.
fn tone(rate_hz: u32, samples: u32) -> Vec<i16> {
    let step = TAU * 440.0 / f64::from(rate_hz);
    (0..samples).map(|n| ((f64::from(n) * step).sin() * 16_384.0).round() as i16).collect()
}

fn le16(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// A WAV file; every format but PCM has a `fmt ` chunk with room for an extension.
fn wav(format: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = channels.wrapping_mul(bits / 8).max(1);
    let extension: &[u8] = match format {
        PCM => &[],
        // Samples of a block.
        ADPCM => &[2, 0, 9, 0],
        _ => &[0, 0],
    };
    let riff_bytes = (36 + extension.len() + data.len()) as u32;
    [
        b"RIFF",
        &riff_bytes.to_le_bytes()[..],
        b"WAVEfmt ",
        &(16 + extension.len() as u32).to_le_bytes(),
        &format.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate_hz.to_le_bytes(),
        &rate_hz.wrapping_mul(u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &bits.to_le_bytes(),
        extension,
        b"data",
        &(data.len() as u32).to_le_bytes(),
        data,
    ]
    .concat()
}

fn aiff_8khz(samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
    let mut file = Vec::new();
    file.extend_from_slice(b"FORM");
    file.extend_from_slice(&(46 + data.len() as u32).to_be_bytes());
    file.extend_from_slice(b"AIFFCOMM\0\0\0\x12\0\x01");
    file.extend_from_slice(&(samples.len() as u32).to_be_bytes());
    file.extend_from_slice(&16_u16.to_be_bytes());
    // 8000 as an 80-bit float.
    file.extend_from_slice(&[0x40, 0x0b, 0xfa, 0, 0, 0, 0, 0, 0, 0]);
    file.extend_from_slice(b"SSND");
    file.extend_from_slice(&(8 + data.len() as u32).to_be_bytes());
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&data);
    file
}

/// The head, the comments and a packet of silence, each on its page (RFC 7845).
fn ogg_opus() -> Vec<u8> {
    let head = b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0";
    let tags = b"OpusTags\0\0\0\0\0\0\0\0";
    [ogg_page(0, 2, 0, head), ogg_page(1, 0, 0, tags), ogg_page(2, 4, 960, &[0xf8, 0xff, 0xfe])].concat()
}

fn ogg_page(sequence: u32, flags: u8, granule: u64, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend_from_slice(&granule.to_le_bytes());
    page.extend_from_slice(&7_u32.to_le_bytes());
    page.extend_from_slice(&sequence.to_le_bytes());
    page.extend_from_slice(&[0; 4]);
    page.extend_from_slice(&[1, packet.len() as u8]);
    page.extend_from_slice(packet);
    let checksum = page.iter().fold(0_u32, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| {
            let carry = sum >> 31;
            (sum << 1) ^ (0x04c1_1db7 * carry)
        })
    });
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}
