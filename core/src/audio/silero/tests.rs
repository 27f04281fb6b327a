use proptest::prelude::*;

use super::super::simd::levels;
use super::*;

#[test]
fn the_layers_are_those_of_the_network() {
    for frame in [128, 256] {
        let weights = Weights::random(frame, 7);
        let silero = Silero::from_onnx(&weights.file()).unwrap();
        let (mut stream, mut workspace) = (silero.stream(weights.rate_hz()).unwrap(), silero.workspace(1));
        let mut reference = Reference::new(&weights);
        let mut spread = (1.0_f32, 0.0_f32);
        for window in noise(12 * stream.window(), 3).chunks_exact(stream.window()) {
            let probability = judge(&silero, &mut workspace, &mut stream, window);
            let expected = reference.judge(window) as f32;
            assert!((probability - expected).abs() < 1e-4, "{frame}: {probability} {expected}");
            spread = (spread.0.min(expected), spread.1.max(expected));
        }
        assert!(spread.1 - spread.0 > 0.02, "{spread:?} says little");
    }
}

#[test]
fn every_processor_finds_the_same_to_the_last_bit() {
    for frame in [128, 256] {
        let weights = Weights::random(frame, 1);
        let plain = Silero::from_onnx(&weights.file()).unwrap();
        let sound = noise(5 * frame * 2, 2);
        let judged: Vec<Vec<u32>> = levels()
            .into_iter()
            .map(|level| {
                let silero =
                    Silero { networks: plain.networks.iter().map(|network| network.clone().at(level)).collect() };
                let (mut stream, mut workspace) = (silero.stream(weights.rate_hz()).unwrap(), silero.workspace(4));
                let windows = sound.chunks_exact(stream.window);
                windows.map(|window| judge(&silero, &mut workspace, &mut stream, window).to_bits()).collect()
            })
            .collect();
        assert!(judged.iter().all(|one| *one == judged[0]), "{judged:?}");
    }
}

#[test]
fn streams_of_both_rates_share_a_file_a_workspace_and_a_batch() {
    let silero = both();
    let mut workspace = silero.workspace(LANES_MAX);
    let mut streams: Vec<_> = [8_000, 16_000, 16_000, 8_000].map(|rate_hz| silero.stream(rate_hz).unwrap()).into();
    let mut alone = streams.clone();
    let sounds: Vec<_> = streams.iter().zip(0..).map(|(stream, seed)| noise(stream.window(), seed)).collect();
    let together = batch(&silero, &mut workspace, &mut streams, &sounds);
    for ((stream, sound), probability) in alone.iter_mut().zip(&sounds).zip(together) {
        assert_eq!(judge(&silero, &mut workspace, stream, sound), probability);
    }
}

