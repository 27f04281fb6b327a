//! Pico's C library behind a safe face.
//!
//! The library works inside one block of memory that its caller lends it, and reads parts of it before it has written them.
//! What lay there changes the length and the end of the speech, so the block must be all zero: the ready-made binding does
//! not see to that, and this file exists instead of it.

#![allow(unsafe_code, reason = "a C library")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;

use offhook::error::{Error, ErrorKind, Result};
use ttspico_sys as sys;

/// One voice's files and its engine's buffers take 2 MiB at most.
const MEMORY_BYTES: usize = 4 << 20;
/// Pico keeps file names in a buffer of 512 bytes and does not look.
const PATH_BYTES_MAX: usize = 500;
const NAME_BYTES_MAX: usize = 32;
const VOICE: &CStr = c"voice";
const OPERATION: &str = "local.synthesize";

/// How much [`Engine::step`] has still to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Busy,
    Idle,
}

/// What a reset undoes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reset {
    /// An error.
    Full,
    /// Text and sound that are no longer wanted.
    Soft,
}

/// One voice. The raw pointers keep it on its thread.
#[derive(Debug)]
pub(super) struct Engine {
    system: sys::pico_System,
    resources: Vec<sys::pico_Resource>,
    engine: sys::pico_Engine,
    /// The system lives in here. Words, because Pico wants an aligned block.
    _memory: Box<[u64]>,
}

impl Engine {
    /// Loads the two files of a voice.
    pub(super) fn load(files: [&Path; 2]) -> Result<Self> {
        let mut memory = vec![0_u64; MEMORY_BYTES / size_of::<u64>()].into_boxed_slice();
        let mut system = ptr::null_mut();
        // SAFETY: the block is as long as stated and outlives the system, which `drop` terminates before it frees the block.
        let status = unsafe { sys::pico_initialize(memory.as_mut_ptr().cast(), MEMORY_BYTES as u32, &mut system) };
        check(status)?;
        // From here on `drop` cleans up whatever has come to be.
        let mut engine = Self { system, resources: Vec::new(), engine: ptr::null_mut(), _memory: memory };
        // SAFETY: the system is valid and the name ends in a zero byte.
        check(unsafe { sys::pico_createVoiceDefinition(system, VOICE.as_ptr().cast()) })?;
        for file in files {
            engine.add(file)?;
        }
        // SAFETY: as above; the voice has both its resources, without which Pico would crash here.
        check(unsafe { sys::pico_newEngine(system, VOICE.as_ptr().cast(), &mut engine.engine) })?;
        Ok(engine)
    }

    /// Puts text in and returns how many bytes of it were taken. A zero byte asks for all that is held back.
    pub(super) fn put(&mut self, text: &[u8]) -> Result<usize> {
        let offered = i16::try_from(text.len()).unwrap_or(i16::MAX);
        let mut taken = 0;
        // SAFETY: the engine is valid, and `offered` is no more than the text's length.
        check(unsafe { sys::pico_putTextUtf8(self.engine, text.as_ptr(), offered, &mut taken) })?;
        Ok(usize::try_from(taken).unwrap_or(0).min(text.len()))
    }

    /// Works for a moment. Returns how many samples it has written.
    pub(super) fn step(&mut self, samples: &mut [i16]) -> Result<(usize, Step)> {
        let bytes = i16::try_from(size_of_val(samples)).unwrap_or(i16::MAX);
        let (mut received, mut kind) = (0, 0);
        // SAFETY: the engine is valid, and `bytes` is no more than the buffer holds.
        let status = unsafe {
            let buffer = samples.as_mut_ptr().cast::<c_void>();
            sys::pico_getData(self.engine, buffer, bytes, &mut received, &mut kind)
        };
        let step = match status {
            sys::PICO_STEP_BUSY => Step::Busy,
            sys::PICO_STEP_IDLE => Step::Idle,
            status => return Err(failed(status)),
        };
        let count = usize::try_from(received).unwrap_or(0) / size_of::<i16>();
        if count > 0 && kind != sys::PICO_DATA_PCM_16BIT {
            return Err(Error::new(ErrorKind::Unexpected, OPERATION, "Pico's samples have an unknown format"));
        }
        Ok((count.min(samples.len()), step))
    }

    pub(super) fn reset(&mut self, reset: Reset) -> Result<()> {
        let mode = match reset {
            Reset::Full => sys::PICO_RESET_FULL,
            Reset::Soft => sys::PICO_RESET_SOFT,
        };
        // SAFETY: the engine is valid.
        check(unsafe { sys::pico_resetEngine(self.engine, mode as i32) })
    }

    fn add(&mut self, file: &Path) -> Result<()> {
        let bad_path =
            || Error::new(ErrorKind::ConfigInvalid, OPERATION, "the models folder's path is no path for Pico");
        let path = file.to_str().filter(|path| path.len() <= PATH_BYTES_MAX).ok_or_else(bad_path)?;
        let path = CString::new(path).map_err(|_| bad_path())?;
        let mut resource = ptr::null_mut();
        let mut name: [c_char; NAME_BYTES_MAX] = [0; NAME_BYTES_MAX];
        // SAFETY: the system is valid, the path ends in a zero byte and fits, and a resource's name is at most
        // PICO_MAX_RESOURCE_NAME_SIZE, which is NAME_BYTES_MAX, with its zero byte.
        unsafe {
            check(sys::pico_loadResource(self.system, path.as_ptr().cast(), &mut resource))?;
            self.resources.push(resource);
            check(sys::pico_getResourceName(self.system, resource, name.as_mut_ptr()))?;
            check(sys::pico_addResourceToVoiceDefinition(self.system, VOICE.as_ptr().cast(), name.as_ptr().cast()))
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: each handle is valid or null, is given back once, and engine, voice and resources go before their system.
        // What the calls answer changes nothing any more.
        unsafe {
            if !self.engine.is_null() {
                sys::pico_disposeEngine(self.system, &mut self.engine);
            }
            sys::pico_releaseVoiceDefinition(self.system, VOICE.as_ptr().cast());
            for resource in &mut self.resources {
                sys::pico_unloadResource(self.system, resource);
            }
            sys::pico_terminate(&mut self.system);
        }
    }
}

fn check(status: sys::pico_Status) -> Result<()> {
    match status {
        sys::PICO_OK => Ok(()),
        status => Err(failed(status)),
    }
}

/// The codes are those of `picodefs.h`.
fn failed(status: sys::pico_Status) -> Error {
    let kind = match status {
        sys::PICO_EXC_CANT_OPEN_FILE | sys::PICO_EXC_FILE_NOT_FOUND => ErrorKind::NotFound,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, OPERATION, "Pico failed").with_context("status", status)
}
