//! What a caller plays: sound at the rate of the telephone, spoken by a synthesiser or read from a file.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use offhook::audio::Resampler;
use offhook::provider::TextToSpeech;
use offhook::provider::tts::{TtsEvent, TtsInput, TtsOptions};
use offhook_media::{Options, Source, decode_file};

use crate::blocking;
use crate::failure::{Failure, Outcome};

/// Samples per second of a telephone line.
pub const RATE_HZ: u32 = 8_000;

/// Samples at or below this are silence: -50 dBFS.
pub const SILENCE_LEVEL: u16 = 104;

/// Longest wait for the synthesis of one text.
const SYNTHESIS_TIMEOUT: Duration = Duration::from_secs(30);

/// Says `text` in `voice`, cut to the sound: it begins and ends with a sample that is heard.
pub async fn spoken(tts: &dyn TextToSpeech, voice: &str, text: &str) -> Outcome<Vec<i16>> {
    let made = tokio::time::timeout(SYNTHESIS_TIMEOUT, synthesized(tts, voice, text)).await;
    let samples = made.map_err(|_| Failure::new("the caller's voice does not get ready"))??;
    let samples = trimmed(&samples);
    if samples.is_empty() {
        return Err(Failure::usage(format_args!("there is nothing to say in {text:?}")));
    }
    Ok(samples.to_vec())
}

/// Reads a sound file of any known format.
pub async fn read(path: &Path) -> Outcome<Vec<i16>> {
    let owned = path.to_owned();
    blocking::run(format_args!("cannot play {}", path.display()), move || read_blocking(&owned)).await
}

/// `samples` from the first to the last that is heard.
pub fn trimmed(samples: &[i16]) -> &[i16] {
    let first = samples.iter().position(is_heard);
    let last = samples.iter().rposition(is_heard);
    match (first, last) {
        (Some(first), Some(last)) => &samples[first..=last],
        _ => &[],
    }
}

/// `samples` with no pause longer than `pause_max`: Pico halts at a comma for longer than people who read a number out.
pub fn hurried(samples: &[i16], pause_max: Duration) -> Vec<i16> {
    let edge = usize::try_from(pause_max.as_millis() * u128::from(RATE_HZ) / 2_000).unwrap_or(usize::MAX);
    let mut hurried = Vec::with_capacity(samples.len());
    let mut rest = samples;
    while let Some(sound) = rest.iter().position(is_heard) {
        if sound > edge.saturating_mul(2) {
            hurried.extend_from_slice(&rest[..edge]);
            hurried.extend_from_slice(&rest[sound - edge..=sound]);
        } else {
            hurried.extend_from_slice(&rest[..=sound]);
        }
        rest = &rest[sound + 1..];
    }
    hurried.extend_from_slice(rest);
    hurried
}

/// Whether a sample is more than silence.
pub fn is_heard(sample: &i16) -> bool {
    sample.unsigned_abs() > SILENCE_LEVEL
}

async fn synthesized(tts: &dyn TextToSpeech, voice: &str, text: &str) -> Outcome<Vec<i16>> {
    let rates_hz = tts.capabilities().rates_hz;
    let rate_hz = if rates_hz.contains(&RATE_HZ) { RATE_HZ } else { rates_hz.first().copied().unwrap_or(RATE_HZ) };
    let mut options = TtsOptions::new(voice, rate_hz);
    options.voice = Some(voice.to_owned());
    let input = stream::iter([TtsInput::Text(text.to_owned()), TtsInput::Flush]).boxed();
    let mut events = tts.synthesize(options, input).await?;
    let mut resampler = Resampler::new(rate_hz, RATE_HZ)?.aligned();
    let mut samples = Vec::new();
    while let Some(event) = events.next().await {
        if let TtsEvent::Audio(audio) = event? {
            resampler.process(&audio, &mut samples);
        }
    }
    resampler.flush(&mut samples);
    Ok(samples)
}

fn read_blocking(path: &Path) -> Outcome<Vec<i16>> {
    let file = File::open(path).map_err(Failure::new)?;
    let mut options = Options::default();
    options.extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_owned);
    let clip = decode_file(Source::from_file(file), &options)?;
    Ok(clip.to_rate(RATE_HZ)?.samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_cut_from_both_ends() {
        assert_eq!(trimmed(&[0, 9, 500, 0, -500, 3]), [500, 0, -500]);
        assert!(trimmed(&[0, 9, -9]).is_empty());
    }

    #[test]
    fn long_pauses_are_shortened_and_short_ones_stay() {
        let second = [vec![500], vec![0; 7_999], vec![500; 3], vec![0; 100], vec![500]].concat();
        let hurried = hurried(&second, Duration::from_millis(200));
        assert_eq!(hurried, [vec![500], vec![0; 1_600], vec![500; 3], vec![0; 100], vec![500]].concat());
    }

    #[tokio::test]
    async fn what_is_no_sound_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter.wav");
        std::fs::write(&path, "Dear all").unwrap();
        let message = read(&path).await.unwrap_err().to_string();
        assert!(message.contains("letter.wav"), "{message}");
        assert!(read(folder.path()).await.is_err());
    }
}
