//! The vendors' public APIs, a folder a vendor. A dialect only translates: the engine's services do the work.

mod context;
mod dialflo;
mod dialro;
mod voxcore;
mod voxstack;

use offhook::call::policy::Screening;
use offhook::ids::{AgentId, TenantId};
use offhook::provider::telephony::E164;
use offhook::service::agents::{Agent, PROMPT_BYTES_MAX};
use offhook::{Error, ErrorKind};
use utoipa_axum::router::OpenApiRouter;
pub(crate) use voxstack::SESSION_COOKIE;

use crate::app::App;
use crate::describe::Described;
use crate::gate::Gate;
use crate::mount::Shape;
use crate::problem::{Answer, Problem};
use crate::request::text;

/// A dialect as the server mounts it.
pub struct Mounted {
    /// Its name in paths.
    pub name: &'static str,
    /// The vendor's own.
    pub title: &'static str,
    /// Who may come in.
    pub gate: Gate,
    /// What needs a key.
    pub gated: fn() -> OpenApiRouter<App>,
    /// What needs none.
    pub open: fn() -> OpenApiRouter<App>,
    /// What its refusals look like.
    pub(crate) refusal: fn() -> Described,
    /// How it refuses.
    pub(crate) shape: Shape,
}

/// All of them.
pub fn all() -> Vec<Mounted> {
    vec![dialro::mounted(), voxstack::mounted(), voxcore::mounted(), dialflo::mounted()]
}

/// An agent as the vendors' APIs make it: it finds out whether a person answers whom it calls.
fn new_agent(app: &App, name: String, system_prompt: String) -> Agent {
    let mut agent = Agent::new(AgentId::generate(app.runtime()), name, system_prompt);
    agent.policy.screening = Some(Screening::default());
    agent
}

/// Bytes of a name at most, in the vendors' APIs.
const NAME_BYTES_MAX: usize = 200;

/// The name of an agent.
fn named(name: String) -> Answer<String> {
    text("name", name, NAME_BYTES_MAX)
}

/// The prompt of an agent, which a dialect has in that field.
fn prompted(field: &str, prompt: String) -> Answer<String> {
    text(field, prompt, PROMPT_BYTES_MAX)
}

/// A refusal of a change that was looked for before, and cannot come any more.
fn unchanged(problem: &Problem) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "dialect.agents", problem.sentence())
}

/// The number that an agent's calls show: one of its tenant's, or the server's own.
async fn caller_id(app: &App, tenant: TenantId, agent: AgentId) -> Answer<E164> {
    let own = app.engine().numbers().caller_id(tenant, agent).await?;
    own.or_else(|| app.options().caller_id.clone()).ok_or_else(|| {
        Problem::invalid("from_number", "is required: neither the agent nor the server has a number to show")
    })
}

/// Nobody shows another tenant's number.
async fn check_caller_id(app: &App, tenant: TenantId, field: &str, number: &E164) -> Answer<()> {
    match app.engine().numbers().find(number).await? {
        Some((owner, _)) if owner != tenant => Err(Problem::invalid(field, "is another tenant's number")),
        _ => Ok(()),
    }
}
