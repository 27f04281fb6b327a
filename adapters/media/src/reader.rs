//! A file as blocks of mono samples: the one place that knows symphonia.
//!
//! symphonia is memory-safe but computes with numbers out of the file, and some of its arithmetic panics on hostile ones
//! (a multiplication that overflows in a debug build, a division by a width of zero). A file must not take a call down, so
//! a panic in here is caught and becomes the error that it should have been.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use offhook::audio::resample::{RATE_HZ_MAX, RATE_HZ_MIN};
use offhook::{Error, ErrorKind, Result};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_AIFF, FORMAT_ID_FLAC, FORMAT_ID_WAVE};
use symphonia::core::formats::{FormatId, FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use crate::{Options, Source};

/// Packets of noise in a row that a decoder may skip before the file counts as broken.
const BAD_PACKETS_MAX: u32 = 16;
/// Packets in a row, of any track, that may bring no sound.
const SILENT_PACKETS_MAX: u32 = 65_536;

/// Formats that say how many samples they hold. Of the others the number is a guess, made from a bit rate.
const EXACT_FORMATS: [FormatId; 3] = [FORMAT_ID_AIFF, FORMAT_ID_FLAC, FORMAT_ID_WAVE];

/// Reads the first audio track of a file.
pub(crate) struct Reader {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate_hz: u32,
    /// Decoded and not yet taken.
    first: Option<Block>,
    /// Samples decoded of one channel.
    decoded: u64,
    decoded_max: u64,
    /// Samples of one channel that the file claims to hold, where it knows.
    claimed: Option<u64>,
    ended: bool,
}

struct Block {
    rate_hz: u32,
    samples: Vec<i16>,
}

impl Reader {
    /// Opens a file and decodes its first sound.
    pub(crate) fn open(source: Source, options: &Options) -> Result<Self> {
        guarded(|| Self::open_unguarded(source, options))
    }

    /// Samples per second.
    pub(crate) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Appends the next block of samples; false at the end of the file. After an error there is nothing more.
    pub(crate) fn read(&mut self, samples: &mut Vec<i16>) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let result = guarded(|| self.next_block());
        let Ok(Some(block)) = result else {
            self.ended = true;
            return result.map(|_| false);
        };
        samples.extend_from_slice(&block.samples);
        Ok(true)
    }

    fn open_unguarded(source: Source, options: &Options) -> Result<Self> {
        let bytes_max = options.limits.bytes_max;
        match source.len() {
            Some(0) => return Err(rejected("the file is empty")),
            Some(bytes) if bytes > bytes_max => return Err(too_large(bytes_max)),
            Some(_) | None => {}
        }
        let mut hint = Hint::new();
        if let Some(extension) = &options.extension {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(source.limited(bytes_max), MediaSourceStreamOptions::default());
        let format = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|error| map(Stage::Recognise, error))?;
        let track = format.default_track(TrackType::Audio).ok_or_else(|| rejected("the file holds no sound"))?;
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
        let parameters = parameters.ok_or_else(|| rejected("the file does not say how its sound is coded"))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| map(Stage::Decode, error))?;
        let mut reader = Self {
            track: track.id,
            rate_hz: 0,
            first: None,
            decoded: 0,
            decoded_max: u64::MAX,
            claimed: track.num_frames.filter(|_| EXACT_FORMATS.contains(&format.format_info().format)),
            ended: false,
            format,
            decoder,
        };
        reader.begin(options)?;
        Ok(reader)
    }

    /// Takes the rate from the first block, because a header may lie or be silent.
    fn begin(&mut self, options: &Options) -> Result<()> {
        let Some(block) = self.next_block()? else {
            return Err(rejected("the file holds no sound"));
        };
        if !(RATE_HZ_MIN..=RATE_HZ_MAX).contains(&block.rate_hz) {
            return Err(Error::unsupported(OPERATION, "a sample rate outside 4 to 192 kHz")
                .with_context("rate_hz", block.rate_hz));
        }
        self.rate_hz = block.rate_hz;
        let samples_max = options.limits.duration_max.as_nanos() * u128::from(self.rate_hz) / 1_000_000_000;
        self.decoded_max = u64::try_from(samples_max).unwrap_or(u64::MAX);
        self.check_length()?;
        self.first = Some(block);
        Ok(())
    }

    fn next_block(&mut self) -> Result<Option<Block>> {
        if let Some(block) = self.first.take() {
            return Ok(Some(block));
        }
        let mut bad_packets = 0;
        for _ in 0..SILENT_PACKETS_MAX {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return self.at_end().map(|()| None),
                // Readers that do not know their length run into the end of the source.
                Err(MediaError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.at_end().map(|()| None);
                }
                Err(error) => return Err(map(Stage::Decode, error)),
            };
            let sound = match self.decoder.decode(&packet) {
                Ok(sound) => sound,
                Err(MediaError::DecodeError(_) | MediaError::IoError(_)) if bad_packets < BAD_PACKETS_MAX => {
                    bad_packets += 1;
                    continue;
                }
                Err(error) => return Err(map(Stage::Decode, error)),
            };
            if sound.frames() == 0 {
                continue;
            }
            let (rate_hz, channels) = (sound.spec().rate(), sound.spec().channels().count());
            let mut interleaved: Vec<f32> = Vec::new();
            sound.copy_to_vec_interleaved(&mut interleaved);
            let block = Block { rate_hz, samples: mixed_down(&interleaved, channels) };
            return self.counted(block).map(Some);
        }
        Err(rejected("the file goes on without sound"))
    }

    fn counted(&mut self, block: Block) -> Result<Block> {
        if self.rate_hz != 0 && block.rate_hz != self.rate_hz {
            return Err(Error::unsupported(OPERATION, "a file that changes its sample rate"));
        }
        self.decoded += block.samples.len() as u64;
        self.check_length()?;
        Ok(block)
    }

    fn check_length(&self) -> Result<()> {
        if self.decoded > self.decoded_max {
            return Err(rejected("the file is longer than the limit").with_context("samples_max", self.decoded_max));
        }
        Ok(())
    }

    /// A file that ends before the length it claims was cut.
    fn at_end(&self) -> Result<()> {
        match self.claimed {
            Some(claimed) if self.decoded < claimed => {
                Err(truncated().with_context("samples_claimed", claimed).with_context("samples_found", self.decoded))
            }
            Some(_) | None => Ok(()),
        }
    }
}

