//! Opus (RFC 6716) behind core's [`Encode`] and [`Decode`], by libopus.
//!
//! One call makes or reads one packet; a stream of packets is cut by its transport, such as RTP (RFC 7587).

use offhook::audio::codec::{Decode, Encode};
use offhook::{Error, ErrorKind, Result};
use opus::{Application, Bitrate, Channels};

/// The rates that Opus knows.
pub const RATES_HZ: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];

/// Bytes of a packet at most, as libopus advises.
pub const PACKET_BYTES_MAX: usize = 4_000;

/// What an [`OpusEncoder`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpusSettings {
    /// One of [`RATES_HZ`].
    pub rate_hz: u32,
    /// 6,000 to 510,000.
    pub bits_per_second: i32,
    /// How much work a frame is worth, 0 to 10.
    pub complexity: i32,
    /// Packets that are likely to be lost, in percent: with more than none, each carries some of the one before.
    pub loss_percent: i32,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self { rate_hz: 16_000, bits_per_second: 24_000, complexity: 5, loss_percent: 0 }
    }
}

/// Makes a packet of every frame.
#[derive(Debug)]
pub struct OpusEncoder {
    encoder: opus::Encoder,
}

impl OpusEncoder {
    /// For mono speech.
    ///
    /// `ConfigInvalid` for settings out of their bounds.
    pub fn new(settings: OpusSettings) -> Result<Self> {
        let invalid =
            |error| Error::new(ErrorKind::ConfigInvalid, ENCODE, "libopus refused the settings").with_source(error);
        let mut encoder = opus::Encoder::new(settings.rate_hz, Channels::Mono, Application::Voip).map_err(invalid)?;
        encoder.set_bitrate(Bitrate::Bits(settings.bits_per_second)).map_err(invalid)?;
        encoder.set_complexity(settings.complexity).map_err(invalid)?;
        encoder.set_packet_loss_perc(settings.loss_percent).map_err(invalid)?;
        encoder.set_inband_fec(settings.loss_percent > 0).map_err(invalid)?;
        Ok(Self { encoder })
    }
}

impl Encode for OpusEncoder {
    /// Takes 2.5, 5, 10, 20, 40 or 60 ms; of any other length is `ConfigInvalid`.
    fn encode(&mut self, samples: &[i16], bytes: &mut Vec<u8>) -> Result<()> {
        let start = bytes.len();
        bytes.resize(start + PACKET_BYTES_MAX, 0);
        let written = self.encoder.encode(samples, &mut bytes[start..]);
        bytes.truncate(start + written.as_ref().copied().unwrap_or(0));
        written.map(drop).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, ENCODE, "Opus has no packet of this length").with_source(error)
        })
    }
}

/// Reads packets, and makes up lost ones.
#[derive(Debug)]
pub struct OpusDecoder {
    decoder: opus::Decoder,
    rate_hz: u32,
}

impl OpusDecoder {
    /// To mono at one of [`RATES_HZ`], whatever the encoder's was.
    ///
    /// `ConfigInvalid` for another rate.
    pub fn new(rate_hz: u32) -> Result<Self> {
        let decoder = opus::Decoder::new(rate_hz, Channels::Mono).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, DECODE, "Opus has five rates, and this is none of them")
                .with_context("rate_hz", rate_hz)
                .with_source(error)
        })?;
        Ok(Self { decoder, rate_hz })
    }

    fn append(&mut self, packet: &[u8], samples_max: usize, samples: &mut Vec<i16>) -> Result<()> {
        let start = samples.len();
        samples.resize(start + samples_max, 0);
        let made = self.decoder.decode(packet, &mut samples[start..], false);
        samples.truncate(start + made.as_ref().copied().unwrap_or(0));
        made.map(drop)
            .map_err(|error| Error::new(ErrorKind::Unexpected, DECODE, "not a packet of Opus").with_source(error))
    }
}

impl Decode for OpusDecoder {
    /// `Unexpected` for what is no packet of Opus; an empty one is none.
    fn decode(&mut self, bytes: &[u8], samples: &mut Vec<i16>) -> Result<()> {
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::Unexpected, DECODE, "an empty packet"));
        }
        self.append(bytes, samples_in(PACKET_MS_MAX * 1_000, self.rate_hz), samples)
    }

    /// Made up by libopus in pieces of 2.5 ms, and silent after the last whole one.
    fn conceal(&mut self, length: usize, samples: &mut Vec<i16>) -> Result<()> {
        let wanted = samples.len() + length;
        let piece = samples_in(PIECE_US, self.rate_hz);
        let longest = samples_in(PACKET_MS_MAX * 1_000, self.rate_hz);
        while wanted - samples.len() >= piece {
            let rest = (wanted - samples.len()).min(longest);
            self.append(&[], rest / piece * piece, samples)?;
        }
        samples.resize(wanted, 0);
        Ok(())
    }
}

