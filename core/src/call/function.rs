//! The agent's functions while they run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::output::{CallEventKind, Command, CommandId};
use super::record::FunctionRecord;
use super::shared::Shared;
use super::timer::Timer;
use super::tools::{self, SEND_DIGITS};
use crate::provider::llm::ToolCall;
use crate::provider::store::catalog::{FOREIGN_DEPTH_MAX, nests_within};
use crate::time::Instant;

/// Function calls that a record lists; later ones run and are not listed.
const RECORDS_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Functions {
    running: BTreeMap<CommandId, Running>,
    records: Vec<FunctionRecord>,
}

#[derive(Debug)]
struct Running {
    call: ToolCall,
    deadline: Instant,
    record: usize,
}

impl Functions {
    pub(super) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn records(&self) -> Vec<FunctionRecord> {
        self.records.clone()
    }

    /// Starts a call; one that cannot be started is answered at once.
    pub(super) fn start(&mut self, now: Instant, call: ToolCall, shared: &mut Shared) -> Option<String> {
        let sends_digits = call.name == SEND_DIGITS && shared.config.policy.send_digits;
        if !sends_digits && !shared.config.tools.iter().any(|tool| tool.name == call.name) {
            return Some(json!({ "error": "there is no such function" }).to_string());
        }
        let parameters = match serde_json::from_str::<Value>(&call.arguments) {
            Ok(parameters @ Value::Object(_)) if nests_within(&parameters, FOREIGN_DEPTH_MAX) => parameters,
            Ok(_) | Err(_) => return Some(json!({ "error": "the arguments are not a JSON object" }).to_string()),
        };
        let command = match tools::digits(&call) {
            Ok(digits) if sends_digits => Command::SendDigits { digits },
            Err(content) if sends_digits => return Some(content),
            _ => Command::RunFunction(call.clone()),
        };
        let record = self.records.len();
        if record < RECORDS_MAX {
            let parameters = parameters.clone();
            self.records.push(FunctionRecord { name: call.name.clone(), parameters, result: None });
        }
        shared.outbox.event(now, CallEventKind::FunctionStarted { name: call.name.clone(), parameters });
        let command = shared.outbox.start(command);
        let deadline = now + shared.config.policy.function_timeout;
        self.running.insert(command, Running { call, deadline, record });
        self.arm(shared);
        None
    }

    /// Takes a result; returns the tool message.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        id: CommandId,
        result: Value,
        shared: &mut Shared,
    ) -> Option<(String, String)> {
        let running = self.running.remove(&id)?;
        self.arm(shared);
        if let Some(record) = self.records.get_mut(running.record) {
            record.result = Some(result.clone());
        }
        let content = result.to_string();
        shared.outbox.event(now, CallEventKind::FunctionFinished { name: running.call.name, result });
        Some((running.call.id, content))
    }

    /// Answers each call whose time is up.
    pub(super) fn time_out(&mut self, now: Instant, shared: &mut Shared) -> Vec<(String, String)> {
        let late: Vec<_> =
            self.running.iter().filter(|(_, running)| running.deadline <= now).map(|(id, _)| *id).collect();
        let answers = late.into_iter().filter_map(|id| {
            shared.outbox.cancel(id);
            self.finish(now, id, json!({ "error": "timed_out" }), shared)
        });
        answers.collect()
    }

    pub(super) fn cancel(&mut self, shared: &mut Shared) {
        for (id, _) in std::mem::take(&mut self.running) {
            shared.outbox.cancel(id);
        }
        self.arm(shared);
    }

    fn arm(&self, shared: &mut Shared) {
        match self.running.values().map(|running| running.deadline).min() {
            Some(deadline) => shared.timers.set(Timer::Function, deadline),
            None => shared.timers.clear(Timer::Function),
        }
    }
}
