//! Journals from anywhere: run again or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::journal::{Journal, MAGIC};

fuzz_target!(|bytes: &[u8]| {
    let file = [MAGIC, bytes].concat();
    if let Ok(journal) = Journal::from_file(&file) {
        assert_eq!(Journal::from_file(&journal.to_file()).map(|again| again.entries).ok(), Some(journal.entries.clone()));
        let _ = journal.verify();
    }
});
