//! Signature headers from strangers: nothing panics, nothing passes that was not signed, and what was signed passes whatever
//! stands beside it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::signing::standard::{self, Headers};
use offhook::signing::{Secret, body};
use offhook::time::Timestamp;

fuzz_target!(|input: (String, String, String, Vec<u8>, u16)| {
    let (id, timestamp, signature, payload, seconds) = input;
    let secrets = [Secret::new("the first secret of 24 B"), Secret::new("another")];
    let now = Timestamp::from_unix_micros(i64::from(seconds) * 1_000_000);
    let headers = Headers { id: id.clone(), timestamp, signature: signature.clone() };
    assert!(standard::verify(&secrets, &headers, &payload, now).is_err(), "a stranger signed");
    assert!(body::verify(&secrets[0], &payload, &signature).is_err(), "a stranger signed");
    let own = standard::sign(&secrets[1..], &id, now, &payload);
    let is_id = !id.is_empty() && id.len() <= standard::ID_BYTES_MAX;
    assert_eq!(standard::verify(&secrets, &own, &payload, now).is_ok(), is_id);
    let beside = Headers { signature: format!("{} {signature}", own.signature), ..own };
    assert_eq!(standard::verify(&secrets, &beside, &payload, now).is_ok(), is_id);
    body::verify(&secrets[0], &payload, &body::sign(&secrets[0], &payload)).expect("what was signed verifies");
    let _ = standard::parse_secret(&signature);
});
