//! Slots on SQLite, with real threads: as many calls as there are slots, to the last one.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use offhook::call::record::EndReason;
use offhook::call::{CallEventKind, CallRecord, Phase};
use offhook::engine::{CallHandle, Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::provider::telephony::HangupCause;
use offhook::service;
use offhook::service::agents::Agent;
use offhook::service::capacity::{Limits, Occupancy, WhenFull};
use offhook::time::Timestamp;
use offhook_sqlite::SqliteStore;
use offhook_testkit::carrier::{Caller, Carrier};
use offhook_testkit::script::{CueRecogniser, ScriptedHttp, ScriptedModel, ToneSpeech};
use offhook_tokio::TokioRuntime;
use tokio::sync::Barrier;

const CALLERS: usize = 200;
const SLOTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_share_twenty_slots() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("offhook.db"), service::schema()).unwrap());
    let runtime = Arc::new(TokioRuntime::current().unwrap());
    let carrier = Carrier::new(runtime.clone());
    let engine = Engine::with_settings(
        Providers {
            blob: None,
            http: Arc::new(ScriptedHttp::new(|_| Ok((204, String::new())))),
            llm: Arc::new(ScriptedModel::new(|_| Vec::new())),
            runtime,
            store,
            stt: Arc::new(CueRecogniser::default()),
            telephony: Arc::new(carrier.clone()),
            tts: Arc::new(ToneSpeech::default()),
        },
        offhook_testkit::settings(),
    );
    let tenant = TenantId::new(Timestamp::default(), [1; 10]);
    let limits = Limits { calls_max: Some(SLOTS as u32), when_full: WhenFull::Reject };
    engine.capacity().set_limits(tenant, &limits).await.unwrap();
    engine.credits().grant(tenant, Duration::from_secs(3_600 * 1_000), "start").await.unwrap();
    let agent = Arc::new(Agent::new(AgentId::new(Timestamp::default(), [2; 10]), "Sari", "You answer."));

    // Nobody hangs up before everybody has been let in or refused.
    let decided = Arc::new(Barrier::new(CALLERS));
    let calls = (0..CALLERS).map(|_| {
        let (incoming, caller) = carrier.ring("+628123456789", "+622150001000");
        let handle = engine.accept(tenant, agent.clone(), incoming).unwrap();
        tokio::spawn(hold(handle, caller, decided.clone()))
    });
    let records: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let talked = records.iter().filter(|record| record.end_reason == Some(EndReason::CallerHangUp)).count();
    let refused = records.iter().filter(|record| record.end_reason == Some(EndReason::OverCapacity)).count();
    assert_eq!((talked, refused), (SLOTS, CALLERS - SLOTS));
    assert_eq!(engine.capacity().occupancy(tenant).await.unwrap(), Occupancy::default());
}

async fn hold(mut handle: CallHandle, caller: Caller, decided: Arc<Barrier>) -> CallRecord {
    while let Some(event) = handle.next_event().await {
        match event.kind {
            CallEventKind::Phase { phase: Phase::Connected } => {
                let silence = caller.sound(0xff, Duration::from_secs(600));
                tokio::select! {
                    () = silence => {}
                    _ = decided.wait() => {}
                }
                caller.hang_up(HangupCause::NORMAL_CLEARING);
            }
            CallEventKind::Ended { record, .. } => {
                if record.end_reason == Some(EndReason::OverCapacity) {
                    decided.wait().await;
                }
                return *record;
            }
            _ => {}
        }
    }
    panic!("a call without an end")
}
