//! What there is, as OpenAPI 3.1: a document a dialect, and pages to browse them that need no other server.

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, RefOr, Schema, SecurityRequirement, ServerBuilder};
use utoipa_swagger_ui::SwaggerUi;

use crate::dialect::{self, Mounted, SESSION_COOKIE};
use crate::native;
use offhook::dialect::Dialect;

/// `/docs`, and the documents behind it at `/openapi/{name}.json`.
pub(crate) fn router() -> Router {
    let dialects = dialect::all();
    let mut documents: Vec<_> =
        dialects.iter().map(|mounted| (mounted.name, document(mounted), (mounted.refusal)())).collect();
    documents.push(("native", own(), Described::of::<native::Refusal>()));
    let mut ui = SwaggerUi::new("/docs");
    for (name, document, refusal) in documents {
        // Values of our own making always have a JSON form.
        let document = serde_json::to_value(refusal.known_to(document)).unwrap_or_default();
        ui = ui.external_url_unchecked(format!("/openapi/{name}.json"), finished(document, &refusal.name));
    }
    ui.into()
}

/// A form with all that it is made of.
pub(crate) struct Described {
    forms: Vec<(String, RefOr<Schema>)>,
    name: String,
}

impl Described {
    pub(crate) fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut forms = vec![(name.clone(), T::schema())];
        T::schemas(&mut forms);
        Self { forms, name }
    }

    /// A document that has it among its own.
    fn known_to(&self, mut document: OpenApi) -> OpenApi {
        let own = &mut document.components.get_or_insert_with(Components::new).schemas;
        own.extend(self.forms.iter().cloned());
        document
    }
}

/// What the handlers' own descriptions leave out, so that clients can be made of the document: every response is described,
/// as the standard wants it, every refusal has a form, and a text that is one of some words is one of them.
fn finished(mut document: Value, refusal: &str) -> Value {
    let content = json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{refusal}") } } });
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    let operations = paths.filter_map(|(_, path)| path.as_object_mut()).flatten();
    for responses in operations.filter_map(|(_, operation)| operation.get_mut("responses")?.as_object_mut()) {
        for (status, response) in responses.iter_mut() {
            let status: StatusCode = status.parse().unwrap_or_default();
            if response["description"].as_str().is_none_or(str::is_empty) {
                response["description"] = status.canonical_reason().unwrap_or("An answer").into();
            }
            let is_refusal = status.is_client_error() || status.is_server_error();
            // It tells what there is in a header.
            let is_bare = status == StatusCode::RANGE_NOT_SATISFIABLE;
            if is_refusal && !is_bare && response.get("content").is_none() {
                response["content"] = content.clone();
            }
        }
        responses.insert("default".to_owned(), json!({ "description": "A refusal", "content": content }));
    }
    words(&mut document);
    document
}

/// Makes the pattern of some words an enumeration of them, at any depth.
fn words(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(words),
        Value::Object(fields) => {
            fields.values_mut().for_each(words);
            let pattern = fields.get("pattern").and_then(Value::as_str).unwrap_or_default();
            let Some(list) = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$")) else { return };
            let is_plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '|');
            if !list.chars().all(is_plain) {
                return;
            }
            let mut values: Vec<Value> = list.split('|').map(Value::from).collect();
            if fields.get("type").is_some_and(Value::is_array) {
                values.push(Value::Null);
            }
            fields.remove("pattern");
            fields.insert("enum".to_owned(), values.into());
        }
        _ => {}
    }
}

/// A dialect's document.
fn document(mounted: &Mounted) -> OpenApi {
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
