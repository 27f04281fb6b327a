//! The voices of SVOX Pico.

use offhook::error::{Error, ErrorKind, Result};

/// One of Pico's six voices, all of them women's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Voice {
    /// German.
    DeDe,
    /// British English.
    EnGb,
    /// American English.
    EnUs,
    /// European Spanish.
    EsEs,
    /// French.
    FrFr,
    /// Italian.
    ItIt,
}

impl Voice {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::DeDe, Self::EnGb, Self::EnUs, Self::EsEs, Self::FrFr, Self::ItIt];

    /// Its name, which is its language as a BCP 47 tag.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The voice called `name`; `NotFound` if there is none.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|voice| voice.as_str().eq_ignore_ascii_case(name));
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "local.voice", "there is no such voice"))
    }

    /// The voice that speaks the BCP 47 tag `language` best: its region if there is a voice of it, else its language.
    pub fn speaking(language: &str) -> Result<Self> {
        if let Ok(voice) = Self::named(language) {
            return Ok(voice);
        }
        let subtag = language.split('-').next().unwrap_or_default();
        let speaks =
            |voice: &Self| voice.as_str().split('-').next().is_some_and(|own| own.eq_ignore_ascii_case(subtag));
        // English without a known region is American.
        let found = [Self::EnUs].into_iter().chain(Self::ALL).find(speaks);
        found.ok_or_else(|| Error::unsupported("local.voice", "that language"))
    }

    /// Its files: text analysis and signal generation.
    pub(crate) fn files(self) -> [&'static str; 2] {
        let (_, analysis, generation) = self.row();
        [analysis, generation]
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::DeDe => ("de-DE", "de-DE_ta.bin", "de-DE_gl0_sg.bin"),
            Self::EnGb => ("en-GB", "en-GB_ta.bin", "en-GB_kh0_sg.bin"),
            Self::EnUs => ("en-US", "en-US_ta.bin", "en-US_lh0_sg.bin"),
            Self::EsEs => ("es-ES", "es-ES_ta.bin", "es-ES_zl0_sg.bin"),
            Self::FrFr => ("fr-FR", "fr-FR_ta.bin", "fr-FR_nk0_sg.bin"),
            Self::ItIt => ("it-IT", "it-IT_ta.bin", "it-IT_cm0_sg.bin"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_find_their_voice() {
        for (language, voice) in [
            ("en", Voice::EnUs),
            ("en-AU", Voice::EnUs),
            ("en-gb", Voice::EnGb),
            ("de-AT", Voice::DeDe),
            ("it", Voice::ItIt),
        ] {
            assert_eq!(Voice::speaking(language).unwrap(), voice, "{language}");
        }
        assert_eq!(Voice::speaking("id-ID").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(Voice::named("en").unwrap_err().kind(), ErrorKind::NotFound);
    }
}
