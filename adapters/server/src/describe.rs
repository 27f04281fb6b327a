//! What there is, as OpenAPI 3.1: a document a dialect, and pages to browse them that need no other server.

use axum::Router;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, SecurityRequirement, ServerBuilder};
use utoipa_swagger_ui::SwaggerUi;

use crate::dialect::{self, Mounted, SESSION_COOKIE};
use crate::native;
use offhook::dialect::Dialect;

/// `/docs`, and the documents behind it at `/openapi/{name}.json`.
pub(crate) fn router() -> Router {
    let mut documents: Vec<(&str, OpenApi)> =
        dialect::all().iter().map(|mounted| (mounted.name, document(mounted))).collect();
    documents.push(("native", own()));
    let mut ui = SwaggerUi::new("/docs");
    for (name, document) in documents {
        ui = ui.url(format!("/openapi/{name}.json"), document);
    }
    ui.into()
}

/// A dialect's document.
pub(crate) fn document(mounted: &Mounted) -> OpenApi {
    let (_, gated) = (mounted.gated)().split_for_parts();
    let (_, open) = (mounted.open)().split_for_parts();
    let mut document = gated;
    let (name, scheme) = scheme(mounted.gate.dialect);
    let schemes = &mut document.components.get_or_insert_with(Components::new).security_schemes;
    schemes.insert(name.to_owned(), scheme.into());
    if mounted.gate.dialect == Dialect::VoxStack {
        // Management is for people (VS-081).
        let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE)));
        schemes.insert("session".to_owned(), session.into());
    }
    document.security = Some(vec![SecurityRequirement::new(name, Vec::<String>::new())]);
    document.merge(open);
    titled(document, mounted.title, &format!("/{}", mounted.name))
}

fn own() -> OpenApi {
    let (_, document) = native::routes().split_for_parts();
    titled(document, "offhook", "/")
}

fn titled(mut document: OpenApi, title: &str, path: &str) -> OpenApi {
    document.info = InfoBuilder::new().title(title).version(env!("CARGO_PKG_VERSION")).build();
    document.servers = Some(vec![ServerBuilder::new().url(path).build()]);
    document
}

fn scheme(dialect: Dialect) -> (&'static str, SecurityScheme) {
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    match dialect {
        Dialect::Dialflo => ("auth_token", header("auth_token")),
        Dialect::Dialro => ("x-api-key", header("x-api-key")),
        Dialect::VoxCore => ("X-API-Key", header("X-API-Key")),
        Dialect::Dialai | Dialect::VoxStack => {
            ("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        }
    }
}
