//! Keys of objects as paths below a folder.

use std::path::PathBuf;

use offhook::{Error, ErrorKind, Result};

/// Longest key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest piece of a key between two slashes; what common file systems allow, less room for a suffix.
pub const SEGMENT_BYTES_MAX: usize = 240;

/// `key` as a relative path. Slashes make subfolders.
///
/// `ConfigInvalid` for whatever could leave the folder, hide in it, or be another file on another system.
pub(crate) fn to_path(operation: &'static str, key: &str) -> Result<PathBuf> {
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
    Ok(key.split('/').collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn slashes_make_folders() {
        assert_eq!(to_path("test", "calls/2026/a b+é.wav").unwrap(), Path::new("calls/2026/a b+é.wav"));
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
            assert_eq!(to_path("test", key).unwrap_err().kind(), ErrorKind::ConfigInvalid, "{key:?}");
        }
    }
}
