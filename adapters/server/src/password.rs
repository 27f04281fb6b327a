//! Passwords, hashed by Argon2id with the parameters that OWASP's cheat sheet on password storage begins with.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use offhook::runtime::Runtime;
use offhook::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

/// Bytes of a password at least and at most.
pub const BYTES_MIN: usize = 8;
/// See [`BYTES_MIN`].
pub const BYTES_MAX: usize = 256;

/// Hashes that are worked out at once: each takes 19 MiB and a core.
const HASHES_MAX: usize = 2;

const SALT_BYTES: usize = 16;

/// A hash of what nobody knows, for those who ask for somebody who is not there.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Who may wait for one of them.
const WAITING_MAX: usize = 32;

static HASHING: Semaphore = Semaphore::const_new(HASHES_MAX);
static WAITING: Semaphore = Semaphore::const_new(WAITING_MAX);

/// What is kept of a password. `ConfigInvalid` when it is too short or too long.
pub async fn hash(runtime: &dyn Runtime, password: String) -> Result<String> {
    if !(BYTES_MIN..=BYTES_MAX).contains(&password.len()) {
        return Err(Error::new(ErrorKind::ConfigInvalid, "password.hash", "a password has 8 to 256 bytes"));
    }
    let mut salt = [0; SALT_BYTES];
    runtime.fill_random(&mut salt);
    let hashed = apart(move || Argon2::default().hash_password_with_salt(password.as_bytes(), &salt)).await?;
    let hashed: PasswordHash = hashed.map_err(|_| unexpected())?;
    Ok(hashed.to_string())
}

/// Whether the password is the one that was hashed. It takes as long when there is no hash.
pub async fn verify(password: String, hash: Option<String>) -> Result<bool> {
    if password.len() > BYTES_MAX {
        return Ok(false);
    }
    let is_somebody = hash.is_some();
    let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
    let is_right = apart(move || {
        let hash = PasswordHash::new(&hash).ok()?;
        Argon2::default().verify_password(password.as_bytes(), &hash).ok()
    });
    Ok(is_right.await?.is_some() && is_somebody)
}

/// On a thread where it keeps nobody waiting, and not too often at once.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let full = |_| Error::new(ErrorKind::Unavailable, "password.hash", "too many passwords are being worked on");
    let waiting = WAITING.try_acquire().map_err(full)?;
    let slot = HASHING.acquire().await.map_err(|_| unexpected())?;
    drop(waiting);
    // The work goes on when nobody waits for it any more, and keeps its slot until it is done.
    let work = move || {
        let _slot = slot;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| unexpected())
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Unexpected, "password.hash", "the password could not be worked on")
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_tokio::TokioRuntime;

    #[tokio::test]
    async fn vs_081_a_password_is_known_by_its_hash() {
        let runtime = TokioRuntime::current().unwrap();
        let kept = hash(&runtime, "correct horse".to_owned()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash(&runtime, "correct horse".to_owned()).await.unwrap());
        assert!(verify("correct horse".to_owned(), Some(kept.clone())).await.unwrap());
        assert!(!verify("correct horsf".to_owned(), Some(kept)).await.unwrap());
        assert!(!verify("correct horse".to_owned(), None).await.unwrap());
        assert!(!verify(String::new(), Some("no hash".to_owned())).await.unwrap());
        assert!(PasswordHash::new(NOBODY).is_ok());
        for wrong in ["short", &"x".repeat(BYTES_MAX + 1)] {
            assert_eq!(hash(&runtime, wrong.to_owned()).await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }
}
