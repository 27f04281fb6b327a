//! Calls that are handed over to a human.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use offhook::call::policy::{OnMachine, Screening, Voicemail};
use offhook::call::record::{EndReason, HangupParty, TransferOutcome};
use offhook::provider::telephony::{DtmfDigit, HangupCause};
use offhook_testkit::carrier::Answering;
use offhook_testkit::chaos;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

const LOUD: u8 = 0x80;
const SILENCE: u8 = 0xff;
const SECOND: Duration = Duration::from_secs(1);

fn with_targets<F: Future<Output = ()>>(story: impl FnOnce(World) -> F) {
    let runtime = VirtualRuntime::new(11);
    let world = World::new(Arc::new(runtime.clone()), &[]);
    runtime.block_on(async {
        let mut world = world.await;
        Arc::make_mut(&mut world.agent).policy.transfer.targets = chaos::targets();
        story(world).await;
    });
}

#[test]
fn a_human_is_rung_briefed_and_joined_with_the_caller() {
    with_targets(|world| async move {
        let doctor = "+622150002000".parse().unwrap();
        world.carrier.when_dialled(&doctor, Answering::After(SECOND * 2));
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, SECOND * 2).await;
        handle.transfer("doctor", "Ann asks about her bill.").unwrap();
        caller.sound(SILENCE, SECOND * 5).await;
        let human = world.carrier.take_dialled().unwrap();
        join(caller.sound(SILENCE, SECOND * 5), human.sound(SILENCE, SECOND * 5)).await;
        assert!(loud(&human.heard()) > 0, "the human was briefed");
        human.press(DtmfDigit::try_from('1').unwrap());

        join(caller.sound(SILENCE, SECOND), human.sound(SILENCE, SECOND)).await;
        let (before_human, before_caller) = (loud(&human.heard()), loud(&caller.heard()));
        join(caller.sound(LOUD, SECOND), human.sound(SILENCE, SECOND)).await;
        assert!(loud(&human.heard()) - before_human > 7_000, "the human hears the caller");
        join(caller.sound(SILENCE, SECOND), human.sound(LOUD, SECOND)).await;
        assert!(loud(&caller.heard()) - before_caller > 7_000, "the caller hears the human");

        human.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!((record.end_reason, record.hangup_party), (Some(EndReason::Transferred), Some(HangupParty::Target)));
        assert_eq!(record.transfers[0].outcome, TransferOutcome::Completed);
        assert_eq!(ledger.unwrap().settled.unsigned_abs(), record.talk_time_ms);
        world.wait(SECOND * 10).await;
        for leg in [&caller.leg, &human.leg] {
            assert_eq!(world.carrier.hung_up(leg), Some(HangupCause::NORMAL_CLEARING));
        }
    });
}

#[test]
fn a_human_who_is_busy_gives_the_caller_back() {
    with_targets(|world| async move {
        let doctor = "+622150002000".parse().unwrap();
        world.carrier.when_dialled(&doctor, Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, SECOND * 2).await;
        handle.transfer("doctor", "").unwrap();
        caller.sound(SILENCE, SECOND * 6).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        let cause = HangupCause::USER_BUSY;
        assert_eq!(record.transfers[0].outcome, TransferOutcome::Failed { cause });
        assert_eq!(record.transcript.last().unwrap().text, "I am sorry, nobody can take your call right now.");
    });
}

#[test]
fn the_carrier_takes_a_leg_over_and_digits_are_sent() {
    with_targets(|world| async move {
        let desk = "+622150002000".parse().unwrap();
        world.carrier.when_dialled(&desk, Answering::After(SECOND));
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, SECOND * 2).await;
        handle.send_digits(vec![DtmfDigit::try_from('4').unwrap(), DtmfDigit::try_from('#').unwrap()]).unwrap();
        caller.sound(SILENCE, SECOND).await;
        assert_eq!(world.carrier.sent_digits(&caller.leg), "4#");
        handle.transfer("desk", "").unwrap();
        caller.sound(SILENCE, SECOND * 5).await;
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.end_reason, Some(EndReason::Transferred));
        assert_eq!(world.carrier.transferred(&caller.leg), Some(desk));
        assert_eq!(world.carrier.hung_up(&caller.leg), None);
    });
}

#[test]
fn a_beep_in_the_callees_audio_is_heard() {
    with_targets(|mut world| async move {
        let callee = "+628777777777".parse().unwrap();
        world.carrier.when_dialled(&callee, Answering::After(SECOND));
        let agent = Arc::make_mut(&mut world.agent);
        agent.policy.screening =
            Some(Screening { on_machine: OnMachine::LeaveMessage(Voicemail::new("Call us.")), ..Screening::default() });
        let from = "+622150001000".parse().unwrap();
        let handle = world.engine.dial(world.tenant, world.agent.clone(), from, callee).unwrap();
        world.wait(SECOND * 2).await;
        let machine = world.carrier.take_dialled().unwrap();
        machine.tone(1_000.0, Duration::from_millis(400)).await;
        machine.sound(SILENCE, SECOND * 5).await;
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.end_reason, Some(EndReason::MessageLeft));
        assert_eq!(record.transcript.last().unwrap().text, "Call us.");
    });
}

/// Samples that are far from silence.
fn loud(heard: &[u8]) -> usize {
    heard.iter().filter(|code| (**code & 0x7f) < 0x30).count()
}
