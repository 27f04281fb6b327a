//! The tenant's API keys.

use axum::extract::Path;
use offhook::dialect::Dialect;
use offhook::ids::ApiKeyId;
use offhook::service::keys::{ApiKey, NewApiKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::envelope::{Deleted, Envelope, Failure, Made, Pagination, Told};
use super::session::Managed;
use crate::dialect::NAME_BYTES_MAX;
use crate::id;
use crate::problem::{Answer, Problem};
use crate::request::{Body, text};

/// A key as it is shown: never with its text but once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::ApiKey)]
pub(super) struct Shown {
    #[schema(format = "uuid")]
    id: String,
    name: String,
    /// Its last characters.
    hint: String,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// Only in the answer to its making.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::NewApiKey)]
pub(super) struct New {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

/// The tenant's keys, the oldest first.
#[utoipa::path(get, operation_id = "list_api_keys", path = "/api-keys", tag = "management", security(("session" = [])), responses((status = 200, body = Envelope<Vec<Shown>>), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn list(managed: Managed) -> Told<Vec<Shown>> {
    let keys = live(&managed).await?;
    managed.ask.list(keys.iter().map(|key| Shown::of(key, None)).collect(), Pagination::whole(keys.len()))
}

/// Makes a key.
#[utoipa::path(post, operation_id = "create_api_key", path = "/api-keys", tag = "management", security(("session" = [])), request_body = New, responses((status = 201, body = Envelope<Shown>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn create(managed: Managed, body: Body<New>) -> Made<Shown> {
    managed.require_admin()?;
    let name = text("name", body.read()?.name, NAME_BYTES_MAX)?;
    let new = NewApiKey::new(Dialect::VoxStack, name);
    let (key, text) = managed.ask.engine().keys().create(managed.ask.tenant, new).await?;
    managed.ask.made(Shown::of(&key, Some(text)))
}

/// Takes a key away: it opens nothing from then on.
#[utoipa::path(delete, operation_id = "delete_api_key", path = "/api-keys/{id}", tag = "management", security(("session" = [])), params(("id" = String, Path)), responses((status = 200, body = Envelope<Deleted>), (status = 401, body = Failure), (status = 403, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn delete(managed: Managed, Path(id): Path<String>) -> Told<Deleted> {
    managed.require_admin()?;
    let id = find(&managed, &id).await?;
    managed.ask.engine().keys().revoke(managed.ask.tenant, id).await?;
    managed.ask.deleted()
}

/// Takes a key away and makes one like it.
#[utoipa::path(post, operation_id = "regenerate_api_key", path = "/api-keys/{id}/regenerate", tag = "management", security(("session" = [])), params(("id" = String, Path)), responses((status = 200, body = Envelope<Shown>), (status = 401, body = Failure), (status = 403, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn regenerate(managed: Managed, Path(id): Path<String>) -> Told<Shown> {
    managed.require_admin()?;
    let id = find(&managed, &id).await?;
    let (key, text) = managed.ask.engine().keys().regenerate(managed.ask.tenant, id).await?;
    managed.ask.tell(Shown::of(&key, Some(text)))
}

/// Those that are this API's and not revoked.
async fn live(managed: &Managed) -> Answer<Vec<ApiKey>> {
    let mut keys = managed.ask.engine().keys().list(managed.ask.tenant).await?;
    keys.retain(|key| key.dialect == Dialect::VoxStack && key.revoked_at.is_none());
    Ok(keys)
}

async fn find(managed: &Managed, id: &str) -> Answer<ApiKeyId> {
    let id: ApiKeyId = id::parse(id, "", "API key")?;
    let is_there = live(managed).await?.iter().any(|key| key.id == id);
    if is_there { Ok(id) } else { Err(Problem::not_found("API key")) }
}

impl Shown {
    fn of(key: &ApiKey, text: Option<String>) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.label.clone(),
            hint: key.hint.clone(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|moment| moment.to_string()),
            key: text,
        }
    }
}
