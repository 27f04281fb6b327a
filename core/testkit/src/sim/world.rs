//! A world: engine, providers, store, carriers and people, from its first call to the moment when nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use offhook::call::CallEvent;
use offhook::engine::{CallHandle, Engine, Providers};
use offhook::error::{ErrorKind, Result};
use offhook::ids::{AgentId, CallId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::llm::{Message, Tool};
use offhook::provider::store::{Query, Store};
use offhook::provider::stt::SttEvent;
use offhook::provider::telephony::E164;
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::agents::{Agent, Function};
use offhook::service::calls::CALL;
use offhook::service::outbox::DELIVERY;
use offhook::service::webhooks::NewEndpoint;
use offhook::signing::Secret;
use offhook::time::{Instant, Timestamp};

use super::http::{FUNCTION_URL, Http, Inbox, WEBHOOK_SECRET, WEBHOOK_URL};
use super::model::{FUNCTION, Model};
use super::person;
use super::plan::{self, CallPlan, Direction, Mutation, Operator, Plan};
use super::recogniser::Recogniser;
use super::store::SimulatedStore;
use super::stubborn::Stubborn;
use super::synthesiser::Synthesiser;
use super::voice::Said;
use crate::carrier::{Answering, Caller, Carrier};
use crate::fates::{Fates, Fault};
use crate::runtime::{Limits, Stop, VirtualRuntime};
use crate::script::MemoryBlob;

/// A world that is not at rest by then is stuck: longer than any call, hold, lease and back-off in it.
const LIFE_MAX: Duration = Duration::from_secs(2 * 3_600);

/// How often the world looks whether it is at rest.
const REST_INTERVAL: Duration = Duration::from_secs(2);

/// When the first call may begin.
const EPOCH: Timestamp = Timestamp::from_unix_micros(1_763_622_000_000_000);

const OUR_NUMBER: &str = "+622150001000";
const SETUP_ATTEMPTS_MAX: u32 = 20;
const TOPIC_CLOCK: u64 = 3;
const TOPIC_CRASH: u64 = 4;
const TOPIC_HUMANS: u64 = 5;

/// A UUID as text.
pub(super) const UUID_BYTES: usize = 36;

/// What outlives a crash, and what everybody in a world knows.
pub(super) struct World {
    pub(super) fates: Fates,
    pub(super) inbox: Inbox,
    pub(super) plan: Plan,
    pub(super) said: Said,
    pub(super) store: Arc<MemoryStore>,
    pub(super) tenants: Vec<TenantId>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    by_id: BTreeMap<String, u32>,
    histories: Vec<History>,
}

/// What became of a call, as the world saw it.
#[derive(Default)]
pub(super) struct History {
    /// What the model was told that the agent had said, each time it was asked.
    pub(super) asked: Vec<Asked>,
    pub(super) caller: Option<Arc<Caller>>,
    pub(super) events: Vec<CallEvent>,
    pub(super) id: Option<CallId>,
    /// The process died while it ran.
    pub(super) is_crashed: bool,
    /// What the recogniser took for words before it was sure, without marks.
    pub(super) guessed: BTreeSet<String>,
    /// The holder saw the end.
    pub(super) is_over: bool,
    /// What the recogniser understood.
    pub(super) recognised: Vec<String>,
    /// Words of the model so far.
    words: u32,
}

/// A question to the model.
pub(super) struct Asked {
    pub(super) at: Instant,
    /// Said by the agent, but for what may still be spoken.
    pub(super) said: Vec<String>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Result<Arc<Self>> {
        let dice = plan.dice.at(2);
        let fates = Fates::new(dice, plan.families.clone(), plan.off.clone(), plan.is_hasty);
        let tenants = (0..plan.credits.len()).map(|tenant| {
            let bytes = dice.at(9).at(tenant as u64).number().to_le_bytes();
            TenantId::new(EPOCH, std::array::from_fn(|index| bytes[index % bytes.len()]))
        });
        let mut histories = Vec::new();
        let length = plan.calls.iter().map(|call| call.index as usize + 1).max().unwrap_or(0);
        histories.resize_with(length, History::default);
        Ok(Arc::new(Self {
            fates,
            inbox: Inbox::default(),
            said: Said::default(),
            store: Arc::new(MemoryStore::new(service::schema())?),
            tenants: tenants.collect(),
            calls: Mutex::new(Calls { by_id: BTreeMap::new(), histories }),
            plan,
        }))
    }

    /// Lets everything happen. Returns what kept the world from coming to rest, if anything.
    pub(super) fn live(self: &Arc<Self>) -> Option<String> {
        let mut wall_clock = EPOCH;
        let mut life = 0;
        loop {
            let runtime = VirtualRuntime::starting_at(self.plan.dice.at(3).at(life).number(), wall_clock);
            let crash = self.fates.strikes(Fault::Crash, Fates::NOBODY);
            let polls_max =
                if crash { self.fates.dice(Fates::NOBODY, TOPIC_CRASH).below(life, 20_000) } else { u64::MAX };
            let limits = Limits { polls_max, until: Instant::from_micros(0) + LIFE_MAX };
            let stage = Stage::set(self.clone(), runtime.clone());
            let problem = match runtime.run(stage.play(), limits) {
                Ok(()) => stage.leave(limits),
                Err(Stop::Polls) => {
                    self.crash();
                    runtime.stop();
                    wall_clock = runtime.wall_clock() + Duration::from_secs(1);
                    life += 1;
                    continue;
                }
                Err(stop) => Some(format!("the world does not come to rest: {stop:?}, {}", self.unfinished())),
            };
            runtime.stop();
            return problem;
        }
    }

    /// The number of the call with that id.
    pub(super) fn whose(&self, id: &str) -> u32 {
        self.calls().by_id.get(id).copied().unwrap_or(Fates::NOBODY)
    }

    /// Notes a question to the model and returns how many there were before.
    pub(super) fn asked(&self, call: u32, at: Instant, messages: &[Message]) -> u32 {
        let mut calls = self.calls();
        let Some(history) = calls.histories.get_mut(call as usize) else { return 0 };
        // Since the caller's last words, and just before them, speech may still be on its way.
        let settled = messages.iter().rposition(|message| matches!(message, Message::User { .. })).unwrap_or(0);
        let mut texts: Vec<&str> = messages[..settled]
            .iter()
            .filter_map(|message| match message {
                Message::Assistant { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        texts.pop();
        let said = texts.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
        history.asked.push(Asked { at, said });
        u32::try_from(history.asked.len() - 1).unwrap_or(u32::MAX)
    }

    /// Takes so many new words for the model to say; returns the first one's number.
    pub(super) fn next_words(&self, call: u32, words: u32) -> u32 {
        let mut calls = self.calls();
        let Some(history) = calls.histories.get_mut(call as usize) else { return 0 };
        let first = history.words;
        history.words += words;
        first
    }

    /// Notes what the recogniser told the engine.
    pub(super) fn recognised(&self, output: &Result<SttEvent>) {
        let (text, is_final) = match output {
            Ok(SttEvent::Final { text, .. }) => (text, true),
            Ok(SttEvent::Interim { text }) => (text, false),
            _ => return,
        };
        let Some(call) = text.split_whitespace().next().and_then(person::call_of) else { return };
        if let Some(history) = self.calls().histories.get_mut(call as usize) {
            let words = text.split_whitespace();
            if is_final {
                history.recognised.extend(words.map(str::to_owned));
            } else {
                history.guessed.extend(words.map(|word| word.trim_end_matches(['.', '!', '?', ',']).to_owned()));
            }
        }
    }

    pub(super) fn with_history<T>(&self, call: u32, f: impl FnOnce(&mut History) -> T) -> Option<T> {
        self.calls().histories.get_mut(call as usize).map(f)
    }

    fn crash(&self) {
        for history in &mut self.calls().histories {
            history.is_crashed |= history.id.is_some() && !history.is_over;
        }
    }

    fn unfinished(&self) -> String {
        let calls = self.calls();
        let open = calls.histories.iter().enumerate().filter(|(_, history)| !history.is_over);
        let names: Vec<_> = open.map(|(index, _)| format!("call {index}")).collect();
        format!("not over: [{}]", names.join(", "))
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of the engine's process, and the world around it meanwhile.
struct Stage {
    carrier: Carrier,
    engine: Engine,
    runtime: VirtualRuntime,
    world: Arc<World>,
}

impl Stage {
    fn set(world: Arc<World>, runtime: VirtualRuntime) -> Self {
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let carrier = Carrier::with_fates(shared.clone(), world.fates.clone());
        let providers = Providers {
            blob: world.plan.records.then(|| Arc::new(MemoryBlob::default()) as _),
            http: Arc::new(Http { runtime: shared.clone(), world: world.clone() }),
            llm: Arc::new(Model { runtime: shared.clone(), world: world.clone() }),
            runtime: shared.clone(),
            store: Arc::new(SimulatedStore { runtime: shared.clone(), world: world.clone() }),
            stt: Arc::new(Recogniser { runtime: shared.clone(), world: world.clone() }),
            telephony: match world.plan.mutation {
                Some(Mutation::SwallowCancel) => {
                    Arc::new(Stubborn { carrier: carrier.clone(), runtime: shared.clone() })
                }
                _ => Arc::new(carrier.clone()),
            },
            tts: Arc::new(Synthesiser { runtime: shared, world: world.clone() }),
        };
        let engine = Engine::with_settings(providers, world.plan.settings.clone());
        Self { carrier, engine, runtime, world }
    }

    async fn play(&self) {
        let fates = &self.world.fates;
        if fates.strikes(Fault::ClockSet, Fates::NOBODY) {
            let (runtime, dice) = (self.runtime.clone(), fates.dice(Fates::NOBODY, TOPIC_CLOCK));
            let set = async move {
                for time in 0..3 {
                    runtime.sleep(dice.millis(time, 100, 15_000)).await;
                    let micros = i64::try_from(dice.at(1).below(time, 600_000_000)).unwrap_or(0);
                    runtime.set_wall_clock(micros - 300_000_000);
                }
            };
            self.runtime.spawn("clock", Box::pin(set));
        }
        self.found().await;
        self.staff();
        for call in &self.world.plan.calls {
            let is_begun = self.world.with_history(call.index, |history| history.id.is_some()).unwrap_or(true);
            if !is_begun {
                self.runtime.sleep_until(Instant::from_micros(0) + call.starts).await;
                self.begin(call);
            }
        }
        while !self.is_at_rest() {
            self.runtime.sleep(REST_INTERVAL).await;
        }
    }

    /// Ends the process and lets what is left come to its end. Returns what does not.
    fn leave(self, limits: Limits) -> Option<String> {
        let Self { carrier, engine, runtime, .. } = self;
        carrier.close();
        drop((carrier, engine));
        // A crash that was to come later does not come any more.
        let _ = runtime.run(std::future::pending::<()>(), Limits { polls_max: u64::MAX, ..limits });
        let running = runtime.running();
        (!running.is_empty()).then(|| format!("tasks that never end: {running:?}"))
    }

    /// Gives each tenant its talk time and an endpoint.
    async fn found(&self) {
        for (tenant, credit) in self.world.tenants.iter().zip(&self.world.plan.credits) {
            for _ in 0..SETUP_ATTEMPTS_MAX {
                if self.engine.credits().grant(*tenant, *credit, "first").await.is_ok() {
                    break;
                }
            }
            for _ in 0..SETUP_ATTEMPTS_MAX {
                let mut endpoint = NewEndpoint::new(WEBHOOK_URL);
                endpoint.secret = Some(WEBHOOK_SECRET.to_owned());
                match self.engine.webhooks().register(*tenant, "crm", endpoint).await {
                    Ok(_) => break,
                    // It was registered before the crash, or by an attempt whose answer was lost.
                    Err(error) if error.kind() == ErrorKind::Conflict => break,
                    Err(_) => {}
                }
            }
        }
    }

    /// Puts humans at the numbers to which calls are handed over.
    fn staff(&self) {
        let dice = self.world.fates.dice(Fates::NOBODY, TOPIC_HUMANS);
        for (branch, number) in [(0, plan::DESK), (1, plan::DOCTOR)] {
            let Ok(number) = number.parse() else { continue };
            let humans = self.carrier.when_dialled_for(
                Fates::NOBODY,
                &number,
                Answering::After(dice.millis(branch, 200, 8_000)),
            );
            let runtime = self.runtime.clone();
            let desk = async move {
                while let Ok(human) = humans.recv().await {
                    person::take_over(human, dice).await;
                    runtime.sleep(REST_INTERVAL).await;
                }
            };
            self.runtime.spawn("human", Box::pin(desk));
        }
    }

    fn begin(&self, call: &CallPlan) {
        let number = format!("+1555{:07}", call.index);
        let tenant = self.world.tenants[call.tenant];
        let agent = Arc::new(agent(call, self.runtime.wall_clock()));
        let (handle, caller) = match call.direction {
            Direction::Inbound => {
                let (incoming, caller) = self.carrier.ring_for(call.index, &number, OUR_NUMBER);
                let (sender, receiver) = async_channel::bounded(1);
                let _ = sender.try_send(caller);
                (self.engine.accept(tenant, agent, incoming), receiver)
            }
            Direction::Outbound(answering) => {
                let (Ok(from), Ok(to)) = (OUR_NUMBER.parse::<E164>(), number.parse::<E164>()) else { return };
                let caller = self.carrier.when_dialled_for(call.index, &to, answering);
                (self.engine.dial(tenant, agent, from, to), caller)
            }
        };
        let Ok(handle) = handle else { return };
        let id = handle.id();
        self.world.calls().by_id.insert(id.to_string(), call.index);
        self.world.with_history(call.index, |history| history.id = Some(id));
        let (world, runtime, plan) = (self.world.clone(), self.runtime.clone(), call.clone());
        self.runtime.spawn("holder", Box::pin(hold(world, runtime, plan, handle)));
        let (world, runtime, plan) = (self.world.clone(), self.runtime.clone(), call.clone());
        let life = async move {
            let Ok(caller) = caller.recv().await else { return };
            let caller = Arc::new(caller);
            world.with_history(plan.index, |history| history.caller = Some(caller.clone()));
            person::live(world, Arc::new(runtime), plan, caller).await;
        };
        self.runtime.spawn("person", Box::pin(life));
    }

    /// Whether all calls are over and settled, and all webhooks delivered.
    fn is_at_rest(&self) -> bool {
        let calls = self.world.calls();
        if !calls.histories.iter().all(|history| history.id.is_none() || history.is_over || history.is_crashed) {
            return false;
        }
        drop(calls);
        let none = |query: Query| {
            let page = self.world.store.list(query).now_or_never().and_then(Result::ok);
            page.is_some_and(|page| page.records.iter().all(|record| record.due_at.is_none()))
        };
        none(Query::new(None, CALL)) && self.all_is_delivered()
    }

    /// Only what is pending has a turn.
    fn all_is_delivered(&self) -> bool {
        let pending = Query::new(None, DELIVERY).range("turn", None, None);
        let page = self.world.store.list(pending).now_or_never().and_then(Result::ok);
        page.is_some_and(|page| page.records.is_empty())
    }
}

/// Holds a call to its end.
async fn hold(world: Arc<World>, runtime: VirtualRuntime, plan: CallPlan, mut handle: CallHandle) {
    let mut order = plan.operator.map(|(after, order)| (runtime.now() + after, order));
    loop {
        let alarm = async {
            match order {
                Some((at, _)) => runtime.sleep_until(at).await,
                None => std::future::pending().await,
            }
            None
        };
        let event = async { Some(handle.next_event().await) };
        match futures_lite::future::or(event, alarm).await {
            Some(Some(event)) => {
                world.with_history(plan.index, |history| history.events.push(event));
            }
            Some(None) => break,
            None => {
                let result = match order.take() {
                    Some((at, Operator::Hold(length))) => {
                        order = Some((at + length, Operator::Resume));
                        handle.hold()
                    }
                    Some((_, Operator::Resume)) => handle.resume(),
                    Some((_, Operator::Say)) => handle.say("One moment please."),
                    Some((_, Operator::Transfer(target))) => handle.transfer(target, "Brief about the caller."),
                    Some((_, Operator::HangUp)) | None => handle.hang_up(),
                };
                // The call's queue of requests is not full: this is the only one.
                let _ = result;
            }
        }
    }
    world.with_history(plan.index, |history| history.is_over = true);
}

fn agent(plan: &CallPlan, now: Timestamp) -> Agent {
    let mut agent = Agent::new(AgentId::new(now, [8; 10]), "Ada", "You hold the call {{call.id}}");
    agent.greeting = plan.greets.then(|| "Good day, this is Ada at your service.".to_owned());
    agent.policy = plan.policy.clone();
    agent.voice = Some(plan.index.to_string());
    let tool = Tool {
        description: "Looks a number up.".to_owned(),
        name: FUNCTION.to_owned(),
        parameters: serde_json::json!({ "type": "object" }),
    };
    agent.functions.push(Function::new(FUNCTION_URL, tool).signed(Secret::new("function secret")));
    agent
}
