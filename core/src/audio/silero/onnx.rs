//! The tensors of an ONNX file, which is a Protocol Buffers message (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>):
//! only what it takes to find constants by their names.

use std::collections::BTreeMap;

use super::network::{Network, Tensors};

/// The networks that a file holds, one a rate; says what is wrong with it.
pub(super) fn networks(bytes: &[u8]) -> Result<Vec<Network>, &'static str> {
    let mut tensors = BTreeMap::new();
    graphs(field(bytes, MODEL_GRAPH), 0, &mut tensors)?;
    let mut networks: Vec<Network> = Vec::new();
    for (name, basis) in &tensors {
        let Some(prefix) = name.strip_suffix(BASIS) else { continue };
        let network = network(prefix, basis, &tensors)?;
        if networks.iter().any(|other| other.rate_hz() == network.rate_hz()) {
            return Err("two networks are for one rate");
        }
        networks.push(network);
    }
    if networks.is_empty() {
        return Err("no Silero network is in there");
    }
    Ok(networks)
}

fn network(prefix: &str, basis: &[f32], tensors: &BTreeMap<&str, Vec<f32>>) -> Result<Network, &'static str> {
    let tensor = |name: &str| {
        let tensor = tensors.get(format!("{prefix}{name}").as_str());
        tensor.map(Vec::as_slice).ok_or("a layer is missing")
    };
    let layer = |name: &str, parts: [&str; 2]| -> Result<_, &'static str> {
        Ok((tensor(&format!("{name}{}", parts[0]))?, tensor(&format!("{name}{}", parts[1]))?))
    };
    let convolution = |index: usize| layer(&format!("encoder.{index}.reparam_conv."), ["weight", "bias"]);
    let length = match basis.len() {
        // Cosines and sines of 65 and 129 pitches.
        16_640 => 128,
        66_048 => 256,
        _ => return Err("the spectrum has another length"),
    };
    Network::new(
        length,
        &Tensors {
            basis,
            encoder: [convolution(0)?, convolution(1)?, convolution(2)?, convolution(3)?],
            input: layer("decoder.rnn.", ["weight_ih", "bias_ih"])?,
            hidden: layer("decoder.rnn.", ["weight_hh", "bias_hh"])?,
            decoder: layer("decoder.decoder.2.", ["weight", "bias"])?,
        },
    )
}

/// What all names of a network's tensors have in common stands before this one's.
const BASIS: &str = "stft.forward_basis_buffer";

/// Graphs within graphs, of which Silero has three levels.
const DEPTH_MAX: usize = 8;

/// Field numbers.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const NODE_OUTPUT: u64 = 2;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_TENSOR: u64 = 5;
const ATTRIBUTE_GRAPH: u64 = 6;
const TENSOR_TYPE: u64 = 2;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW: u64 = 9;
const TYPE_FLOAT: u64 = 1;

type Found<'a> = BTreeMap<&'a str, Vec<f32>>;

fn graphs<'a>(
    messages: impl Iterator<Item = Result<&'a [u8], &'static str>>,
    depth: usize,
    found: &mut Found<'a>,
) -> Result<(), &'static str> {
    for graph in messages {
        let graph = graph?;
        if depth == DEPTH_MAX {
            return Err("graphs are nested too deeply");
        }
        for tensor in field(graph, GRAPH_INITIALIZER) {
            let tensor = tensor?;
            let name = field(tensor, TENSOR_NAME).next().unwrap_or(Ok(&[]))?;
            keep(name, tensor, found)?;
        }
        for node in field(graph, GRAPH_NODE) {
            let node = node?;
            // A constant bears the name of what its node yields.
            let name = field(node, NODE_OUTPUT).next().unwrap_or(Ok(&[]))?;
            for attribute in field(node, NODE_ATTRIBUTE) {
                let attribute = attribute?;
                for tensor in field(attribute, ATTRIBUTE_TENSOR) {
                    keep(name, tensor?, found)?;
                }
                graphs(field(attribute, ATTRIBUTE_GRAPH), depth + 1, found)?;
            }
        }
    }
    Ok(())
}

fn keep<'a>(name: &'a [u8], tensor: &'a [u8], found: &mut Found<'a>) -> Result<(), &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "a name is no text")?;
    let is_float = Fields(tensor).any(|field| matches!(field, Ok((TENSOR_TYPE, Value::Number(TYPE_FLOAT)))));
    let Some(raw) = field(tensor, TENSOR_RAW).next().filter(|_| is_float) else { return Ok(()) };
    let (numbers, rest) = raw?.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("a tensor ends within a number");
    }
    found.insert(name, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
    Ok(())
}

/// The nested messages and texts under one field number.
fn field(message: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], &'static str>> {
    Fields(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The fields of a message, to its end or its first fault.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or("this is no ONNX file, or a part of one"))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
