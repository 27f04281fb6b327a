//! Links from strangers: nothing opens that was not signed, and what was signed opens until it expires, whatever stands beside
//! it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::ErrorKind;
use offhook::signing::{Secret, link};
use offhook::time::Timestamp;

fuzz_target!(|input: (String, String, u32, u32)| {
    let (path, query, expires, now) = input;
    let secrets = [Secret::new("the first secret of 24 B"), Secret::new("another")];
    let at = |seconds: u32| Timestamp::from_unix_micros(i64::from(seconds) * 1_000_000);
    let stranger = link::verify(&secrets, &path, &query, at(now)).expect_err("a stranger signed");
    assert_eq!(stranger.kind(), ErrorKind::Unauthenticated);
    if path.contains('?') {
        return;
    }
    let signed = link::sign(&secrets[1], &path, at(expires));
    let (_, own) = signed.split_once('?').expect("it has a query");
    let opened = link::verify(&secrets, &path, own, at(now));
    assert_eq!(opened.map_err(|error| error.kind()), if now < expires { Ok(()) } else { Err(ErrorKind::PermissionDenied) });
    // What stands behind changes nothing, and what stands before can only close it.
    let behind = link::verify(&secrets, &path, &format!("{own}&{query}"), at(now));
    assert_eq!(behind.is_ok(), now < expires);
    let before = link::verify(&secrets, &path, &format!("{query}&{own}"), at(now));
    assert!(before.is_err() || now < expires);
    assert!(link::verify(&secrets[..1], &path, own, at(now)).is_err(), "another secret opens it");
});
