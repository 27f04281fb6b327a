//! How a call begins when there is no slot or no agent, and how it ends when its engine is gone; told by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail tests")]

use std::time::Duration;

use offhook::call::record::{CallStatus, EndReason, HangupParty};
use offhook::call::{Admission, CallEventKind, CallRecord, Failure, Input, Outcome, Phase, Policy, Progress};
use offhook::error::{ErrorKind, Retry};
use offhook::provider::telephony::{DialEvent, HangupCause};
use offhook_testkit::machine::{self, Stage};

const SECOND: Duration = Duration::from_secs(1);

/// The call has nothing to do any more but its settlement.
fn check_lost(mut stage: Stage) -> CallRecord {
    stage.input(Input::EngineLost);
    assert_eq!(stage.open_names(), ["settle"]);
    stage.complete("settle", Outcome::Settled(Default::default()));
    let record = stage.ended().unwrap().clone();
    stage.finish_and_check().unwrap();
    record
}

fn reason_of(record: &CallRecord) -> (CallStatus, EndReason, HangupParty) {
    (record.status, record.end_reason.unwrap(), record.hangup_party.unwrap())
}

const LOST: (CallStatus, EndReason, HangupParty) = (CallStatus::Failed, EndReason::EngineLost, HangupParty::System);

#[test]
fn a_lost_call_ends_where_it_stands_and_only_settles() {
    let ringing = Stage::new(machine::config(Policy::default()), machine::inbound());
    assert_eq!(reason_of(&check_lost(ringing)), LOST);

    let mut dialing = Stage::new(machine::config(Policy::default()), machine::outbound());
    dialing.complete("reserve", Outcome::Reserved { granted: SECOND * 600 });
    dialing.progress("dial", Progress::Dial(DialEvent::Ringing));
    dialing.wait(SECOND * 3);
    let record = check_lost(dialing);
    assert_eq!((reason_of(&record), record.talk_time_ms, record.duration_ms), (LOST, 0, 3_000));

    let mut talking = Stage::connected(Policy::default());
    talking.caller_says("What are your opening hours?", SECOND, Duration::from_millis(300));
    talking.model_says("We are open from nine to five.", &[]);
    talking.progress("speak", Progress::Playing);
    talking.wait(SECOND);
    talking.progress("speak", Progress::Heard { text_end: 11 });
    let record = check_lost(talking);
    assert_eq!(reason_of(&record), LOST);
    let last = record.transcript.last().unwrap();
    assert_eq!((last.text.as_str(), last.cut), ("We are open", true), "what was heard, and no more");
}

#[test]
fn a_lost_call_that_had_ended_keeps_its_end() {
    let mut stage = Stage::connected(Policy::default());
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    assert_eq!(stage.call.phase(), Phase::Ending);
    let record = check_lost(stage);
    assert_eq!(reason_of(&record), (CallStatus::Completed, EndReason::CallerHangUp, HangupParty::Caller));
}

#[test]
fn credits_bound_the_talk_of_a_lost_call() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.complete("reserve", Outcome::Reserved { granted: SECOND * 5 });
    for command in ["answer", "report_answered", "open_media"] {
        stage.complete(command, Outcome::Done);
    }
    stage.play();
    // The engine is known to have lived for longer, and did not write the end of the credits down.
    stage.now = stage.now + SECOND * 60;
    let record = check_lost(stage);
    assert_eq!((record.talk_time_ms, record.end_reason), (5_000, Some(EndReason::CreditsExhausted)));
}

#[test]
fn a_call_that_another_engine_has_taken_is_hung_up() {
    let mut stage = Stage::connected(Policy::default());
    stage.input(Input::LeaseLost);
    assert!(stage.find("hang_up").is_some() && stage.find("close_media").is_some());
    stage.tear_down();
    assert_eq!(reason_of(stage.ended().unwrap()), LOST);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_call_waits_for_a_slot_as_long_as_it_may() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.progress("reserve", Progress::Queued { wait: SECOND * 60 });
    assert!(matches!(stage.events.last().unwrap().kind, CallEventKind::Queued { .. }));
    stage.wait(SECOND * 65);
    assert_eq!(stage.open_names(), ["reserve"], "longer than a set-up takes otherwise");
    stage.set_up();
    assert_eq!(stage.call.phase(), Phase::Connected);

    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.progress("reserve", Progress::Queued { wait: SECOND * 60 });
    stage.wait(SECOND * 70);
    assert_eq!(stage.call.record().end_reason, Some(EndReason::SetUpTimeout), "and no longer");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_caller_who_hangs_up_while_waiting_gives_the_place_up_at_once() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.progress("reserve", Progress::Queued { wait: SECOND * 60 });
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    assert_eq!(stage.open_names(), ["settle"]);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_call_without_a_slot_finds_the_line_busy() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    let id = stage.find("reserve").unwrap();
    let failure = Failure { kind: ErrorKind::RateLimited, message: "full".to_owned(), retry: Retry::Later };
    stage.input(Input::Failed(id, failure));
    stage.tear_down();
    let record = stage.ended().unwrap();
    assert_eq!(reason_of(record), (CallStatus::Rejected, EndReason::OverCapacity, HangupParty::System));
    assert_eq!(record.hangup_cause, Some(HangupCause::USER_BUSY));
    stage.finish_and_check().unwrap();
}

#[test]
fn an_agent_that_does_not_work_now_holds_nothing() {
    for (admission, reason) in
        [(Admission::AgentInactive, EndReason::AgentInactive), (Admission::OutsideHours, EndReason::OutsideHours)]
    {
        for offer in [machine::inbound(), machine::outbound()] {
            let mut config = machine::config(Policy::default());
            config.admission = admission;
            let mut stage = Stage::new(config, offer);
            assert!(stage.find("reserve").is_none() && stage.find("dial").is_none());
            stage.tear_down();
            assert_eq!(reason_of(stage.ended().unwrap()), (CallStatus::Rejected, reason, HangupParty::System));
            stage.finish_and_check().unwrap();
        }
    }
}
