//! The model, held to the suite against the mock server.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use offhook_testkit::{behaviour, llm};
use support::{Server, check_appointment, clinic, model, question};

fn main() -> ExitCode {
    let server = Server::start(&clinic(), &[]);
    let config = server.config();
    let make = move || {
        let config = config.clone();
        async move {
            Ok(llm::Subject {
                llm: Arc::new(model(config)),
                talk: question("What are your opening hours?"),
                task: question("When is my appointment?").with_tools(vec![check_appointment()]),
                task_result: "{\"time\":\"half past nine\"}".into(),
                task_answer: "half past nine".into(),
            })
        }
    };
    let suite = llm::suite().on(on_tokio);
    behaviour::run(suite.trials("openai", make))
}

fn on_tokio<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}
