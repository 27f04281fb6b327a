//! What the people of the sandbox say.

use offhook::{Error, ErrorKind, Result};

/// Lines at most.
pub const LINES_MAX: usize = 64;

/// Bytes of a line at most.
pub const LINE_BYTES_MAX: usize = 1_000;

/// What the people of the sandbox say, in one language.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Script {
    /// What asks for the key 1, in lower case.
    pub asks_for_one: Vec<String>,
    /// The last words of who converses.
    pub goodbye: String,
    /// What somebody says who picked up and hears nothing.
    pub hello: String,
    /// BCP 47.
    pub language: String,
    /// What who converses says in turn, each when the agent has fallen silent.
    pub lines: Vec<String>,
    /// What is broken off by a hang-up.
    pub unfinished: String,
    /// The answering machine's greeting.
    pub voicemail: String,
}

impl Script {
    /// In English.
    pub fn english() -> Self {
        Self {
            asks_for_one: owned(&["press one", "press 1"]),
            goodbye: "Goodbye.".to_owned(),
            hello: "Hello?".to_owned(),
            language: "en".to_owned(),
            lines: owned(&[
                "Yes, this is a good time to talk.",
                "Could you tell me a little more about that, please?",
                "All right, that is all that I wanted to know. Thank you very much.",
            ]),
            unfinished: "Well, I have to say that I have been thinking about this for quite a while, and".to_owned(),
            voicemail: "Hello, I cannot take your call right now. Please leave a message after the tone.".to_owned(),
        }
    }

    /// In Indonesian.
    pub fn indonesian() -> Self {
        Self {
            asks_for_one: owned(&["tekan satu", "tekan 1", "tekan angka satu", "tekan angka 1"]),
            goodbye: "Sampai jumpa.".to_owned(),
            hello: "Halo?".to_owned(),
            language: "id".to_owned(),
            lines: owned(&[
                "Ya, saya bisa bicara sekarang.",
                "Bisa tolong dijelaskan sedikit lagi?",
                "Baik, itu saja yang ingin saya tanyakan. Terima kasih banyak.",
            ]),
            unfinished: "Sebenarnya saya sudah cukup lama memikirkan hal ini, dan menurut saya".to_owned(),
            voicemail:
                "Halo, saya tidak bisa menerima telepon sekarang. Silakan tinggalkan pesan setelah nada berikut."
                    .to_owned(),
        }
    }

    /// Whether these words ask for the key 1.
    pub(crate) fn asks_for_one(&self, words: &str) -> bool {
        let words = words.to_lowercase();
        self.asks_for_one.iter().any(|phrase| words.contains(phrase))
    }

    pub(crate) fn check(&self) -> Result<()> {
        let others = [&self.goodbye, &self.hello, &self.unfinished, &self.voicemail];
        let is_long = |line: &String| line.len() > LINE_BYTES_MAX;
        if self.lines.len() > LINES_MAX || self.lines.iter().chain(others).any(is_long) {
            let message = "a script has 64 lines of 1,000 bytes at most";
            return Err(Error::new(ErrorKind::ConfigInvalid, "sandbox.new", message));
        }
        Ok(())
    }
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}