const OPERATION: &str = "media.decode";

/// The mean of all channels, as 16-bit samples.
fn mixed_down(interleaved: &[f32], channels: usize) -> Vec<i16> {
    let channels = channels.max(1);
    let scale = 32_768.0 / channels as f32;
    let mean = |frame: &[f32]| (frame.iter().sum::<f32>() * scale).round() as i16;
    interleaved.chunks_exact(channels).map(mean).collect()
}

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(rejected("the file breaks the rules of its format")))
}

#[derive(Clone, Copy)]
enum Stage {
    Decode,
    Recognise,
}

fn map(stage: Stage, error: MediaError) -> Error {
    let mapped = match (stage, &error) {
        (_, MediaError::IoError(error)) => match error.kind() {
            io::ErrorKind::FileTooLarge => rejected("the file is larger than the limit"),
            io::ErrorKind::UnexpectedEof => truncated(),
            _ => Error::new(ErrorKind::Unavailable, OPERATION, "the file could not be read"),
        },
        (Stage::Recognise, MediaError::Unsupported(_)) => rejected("this is no sound file of a known format"),
        (_, MediaError::Unsupported(_)) => Error::unsupported(OPERATION, "the coding of this sound"),
        (_, MediaError::ResetRequired) => {
            Error::unsupported(OPERATION, "a file of several streams one after the other")
        }
        (_, MediaError::LimitError(_)) => rejected("the file has a part that is too large"),
        (_, _) => rejected("the file breaks the rules of its format"),
    };
    mapped.with_source(error)
}

fn rejected(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, OPERATION, message)
}

fn too_large(bytes_max: u64) -> Error {
    rejected("the file is larger than the limit").with_context("bytes_max", bytes_max)
}

fn truncated() -> Error {
    rejected("the file ends before the sound does")
}
