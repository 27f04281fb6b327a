//! Who may come in, and how often: keys are asked of the store at each request, so that a revoked one opens nothing from
//! then on; requests are counted for each tenant or key.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use offhook::dialect::Dialect;
use offhook::ids::TenantId;
use uuid::Uuid;

use crate::app::App;
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Caller, Query};

/// How long it is remembered how much a tenant may ask.
const ALLOWANCE_TTL: Duration = Duration::from_secs(10);

/// Counters that are kept at once; beyond it those that are full again are forgotten, and then those that were used longest
/// ago.
const COUNTERS_MAX: usize = 100_000;

const MINUTE: Duration = Duration::from_secs(60);

/// How a dialect lets callers in.
#[derive(Clone, Copy)]
pub struct Gate {
    /// Whose keys open it.
    pub dialect: Dialect,
    /// Where the key stands.
    pub key: fn(&HeaderMap, &Query) -> Option<String>,
    /// How often.
    pub rate: Rate,
}

/// How often callers may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rate {
    /// Requests a minute for each key, unless the tenant has a figure of its own.
    Key(u32),
    /// As the tenant's plan says, over all its keys (DR-013).
    Plan,
    /// No limit.
    Unlimited,
}

/// Lets a request in that has a key, within its rate. The headers that tell the rate stand on every answer to it.
pub async fn pass(State((app, gate)): State<(App, Gate)>, mut request: Request, next: Next) -> Response {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let caller = match identify(&app, gate.dialect, (gate.key)(request.headers(), &query)).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let standing = match standing(&app, gate.rate, &caller).await {
        Ok(standing) => standing,
        Err(problem) => return problem.into_response(),
    };
    let mut response = match &standing {
        Some(Standing { retry_after: Some(after), .. }) => {
            Problem::new(Kind::TooMany, "too many requests").retry_after(*after).into_response()
        }
        _ => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    if let Some(standing) = standing {
        standing.tell(response.headers_mut());
    }
    response
}

/// Whose key that is.
pub async fn identify(app: &App, dialect: Dialect, key: Option<String>) -> Answer<Caller> {
    let refused = |message| Problem::new(Kind::Unauthorized, message);
    let text = key.filter(|key| !key.is_empty()).ok_or_else(|| refused("an API key is required"))?;
    let key = app.engine().keys().authenticate(dialect, &text).await;
    match key {
        Ok(key) => Ok(Caller { tenant: key.tenant, key }),
        Err(error) if error.kind() == offhook::ErrorKind::Unauthenticated => {
            Err(refused("the API key opens nothing here"))
        }
        Err(error) => Err(error.into()),
    }
}

/// What stands behind `Bearer ` in a header.
pub fn bearer(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// A header as it is.
pub fn plain(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| text.trim().to_owned())
}

/// Counts a request of a caller; refuses it when there were too many.
pub(crate) async fn count(app: &App, rate: Rate, caller: &Caller) -> Answer<()> {
    match standing(app, rate, caller).await?.and_then(|standing| standing.retry_after) {
        Some(after) => Err(Problem::new(Kind::TooMany, "too many requests").retry_after(after)),
        None => Ok(()),
    }
}

async fn standing(app: &App, rate: Rate, caller: &Caller) -> Answer<Option<Standing>> {
    let limits = app.limits();
    Ok(match rate {
        Rate::Key(per_minute) => {
            let own = allowance(app, caller.tenant).await?.own;
            Some(limits.count(caller.key.id.as_uuid(), own.unwrap_or(per_minute)))
        }
        Rate::Plan => {
            let Allowance { own, plan } = allowance(app, caller.tenant).await?;
            Some(limits.count(caller.tenant.as_uuid(), own.unwrap_or(plan)))
        }
        Rate::Unlimited => None,
    })
}

async fn allowance(app: &App, tenant: TenantId) -> Answer<Allowance> {
    if let Some(known) = app.limits().allowance(tenant) {
        return Ok(known);
    }
    let found = app.engine().tenants().get(tenant).await?;
    let (own, plan) = found.map(|tenant| (tenant.requests_per_minute, tenant.plan)).unwrap_or_default();
    let allowance = Allowance { own, plan: plan.requests_per_minute() };
    app.limits().learn(tenant, allowance);
    Ok(allowance)
}

/// Requests a minute that a tenant may make. One that was never written down has the smallest plan.
#[derive(Clone, Copy)]
struct Allowance {
    own: Option<u32>,
    plan: u32,
}

/// How a caller stands after a request.
struct Standing {
    limit: u32,
    remaining: u32,
    /// Unix seconds (DR-012, VS-002).
    reset: u64,
    retry_after: Option<Duration>,
}

impl Standing {
    fn tell(&self, headers: &mut HeaderMap) {
        let told = [
            ("x-ratelimit-limit", u64::from(self.limit)),
            ("x-ratelimit-remaining", u64::from(self.remaining)),
            ("x-ratelimit-reset", self.reset),
        ];
        for (name, value) in told {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

struct Counter {
    limit: u32,
    limiter: Arc<Limiter>,
    used_at: Instant,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// The counters of all callers. Each is a bucket that holds a minute's requests and fills evenly.
pub struct RateLimits {
    counters_max: usize,
    state: Mutex<Counters>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { counters_max: COUNTERS_MAX, state: Mutex::default() }
    }
}

#[derive(Default)]
struct Counters {
    counters: BTreeMap<Uuid, Counter>,
    allowances: BTreeMap<TenantId, (Allowance, Instant)>,
}

impl Counters {
    /// Forgets those that are full again, because they were not used for a minute, and then those that were used longest ago
    /// until `left` are left: so many that this is not done at each new caller.
    fn forget(&mut self, now: Instant, left: usize) {
        self.counters.retain(|_, counter| now.duration_since(counter.used_at) < MINUTE);
        let Some(surplus) = self.counters.len().checked_sub(left).filter(|surplus| *surplus > 0) else { return };
        let mut used: Vec<_> = self.counters.iter().map(|(whose, counter)| (counter.used_at, *whose)).collect();
        used.sort_unstable();
        for (_, whose) in used.into_iter().take(surplus) {
            self.counters.remove(&whose);
        }
    }
}

impl RateLimits {
    /// Counts a try of something that has a name; refuses it after so many in a minute.
    pub(crate) fn attempt(&self, name: &str, per_minute: u32) -> Answer<()> {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, name).hash(&mut hasher);
            hasher.finish()
        };
        match self.count(Uuid::from_u64_pair(half(0), half(1)), per_minute).retry_after {
            Some(after) => Err(Problem::new(Kind::TooMany, "too many tries").retry_after(after)),
            None => Ok(()),
        }
    }

    fn count(&self, whose: Uuid, per_minute: u32) -> Standing {
        let limit = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        let limiter = self.limiter(whose, limit, Instant::now());
        let interval = MINUTE / limit.get();
        let (remaining, retry_after) = match limiter.check() {
            Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
            Err(not_until) => (0, Some(not_until.wait_time_from(DefaultClock::default().now()))),
        };
        let full_in = interval * (limit.get() - remaining.min(limit.get()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reset = now.saturating_add(full_in).as_secs().saturating_add(1);
        Standing { limit: limit.get(), remaining, reset, retry_after }
    }

    fn limiter(&self, whose: Uuid, limit: NonZeroU32, now: Instant) -> Arc<Limiter> {
        let mut state = self.state();
        if let Some(counter) = state.counters.get_mut(&whose)
            && counter.limit == limit.get()
        {
            counter.used_at = now;
            return counter.limiter.clone();
        }
        if state.counters.len() >= self.counters_max {
            state.forget(now, self.counters_max / 2);
        }
        let limiter = RateLimiter::direct(Quota::per_minute(limit)).with_middleware::<StateInformationMiddleware>();
        let limiter = Arc::new(limiter);
        let counter = Counter { limit: limit.get(), limiter: limiter.clone(), used_at: now };
        state.counters.insert(whose, counter);
        limiter
    }

    fn allowance(&self, tenant: TenantId) -> Option<Allowance> {
        let state = self.state();
        let (allowance, learnt) = state.allowances.get(&tenant)?;
        (learnt.elapsed() < ALLOWANCE_TTL).then_some(*allowance)
    }

    fn learn(&self, tenant: TenantId, allowance: Allowance) {
        let mut state = self.state();
        if state.allowances.len() >= self.counters_max {
            // What was forgotten is asked for again.
            state.allowances.clear();
        }
        state.allowances.insert(tenant, (allowance, Instant::now()));
    }

    fn state(&self) -> MutexGuard<'_, Counters> {
        // Nothing that runs under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: NonZeroU32 = NonZeroU32::MIN;

    fn limits(counters_max: usize) -> RateLimits {
        RateLimits { counters_max, ..RateLimits::default() }
    }

    fn left(limits: &RateLimits) -> Vec<u128> {
        limits.state().counters.keys().map(|whose| whose.as_u128()).collect()
    }

    #[test]
    fn counters_that_are_full_again_make_room_for_others() {
        let (limits, now) = (limits(4), Instant::now());
        for whose in 0..4_u128 {
            limits.limiter(Uuid::from_u128(whose), LIMIT, now + Duration::from_secs(whose as u64));
        }
        // The first two were not used for a minute by then.
        limits.limiter(Uuid::from_u128(9), LIMIT, now + Duration::from_millis(61_500));
        assert_eq!(left(&limits), [2, 3, 9]);
    }

    #[test]
    fn no_crowd_of_callers_makes_them_more_than_may_be() {
        let (limits, now) = (limits(4), Instant::now());
        for whose in 0..100_u128 {
            limits.limiter(Uuid::from_u128(whose), LIMIT, now + Duration::from_millis(whose as u64));
            assert!(left(&limits).len() <= 4);
        }
        assert!(left(&limits).ends_with(&[98, 99]), "those that were used last are kept");
        let tenants = (0..100).map(|tenant| TenantId::from_uuid(Uuid::from_u128(tenant)));
        tenants.for_each(|tenant| limits.learn(tenant, Allowance { own: None, plan: 1 }));
        assert!(limits.state().allowances.len() <= 4);
    }

    #[test]
    fn whoever_is_remembered_keeps_its_count() {
        let limits = limits(2);
        let (often, once) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(limits.count(often, 1).retry_after.is_none());
        assert!(limits.count(once, 1).retry_after.is_none());
        assert!(limits.count(often, 1).retry_after.is_some());
    }
}
