//! Secrets at rest.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use offhook::ErrorKind;
use offhook::service::vault::{KEY_BYTES, SECRET_BYTES_MAX, Vault, VaultKey};
use offhook_testkit::runtime::VirtualRuntime;
use proptest::prelude::*;

fn vault(keys: &[u8]) -> Vault {
    let keys: Vec<_> = keys.iter().map(|byte| VaultKey::new([*byte; KEY_BYTES])).collect();
    Vault::new(Arc::new(VirtualRuntime::new(1)), keys)
}

#[test]
fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
    let vault = vault(&[1]);
    let sealed = vault.seal("tenant/endpoint", b"hush").unwrap();
    assert_eq!(vault.open("tenant/endpoint", &sealed).unwrap().expose(), b"hush");
    assert_eq!(vault.open("tenant/other", &sealed).unwrap_err().kind(), ErrorKind::Unexpected);
    assert!(!sealed.contains("hush"));
    assert_ne!(sealed, vault.seal("tenant/endpoint", b"hush").unwrap(), "a nonce was used twice");
}

#[test]
fn a_new_key_seals_and_the_old_one_still_opens() {
    let old = vault(&[1]).seal("row", b"hush").unwrap();
    let both = vault(&[2, 1]);
    assert_eq!(both.open("row", &old).unwrap().expose(), b"hush");
    assert!(both.is_stale(&old));
    let new = both.seal("row", b"hush").unwrap();
    assert!(!both.is_stale(&new));
    assert_eq!(vault(&[1]).open("row", &new).unwrap_err().kind(), ErrorKind::ConfigInvalid);
}

#[test]
fn without_a_key_nothing_is_kept() {
    let error = vault(&[]).seal("row", b"hush").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    assert!(vault(&[]).open("row", &vault(&[1]).seal("row", b"hush").unwrap()).is_err());
    assert!(vault(&[1]).seal("row", &vec![0; SECRET_BYTES_MAX + 1]).is_err());
}

#[test]
fn a_key_is_written_in_two_ways_and_shows_itself_in_none() {
    let key = VaultKey::parse(&"2a".repeat(KEY_BYTES)).unwrap();
    assert_eq!(key.expose(), "2a".repeat(KEY_BYTES));
    assert_eq!(VaultKey::parse("KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=").unwrap().expose(), key.expose());
    assert_eq!(format!("{key:?}"), "VaultKey(…)");
    for text in ["", "2a", "zz", &"2a".repeat(KEY_BYTES + 1)] {
        assert_eq!(VaultKey::parse(text).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }
}

proptest! {
    #[test]
    fn whatever_is_changed_is_refused(secret in proptest::collection::vec(any::<u8>(), 0..64), at in any::<usize>(), flip in 1_u8..128) {
        let vault = vault(&[1]);
        let sealed = vault.seal("row", &secret).unwrap();
        let opened = vault.open("row", &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &secret[..]);
        let mut bytes = sealed.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(changed) = String::from_utf8(bytes) {
            // Hexadecimal digits mean the same in both cases.
            prop_assume!(!changed.eq_ignore_ascii_case(&sealed) || at > 20);
            prop_assert!(vault.open("row", &changed).is_err());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        prop_assert!(vault(&[1]).open("row", &text).is_err());
    }
}
