//! Behaviour suites: a table of cases, run against anything that claims to implement a trait.
//!
//! An adapter's `tests/behaviour.rs` (`harness = false`) hands its factory to a suite's trials and runs them:
//!
//! ```no_run
//! # use std::{process::ExitCode, sync::Arc};
//! # use offhook::{memory::MemoryStore, provider::Store};
//! # use offhook_testkit::{behaviour, store};
//! fn main() -> ExitCode {
//!     let make = || async { Ok(Arc::new(MemoryStore::new(store::schema())?) as Arc<dyn Store>) };
//!     behaviour::run(store::suite().trials("memory", make))
//! }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use offhook::Result;

/// What a case says: nothing, or why it failed. Cases also fail by `assert!`.
pub type Verdict = Result<(), Failed>;

/// A case under way.
pub type CaseFuture = Pin<Box<dyn Future<Output = Result<Completion, Failed>> + Send>>;

/// What checks a case.
pub type Check<S> = Box<dyn Fn(S) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// Runs a case to its end; the place for an implementation's own executor.
pub type BlockOn = fn(CaseFuture) -> Result<Completion, Failed>;

/// One promise of a trait, checked against a fresh subject.
pub struct Case<S> {
    /// What is promised.
    pub name: &'static str,
    /// The capability that the subject does not claim, if one is missing; the case is then reported as ignored.
    pub needs: fn(&S) -> Option<&'static str>,
    /// Checks it.
    pub run: Check<S>,
}

impl<S> Case<S> {
    /// The case `name`, checked by `run`.
    pub fn new<F>(
        name: &'static str,
        needs: fn(&S) -> Option<&'static str>,
        run: impl Fn(S) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        Self { name, needs, run: Box::new(move |subject| Box::pin(run(subject))) }
    }
}

/// For a case that needs no capability.
pub fn nothing<S>(_: &S) -> Option<&'static str> {
    None
}

/// A case that is named like the function that checks it: `case!(function)` or `case!(function, needs)`.
#[macro_export]
macro_rules! case {
    ($run:ident) => {
        $crate::case!($run, $crate::behaviour::nothing)
    };
    ($run:ident, $needs:expr) => {
        $crate::behaviour::Case::new(stringify!($run), $needs, $run)
    };
}

/// All the promises of a trait.
pub struct Suite<S> {
    cases: Vec<Case<S>>,
    block_on: BlockOn,
}

impl<S: Send + 'static> Suite<S> {
    /// The suite of `cases`, run without any runtime.
    pub fn new(cases: Vec<Case<S>>) -> Self {
        Self { cases, block_on: |case| futures_lite::future::block_on(case) }
    }

    /// Runs the cases on `block_on`.
    #[must_use]
    pub fn on(mut self, block_on: BlockOn) -> Self {
        self.block_on = block_on;
        self
    }

    /// One trial a case, named `subject::case`, each against a subject of its own from `make`.
    pub fn trials<F>(self, subject: &str, make: impl Fn() -> F + Send + Sync + 'static) -> Vec<Trial>
    where
        F: Future<Output = Result<S>> + Send + 'static,
    {
        let make = Arc::new(make);
        let block_on = self.block_on;
        let trial = |case: Case<S>| {
            let make = Arc::clone(&make);
            let name = format!("{subject}::{}", case.name);
            Trial::ignorable_test(name, move || block_on(Box::pin(check(case, make()))))
        };
        self.cases.into_iter().map(trial).collect()
    }
}

/// The `main` of a test program: runs `trials` as the command line asks for.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The results of `work(0)`, `work(1)`, … `work(threads - 1)`, each run on a thread of its own, in the order of their ends.
///
/// The caller's executor stays free meanwhile.
#[expect(clippy::disallowed_methods, reason = "real threads are the point, and no part of the engine")]
pub async fn on_threads<T, F>(threads: usize, work: impl Fn(usize) -> F) -> Result<Vec<T>, Failed>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (sender, receiver) = async_channel::bounded(threads.max(1));
    for number in 0..threads {
        let (sender, work) = (sender.clone(), work(number));
        thread::spawn(move || sender.try_send(futures_lite::future::block_on(work)));
    }
    drop(sender);
    let mut results = Vec::with_capacity(threads);
    while let Ok(result) = receiver.recv().await {
        results.push(result?);
    }
    if results.len() < threads {
        return Err("a thread panicked".into());
    }
    Ok(results)
}

async fn check<S>(case: Case<S>, subject: impl Future<Output = Result<S>>) -> Result<Completion, Failed> {
    let subject = subject.await?;
    if let Some(missing) = (case.needs)(&subject) {
        return Ok(Completion::ignored_with(format!("{missing} is not claimed")));
    }
    (case.run)(subject).await.map(|()| Completion::Completed)
}