const ENCODE: &str = "opus.encode";
const DECODE: &str = "opus.decode";
/// RFC 6716, 3.1: what a packet plays at most.
const PACKET_MS_MAX: u32 = 120;
/// What a packet plays at least.
const PIECE_US: u32 = 2_500;

const fn samples_in(micros: u32, rate_hz: u32) -> usize {
    (micros as u64 * rate_hz as u64 / 1_000_000) as usize
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn speech_comes_back_at_any_rate() {
        for from_hz in RATES_HZ {
            for to_hz in RATES_HZ {
                let mut encoder =
                    OpusEncoder::new(OpusSettings { rate_hz: from_hz, ..OpusSettings::default() }).unwrap();
                let mut decoder = OpusDecoder::new(to_hz).unwrap();
                let mut back = Vec::new();
                for frame in 0..50 {
                    let mut packet = Vec::new();
                    encoder.encode(&tone(from_hz, frame), &mut packet).unwrap();
                    // 24 kbit/s are 60 bytes a frame.
                    assert!((3..200).contains(&packet.len()), "{}", packet.len());
                    decoder.decode(&packet, &mut back).unwrap();
                }
                assert_eq!(back.len(), to_hz as usize);
                let level = rms(&back[back.len() / 2..]);
                assert!((level / rms(&tone(from_hz, 0)) - 1.0).abs() < 0.2, "{from_hz} -> {to_hz}: {level}");
            }
        }
    }

    #[test]
    fn a_lost_packet_is_made_up() {
        let mut encoder = OpusEncoder::new(OpusSettings { loss_percent: 10, ..OpusSettings::default() }).unwrap();
        let mut decoder = OpusDecoder::new(16_000).unwrap();
        let mut back = Vec::new();
        for frame in 0..20 {
            let mut packet = Vec::new();
            encoder.encode(&tone(16_000, frame), &mut packet).unwrap();
            decoder.decode(&packet, &mut back).unwrap();
        }
        let start = back.len();
        decoder.conceal(323, &mut back).unwrap();
        assert_eq!(back.len(), start + 323);
        assert!(rms(&back[start..]) > 1_000.0);
    }

    #[test]
    fn what_opus_does_not_know_is_refused() {
        let settings = OpusSettings::default();
        for settings in [
            OpusSettings { rate_hz: 44_100, ..settings },
            OpusSettings { bits_per_second: -7, ..settings },
            OpusSettings { complexity: 11, ..settings },
            OpusSettings { loss_percent: 101, ..settings },
        ] {
            assert_eq!(OpusEncoder::new(settings).unwrap_err().kind(), ErrorKind::ConfigInvalid, "{settings:?}");
        }
        assert_eq!(OpusDecoder::new(11_025).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        let mut bytes = vec![1];
        let mut encoder = OpusEncoder::new(settings).unwrap();
        assert_eq!(encoder.encode(&[0; 321], &mut bytes).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert_eq!(bytes, [1]);
        let mut samples = vec![2];
        let mut decoder = OpusDecoder::new(16_000).unwrap();
        assert_eq!(decoder.decode(&[], &mut samples).unwrap_err().kind(), ErrorKind::Unexpected);
        assert_eq!(decoder.decode(&[0xff; 3], &mut samples).unwrap_err().kind(), ErrorKind::Unexpected);
        assert_eq!(samples, [2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut decoder = OpusDecoder::new(16_000).unwrap();
            for packet in packets {
                let mut samples = Vec::new();
                let result = decoder.decode(&packet, &mut samples);
                prop_assert!(samples.len() <= 1_920 && (result.is_ok() || samples.is_empty()));
            }
        }
    }

    fn tone(rate_hz: u32, frame: u32) -> Vec<i16> {
        let samples = rate_hz / 50;
        let at = |n: u32| TAU * 440.0 * f64::from(frame * samples + n) / f64::from(rate_hz);
        (0..samples).map(|n| (8_000.0 * at(n).sin()) as i16).collect()
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }
}