#[test]
fn windows_of_another_length_are_refused_before_any_is_judged() {
    let silero = both();
    let mut workspace = silero.workspace(1);
    let (mut one, mut other) = (silero.stream(8_000).unwrap(), silero.stream(16_000).unwrap());
    let mut windows = [
        SileroWindow { stream: &mut one, samples: &[9; 256], probability: 7.0 },
        SileroWindow { stream: &mut other, samples: &[9; 256], probability: 7.0 },
    ];
    let error = silero.judge(&mut workspace, &mut windows).unwrap_err();
    assert_eq!((error.kind(), windows[0].probability), (ErrorKind::ConfigInvalid, 7.0));
    assert!(silero.judge(&mut workspace, &mut []).is_ok());
    assert_eq!(silero.stream(44_100).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_stream_that_was_reset_is_as_new() {
    let silero = both();
    let mut workspace = silero.workspace(1);
    let mut stream = silero.stream(8_000).unwrap();
    let (quiet, loud) = ([0; 256], [i16::MIN; 256]);
    let first = judge(&silero, &mut workspace, &mut stream, &quiet);
    judge(&silero, &mut workspace, &mut stream, &loud);
    assert_ne!(judge(&silero, &mut workspace, &mut stream, &quiet), first);
    stream.reset();
    assert_eq!(judge(&silero, &mut workspace, &mut stream, &quiet), first);
}

#[test]
fn files_that_are_none_are_refused() {
    let weights = Weights::random(128, 1);
    let good = weights.file();
    for end in [0, 1, 2, 100, good.len() / 2, good.len() - 1] {
        assert_eq!(refusal(&good[..end]), ErrorKind::ConfigInvalid, "{end} bytes");
    }
    let spoil: [fn(&mut Weights); 7] = [
        |weights| weights.tensors[1].1[5] = f32::NAN,
        |weights| weights.tensors[9].1[5] = f32::INFINITY,
        |weights| weights.tensors[9].1[5] = -2e4,
        |weights| weights.tensors[0].1[200] += 0.01,
        |weights| weights.tensors[2].1.truncate(5),
        |weights| weights.tensors[0].1.truncate(5),
        |weights| weights.tensors[4].0.push('x'),
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        let mut weights = Weights::random(128, 1);
        spoil(&mut weights);
        assert_eq!(refusal(&weights.file()), ErrorKind::ConfigInvalid, "spoilt in way {index}");
    }
    let mut twice = weights.file();
    let renamed = Weights { prefix: "other.".to_owned(), ..Weights::random(128, 2) };
    twice.extend(renamed.file());
    assert_eq!(refusal(&twice), ErrorKind::ConfigInvalid);
    let nested =
        (0..100_000).fold(Vec::new(), |inner, _| if inner.len() < 1_000 { node(&message(6, &inner)) } else { inner });
    assert_eq!(refusal(&message(7, &nested)), ErrorKind::ConfigInvalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn together_is_as_alone_to_the_last_bit(seeds in prop::collection::vec(0_u64..50, 1..20), lanes in 0_usize..20) {
        let silero = Silero::from_onnx(&Weights::random(128, 5).file()).unwrap();
        let (mut workspace, mut single) = (silero.workspace(lanes), silero.workspace(1));
        let mut streams: Vec<_> = seeds.iter().map(|_| silero.stream(8_000).unwrap()).collect();
        let mut alone = streams.clone();
        for round in 0..3 {
            let sounds: Vec<_> = seeds.iter().map(|seed| noise(256, seed + round)).collect();
            let together = batch(&silero, &mut workspace, &mut streams, &sounds);
            for ((stream, sound), probability) in alone.iter_mut().zip(&sounds).zip(together) {
                prop_assert_eq!(judge(&silero, &mut single, stream, sound).to_bits(), probability.to_bits());
            }
        }
    }

    #[test]
    fn any_sound_has_a_probability(samples in prop::collection::vec(any::<i16>(), 256)) {
        let silero = Silero::from_onnx(&Weights::random(128, 9).file()).unwrap();
        let (mut stream, mut workspace) = (silero.stream(8_000).unwrap(), silero.workspace(1));
        for _ in 0..3 {
            prop_assert!((0.0..=1.0).contains(&judge(&silero, &mut workspace, &mut stream, &samples)));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..20_000) {
        prop_assert!(Silero::from_onnx(&bytes).is_err());
        let mut file = Weights::random(128, 1).file();
        bytes.truncate(4);
        for (to, byte) in file[at..].iter_mut().zip(&bytes) {
            *to = *byte;
        }
        let _ = Silero::from_onnx(&file);
    }
}

fn judge(silero: &Silero, workspace: &mut SileroWorkspace, stream: &mut SileroStream, samples: &[i16]) -> f32 {
    let mut windows = [SileroWindow { stream, samples, probability: f32::NAN }];
    silero.judge(workspace, &mut windows).unwrap();
    windows[0].probability
}

fn batch(
    silero: &Silero,
    workspace: &mut SileroWorkspace,
    streams: &mut [SileroStream],
    sounds: &[Vec<i16>],
) -> Vec<f32> {
    let pairs = streams.iter_mut().zip(sounds);
    let mut windows: Vec<_> =
        pairs.map(|(stream, samples)| SileroWindow { stream, samples, probability: f32::NAN }).collect();
    silero.judge(workspace, &mut windows).unwrap();
    windows.iter().map(|window| window.probability).collect()
}

fn both() -> Silero {
    let mut file = Weights::random(128, 1).file();
    file.extend(Weights { prefix: "wide.".to_owned(), ..Weights::random(256, 2) }.file());
    Silero::from_onnx(&file).unwrap()
}

fn refusal(bytes: &[u8]) -> ErrorKind {
    Silero::from_onnx(bytes).unwrap_err().kind()
}

fn noise(length: usize, seed: u64) -> Vec<i16> {
    let mut random = Random(seed);
    (0..length).map(|_| (random.next() * 20_000.0) as i16).collect()
}

struct Random(u64);

impl Random {
    /// Between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Weights by chance, named as in the real file.
struct Weights {
    prefix: String,
    frame: usize,
    tensors: Vec<(String, Vec<f32>)>,
}

impl Weights {
    fn random(frame: usize, seed: u64) -> Self {
        let (bins, mut random) = (frame / 2 + 1, Random(seed));
        let angle = |bin: usize, index: usize| std::f64::consts::TAU * (bin * index) as f64 / frame as f64;
        let hann = |index: usize| 0.5 - 0.5 * angle(1, index).cos();
        let cosines =
            (0..bins).flat_map(|bin| (0..frame).map(move |index| (hann(index) * angle(bin, index).cos()) as f32));
        let sines =
            (0..bins).flat_map(|bin| (0..frame).map(move |index| (-hann(index) * angle(bin, index).sin()) as f32));
        let mut tensors = vec![("stft.forward_basis_buffer".to_owned(), cosines.chain(sines).collect())];
        let mut add = |name: &str, count: usize, scale: f32| {
            tensors.push((name.to_owned(), (0..count).map(|_| random.next() * scale).collect()));
        };
        for (index, (rows, channels)) in [(128, bins), (64, 128), (64, 64), (128, 64)].into_iter().enumerate() {
            add(&format!("encoder.{index}.reparam_conv.weight"), rows * channels * 3, 0.1);
            add(&format!("encoder.{index}.reparam_conv.bias"), rows, 0.1);
        }
        for part in ["ih", "hh"] {
            add(&format!("decoder.rnn.weight_{part}"), 512 * 128, 0.1);
            add(&format!("decoder.rnn.bias_{part}"), 512, 0.1);
        }
        add("decoder.decoder.2.weight", 128, 0.5);
        add("decoder.decoder.2.bias", 1, 0.5);
        Self { prefix: "branch.".to_owned(), frame, tensors }
    }

    fn rate_hz(&self) -> u32 {
        if self.frame == 256 { 16_000 } else { 8_000 }
    }

    fn tensor(&self, name: &str) -> &[f32] {
        &self.tensors.iter().find(|(other, _)| other == name).unwrap().1
    }

    /// An ONNX file: half of the tensors as constants of a graph within a node, half as initialisers.
    fn file(&self) -> Vec<u8> {
        let mut inner = Vec::new();
        for (index, (name, numbers)) in self.tensors.iter().enumerate() {
            let name = format!("{}{name}", self.prefix);
            let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let tensor = [[0x10, 1].as_slice(), &message(9, &raw)].concat();
            inner.extend(if index % 2 == 0 {
                let attribute = message(5, &[message(1, b"value"), message(5, &tensor)].concat());
                message(1, &[message(2, name.as_bytes()), attribute].concat())
            } else {
                message(5, &[tensor, message(8, name.as_bytes())].concat())
            });
        }
        message(7, &node(&message(6, &inner)))
    }
}

/// A node with one attribute.
fn node(attribute: &[u8]) -> Vec<u8> {
    message(1, &message(5, attribute))
}

/// Bytes under a field number of Protocol Buffers.
fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend(bytes);
    message
}

/// The network as its graph says it, layer by layer, in double precision.
struct Reference<'a> {
    weights: &'a Weights,
    context: Vec<f64>,
    hidden: Vec<f64>,
    cells: Vec<f64>,
}

impl<'a> Reference<'a> {
    fn new(weights: &'a Weights) -> Self {
        Self { weights, context: vec![0.0; weights.frame / 4], hidden: vec![0.0; 128], cells: vec![0.0; 128] }
    }

    fn judge(&mut self, samples: &[i16]) -> f64 {
        let frame = self.weights.frame;
        let mut sound = self.context.clone();
        sound.extend(samples.iter().map(|sample| f64::from(*sample) / 32_768.0));
        self.context = sound[sound.len() - frame / 4..].to_vec();
        let end = sound.len();
        sound.extend((0..frame / 4).map(|index| sound[end - 2 - index]).collect::<Vec<_>>());
        let basis = self.weights.tensor("stft.forward_basis_buffer");
        let (cosines, sines) = basis.split_at(basis.len() / 2);
        let product = |row: &[f32], at: usize| -> f64 {
            row.iter().zip(&sound[at..]).map(|(weight, sample)| f64::from(*weight) * sample).sum()
        };
        let mut columns: Vec<Vec<f64>> = (0..4)
            .map(|column| {
                let rows = cosines.chunks(frame).zip(sines.chunks(frame));
                rows.map(|(cos, sin)| product(cos, column * frame / 2).hypot(product(sin, column * frame / 2)))
                    .collect()
            })
            .collect();
        for (layer, stride) in [1, 2, 2, 1].into_iter().enumerate() {
            columns = self.convolve(layer, stride, &columns);
        }
        self.remember(&columns[0])
    }

    fn convolve(&self, layer: usize, stride: usize, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let weights = self.weights.tensor(&format!("encoder.{layer}.reparam_conv.weight"));
        let bias = self.weights.tensor(&format!("encoder.{layer}.reparam_conv.bias"));
        let channels = columns[0].len();
        let at = |column: usize, row: usize| -> f64 {
            let taps = (0..3).filter_map(|tap| Some((tap, columns.get((column * stride + tap).checked_sub(1)?)?)));
            let products = taps.flat_map(|(tap, column)| {
                (0..channels)
                    .map(move |channel| f64::from(weights[(row * channels + channel) * 3 + tap]) * column[channel])
            });
            (products.sum::<f64>() + f64::from(bias[row])).max(0.0)
        };
        (0..columns.len().div_ceil(stride)).map(|column| (0..bias.len()).map(|row| at(column, row)).collect()).collect()
    }

    fn remember(&mut self, input: &[f64]) -> f64 {
        let tensor = |name: &str| self.weights.tensor(name);
        let gate = |row: usize| -> f64 {
            let product = |name: &str, with: &[f64]| -> f64 {
                tensor(name)[row * 128..].iter().zip(with).map(|(weight, value)| f64::from(*weight) * value).sum()
            };
            let bias = tensor("decoder.rnn.bias_ih")[row] + tensor("decoder.rnn.bias_hh")[row];
            product("decoder.rnn.weight_ih", input) + product("decoder.rnn.weight_hh", &self.hidden) + f64::from(bias)
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let gates: Vec<f64> = (0..512).map(gate).collect();
        for index in 0..128 {
            let kept = sigmoid(gates[128 + index]) * self.cells[index];
            self.cells[index] = kept + sigmoid(gates[index]) * gates[256 + index].tanh();
            self.hidden[index] = sigmoid(gates[384 + index]) * self.cells[index].tanh();
        }
        let weights = tensor("decoder.decoder.2.weight").iter();
        let sum: f64 = weights.zip(&self.hidden).map(|(weight, hidden)| f64::from(*weight) * hidden.max(0.0)).sum();
        sigmoid(sum + f64::from(tensor("decoder.decoder.2.bias")[0]))
    }
}
