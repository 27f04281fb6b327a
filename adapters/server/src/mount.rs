//! The whole server as one router: every dialect at its place, and around it what every request goes through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::{App, REQUEST_TIMEOUT};
use crate::dialect::{self, Mounted};
use crate::gate;
use crate::problem::{Kind, Problem};
use crate::request::RequestId;
use crate::{describe, metrics, native};

/// Writes a refusal in a dialect's form.
pub(crate) type Shape = fn(&Problem, RequestId) -> Response;

/// All of it.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    let mut root = None;
    for mounted in dialect::all() {
        router = router.nest(&format!("/{}", mounted.name), mounted.router(&app));
        if app.options().root == Some(mounted.gate.dialect) {
            root = Some(mounted.router(&app));
        }
    }
    let (native, _) = native::routes().split_for_parts();
    let router = router.merge(dressed(native.with_state(app.clone()), native::shape)).merge(describe::router());
    let nothing = || dressed(Router::new().fallback(no_path), native::shape);
    around(router.fallback_service(root.unwrap_or_else(nothing)), &app)
}

impl Mounted {
    fn router(&self, app: &App) -> Router {
        let (gated, _) = (self.gated)().split_for_parts();
        let (open, _) = (self.open)().split_for_parts();
        let gated = gated.fallback(no_path).method_not_allowed_fallback(no_method).with_state(app.clone());
        let gated = gated.layer(middleware::from_fn_with_state((app.clone(), self.gate), gate::pass));
        let open = open.method_not_allowed_fallback(no_method).with_state(app.clone());
        dressed(open.merge(gated), self.shape)
    }
}

async fn no_path() -> Problem {
    Problem::not_found("path")
}

async fn no_method() -> Problem {
    Problem::new(Kind::Method, "there is no such method here")
}

/// A router whose refusals have that form.
fn dressed(router: Router, shape: Shape) -> Router {
    router.layer(CatchPanicLayer::custom(panicked)).layer(middleware::from_fn_with_state(shape, dress))
}

async fn dress(State(shape): State<Shape>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().copied().unwrap_or(RequestId(Uuid::nil()));
    // A body that streams goes on after this: only its beginning is waited for.
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(Kind::External, "the request took too long").retry_after(REQUEST_TIMEOUT).into_response()
        }
    };
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    let Some(problem) = problem.or_else(|| foreign(&response)) else { return response };
    let mut shaped = shape(&problem, id);
    for (name, value) in response.headers() {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(after) = problem.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        shaped.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    shaped
}

/// A refusal that the framework wrote, such as of a path that is no UTF-8: in plain text, which nothing here answers with.
fn foreign(response: &Response) -> Option<Arc<Problem>> {
    let kind = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let is_foreign = response.status().is_client_error() && kind.starts_with("text/plain");
    is_foreign.then(|| Arc::new(Problem::new(Kind::Invalid, "the request cannot be understood")))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request panicked");
    Problem::new(Kind::Internal, "something went wrong here").into_response()
}

/// What every request goes through: a name, a line in the log, a limit of time, and the rules for pages of other origins.
fn around(router: Router, app: &App) -> Router {
    let router = router.layer(middleware::from_fn_with_state(app.clone(), named));
    match cors(&app.options().cors) {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

async fn named(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = RequestId(Uuid::from_u128(random(&app)));
    request.extensions_mut().insert(id);
    let (api, method) = (metrics::api_of(request.uri().path()), word(request.method()));
    let begun = Instant::now();
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    app.metrics().answered(api, method, response.status(), begun.elapsed());
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    response
}

/// A client may make methods up; nothing is kept of those.
fn word(method: &Method) -> &'static str {
    let known = [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD];
    let words = ["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "HEAD"];
    known.iter().zip(words).find(|(known, _)| *known == method).map_or("other", |(_, word)| word)
}

fn random(app: &App) -> u128 {
    let moment = app.runtime().wall_clock();
    offhook::ids::uuid_v7(moment, offhook::runtime::random_id_bytes(app.runtime())).as_u128()
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .max_age(Duration::from_secs(3_600));
    if origins.iter().any(|origin| origin == "*") {
        return Some(layer.allow_origin(Any));
    }
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    Some(layer.allow_origin(origins))
}
