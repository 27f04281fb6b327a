//! What people do who manage a tenant: they log in, and a cookie tells who they are (VS-080, VS-081).

mod api_keys;
mod auth;
mod organizations;
mod session;
mod users;

pub(crate) use self::session::SESSION_COOKIE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

/// Its routes, below the API's root.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::accept))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::delete))
        .routes(routes!(api_keys::regenerate))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::get, organizations::update))
        .routes(routes!(users::list))
        .routes(routes!(users::invite))
}
