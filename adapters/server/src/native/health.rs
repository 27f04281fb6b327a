//! How the server is, as VoxCore tells it (FL-060 to FL-064). Nothing here asks the store: it answers under any load.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// Slots that are told where the engine has no limit.
const UNLIMITED: u64 = 1_000_000;

/// One worker: this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    id: String,
    calls: u64,
    max: u64,
    pid: u32,
    status: &'static str,
}

/// FL-061
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fleet {
    status: &'static str,
    fleet_calls: u64,
    fleet_max: u64,
    fleet_available: u64,
    workers: Vec<Worker>,
}

/// FL-063
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
    worker_calls: u64,
    worker_max: u64,
    total_capacity: u64,
    total_available: u64,
    workers: u64,
    worker_id: String,
    worker_pid: u32,
}

/// Whether this process works, and how many calls it holds.
#[utoipa::path(get, operation_id = "get_health", path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Json<Health> {
    let Occupied { calls, max } = occupied(&app);
    Json(Health {
        status: "ok",
        worker_calls: calls,
        worker_max: max,
        total_capacity: max,
        total_available: max - calls,
        workers: 1,
        worker_id: "1".to_owned(),
        worker_pid: std::process::id(),
    })
}

/// How many calls may be placed now: send no more than `fleet_available`.
#[utoipa::path(get, operation_id = "get_fleet_health", path = "/health/fleet", tag = "health", responses((status = 200, body = Fleet)))]
pub(crate) async fn fleet(State(app): State<App>) -> Json<Fleet> {
    let Occupied { calls, max } = occupied(&app);
    let worker = Worker { id: "1".to_owned(), calls, max, pid: std::process::id(), status: "ok" };
    Json(Fleet {
        status: "ok",
        fleet_calls: calls,
        fleet_max: max,
        fleet_available: max - calls,
        workers: vec![worker],
    })
}

struct Occupied {
    calls: u64,
    max: u64,
}

/// Calls that are about to begin count; they are never more than there are slots for long.
fn occupied(app: &App) -> Occupied {
    let max = app.options().calls_max.map_or(UNLIMITED, u64::from);
    Occupied { calls: (app.engine().live_calls() as u64).min(max), max }
}
