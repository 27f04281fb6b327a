//! Which keys an object may have.

use offhook::{Error, ErrorKind, Result};

/// Longest key.
pub const KEY_BYTES_MAX: usize = 768;
/// Longest piece of a key between two slashes; what common file systems allow, less room for a suffix.
pub const SEGMENT_BYTES_MAX: usize = 240;

/// `ConfigInvalid` for whatever could leave a folder, hide in it, or be another object in another place.
pub(crate) fn check(operation: &'static str, key: &str) -> Result<()> {
    let invalid = |why| Err(Error::new(ErrorKind::ConfigInvalid, operation, why));
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return invalid("the key is empty or too long");
    }
    if key.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
        return invalid("the key holds a control character, a backslash or a colon");
    }
    for segment in key.split('/') {
        if segment.is_empty() || segment.len() > SEGMENT_BYTES_MAX {
            return invalid("a part of the key is empty or too long");
        }
        if segment.starts_with('.') || segment.ends_with(['.', ' ']) {
            return invalid("a part of the key begins with a dot, or ends with a dot or a space");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_part_a_key() {
        check("test", "calls/2026/a b+é.wav").unwrap();
    }

    #[test]
    fn keys_that_could_leave_the_folder_are_refused() {
        let long_key = "k/".repeat(KEY_BYTES_MAX);
        let long_segment = "s".repeat(SEGMENT_BYTES_MAX + 1);
        let keys = [
            "",
            ".",
            "..",
            "/",
            "/etc/passwd",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "../a",
            "a/..",
            "a\0b",
            "a\\..\\b",
            "C:a",
            ".partial/x",
            "a\nb",
            "a.",
            "a ",
            &long_key,
            &long_segment,
        ];
        for key in keys {
            assert_eq!(check("test", key).unwrap_err().kind(), ErrorKind::ConfigInvalid, "{key:?}");
        }
    }
}
