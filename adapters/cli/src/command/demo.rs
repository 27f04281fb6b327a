//! `offhook demo`: a whole call on this machine, in real time, with real sockets.

use std::sync::Arc;
use std::time::Duration;

use crate::args::DemoArgs;
use crate::caller::Item;
use crate::caller::script::{Cue, Habits};
use crate::clinic::CHECK_APPOINTMENT;
use crate::failure::{Failure, Outcome};
use crate::report::Report;
use crate::scene::{Play, Scene, show};
use crate::speech::Speech;
use crate::stage::Wires;
use crate::{brain, sound};

/// The caller's voice: another one than the agent's.
const VOICE: &str = "en-GB";

/// The tenant's prepaid talk time.
const TALK_TIME: Duration = Duration::from_secs(600);

/// Held for the call.
const HOLD: Duration = Duration::from_secs(300);

/// Longest call; it takes about 40 s.
const LIMIT: Duration = Duration::from_secs(90);

/// How long the agent may speak before it is interrupted.
const INTERRUPTION: Duration = Duration::from_millis(1_600);

/// Longest pause within a line of the caller.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What the caller says, and when.
const LINES: [(Cue, &str); 4] = [
    (Cue::Answered, "Hello, could you tell me your opening hours?"),
    (Cue::Interrupting { after: INTERRUPTION }, "Excuse me, can you check an appointment for me?"),
    (
        Cue::Answered,
        "I would like to know if plus six two, eight one two, three four five, six seven eight nine has an appointment.",
    ),
    (Cue::Answered, "That is all I wanted to know. Goodbye."),
];

const HABITS: Habits =
    Habits { linger: Duration::from_secs(8), pause: Duration::from_millis(700), patience: Duration::from_secs(9) };

/// Runs the command.
pub async fn run(args: DemoArgs) -> Outcome<()> {
    let options = args.options;
    let speech = Speech::load().await?;
    let wires = Wires::new()?;
    let llm = brain::chosen(&options.model, wires.http.clone()).await?;
    let mut scene = Scene::set(&options, "demo", wires, llm, speech, TALK_TIME).await?;
    scene.agent.policy.reserve = HOLD;
    let mut items = Vec::new();
    for (cue, text) in LINES {
        let samples = sound::spoken(&*scene.speech.tts, VOICE, text).await?;
        items.push(Item { cue, samples: sound::hurried(&samples, PAUSE_MAX) });
    }
    let play = Play { begun: Arc::default(), habits: HABITS, items, limit: LIMIT };
    let played = scene.play(play).await?;
    show(&options, &played.report);
    if played.interrupted {
        return Err(Failure::Interrupted);
    }
    match shortcoming(&played.report) {
        Some(shortcoming) => Err(Failure::new(format_args!("not all went as it should: {shortcoming}"))),
        None => Ok(()),
    }
}

/// What should have happened and did not.
fn shortcoming(report: &Report) -> Option<&'static str> {
    let function = report.functions.iter().find(|function| function.name == CHECK_APPOINTMENT);
    let found = function.and_then(|function| function.result.as_ref()).is_some_and(|result| result["found"] == true);
    let expectations = [
        (report.call.status == "completed", "the call was not completed"),
        (report.barge_in.is_some(), "the agent was not interrupted"),
        (found, "the appointment was not found"),
        (report.call.hangup_party.as_deref() == Some("agent"), "the agent did not end the call"),
        (report.ledger.is_some(), "the call was not settled"),
        (report.recording.is_some(), "the call was not recorded"),
        (is_told(report), "not all webhooks were delivered"),
        (report.webhooks.iter().all(|webhook| webhook.verified), "the signature of a webhook did not hold"),
    ];
    expectations.into_iter().find(|(met, _)| !met).map(|(_, shortcoming)| shortcoming)
}

/// Whether the receiver heard of the call from its ring to its last word, in order.
fn is_told(report: &Report) -> bool {
    let events = report.webhooks.iter().map(|webhook| webhook.event.as_str());
    events.eq(["call.started", "call.answered", "function.called", "call.ended", "call.transcript"])
}
