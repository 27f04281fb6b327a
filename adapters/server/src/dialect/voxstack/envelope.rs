//! What every answer stands in (VS-003, VS-004, VS-A1).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use offhook::engine::Engine;
use offhook::ids::TenantId;
use offhook::time::{Timestamp, micros};
use offhook::trace::TraceParent;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::app::App;
use crate::pages::{Page, Place};
use crate::problem::{Answer, Problem};
use crate::request::{Caller, Query, RequestId, Traced};

/// A request that the gate has let in, and what answers it.
pub(super) struct Ask {
    pub(super) app: App,
    id: RequestId,
    /// What it is a part of.
    pub(super) parent: Option<TraceParent>,
    pub(super) tenant: TenantId,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Envelope<T> {
    success: bool,
    data: T,
    meta: Meta,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Failure)]
pub(super) struct Failure {
    success: bool,
    error: String,
    /// `code`, and where one is wrong `field`.
    details: BTreeMap<&'static str, String>,
    meta: Meta,
}

/// What is said of every answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Meta)]
pub(super) struct Meta {
    #[schema(format = "date-time")]
    timestamp: String,
    #[schema(format = "uuid")]
    request_id: String,
    /// In lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination>,
}

/// Which part of a list it is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Pagination)]
pub(super) struct Pagination {
    pub(super) limit: u32,
    pub(super) offset: u64,
    pub(super) total: u64,
}

/// What is left of something that was deleted (VS-006).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Deleted)]
pub(super) struct Deleted {
    deleted: bool,
}

/// What handlers answer.
pub(super) type Told<T> = Answer<Json<Envelope<T>>>;

/// What handlers of long lists answer.
pub(super) type Listed = Told<Arc<RawValue>>;

/// What handlers answer that make something (VS-006).
pub(super) type Made<T> = Answer<(StatusCode, Json<Envelope<T>>)>;

impl FromRequestParts<App> for Ask {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let Caller { tenant, .. } = Caller::from_request_parts(parts, app).await?;
        let Traced(parent) = Traced::from_request_parts(parts, app).await?;
        Ok(Self { parent, ..Self::new(app.clone(), RequestId::from_request_parts(parts, app).await?, tenant) })
    }
}

impl Ask {
    pub(super) fn new(app: App, id: RequestId, tenant: TenantId) -> Self {
        Self { app, id, parent: None, tenant }
    }

    pub(super) fn engine(&self) -> &Engine {
        self.app.engine()
    }

    pub(super) fn tell<T>(&self, data: T) -> Told<T> {
        Ok(Json(envelope(data, self.id, None)))
    }

    pub(super) fn made<T>(&self, data: T) -> Made<T> {
        Ok((StatusCode::CREATED, Json(envelope(data, self.id, None))))
    }

    pub(super) fn deleted(&self) -> Told<Deleted> {
        self.tell(Deleted { deleted: true })
    }

    pub(super) fn list<T>(&self, data: Vec<T>, pagination: Pagination) -> Told<Vec<T>> {
        Ok(Json(envelope(data, self.id, Some(pagination))))
    }
}

impl Ask {
    /// A part of a long list, as [`Pages`](crate::pages::Pages) have it.
    pub(super) async fn page<T: Serialize>(
        &self,
        list: &'static str,
        query: Query,
        version: Option<u64>,
        make: impl Future<Output = Answer<(Vec<T>, u64)>>,
        (offset, limit): (u64, u32),
    ) -> Listed {
        let place = Place { list, query, tenant: self.tenant };
        let Page { items, total } = self.app.pages().get(place, version, make).await?;
        Ok(Json(envelope(items, self.id, Some(Pagination { limit, offset, total }))))
    }
}

impl Pagination {
    /// Of a list that is always shown whole.
    pub(super) fn whole(length: usize) -> Self {
        Self { limit: u32::try_from(length).unwrap_or(u32::MAX), offset: 0, total: length as u64 }
    }
}

impl Failure {
    pub(super) fn of(problem: &Problem, id: RequestId) -> Self {
        let mut details = problem.details.clone();
        details.insert("code", problem.kind.as_str().to_owned());
        if let Some(field) = problem.field.as_ref().filter(|field| !field.is_empty()) {
            details.insert("field", field.clone());
        }
        Self { success: false, error: problem.sentence(), details, meta: meta(id, None) }
    }
}

/// `offset` and `limit` of a list.
pub(super) fn page(query: &Query) -> Answer<(u64, u32)> {
    query.page(LIMIT_DEFAULT, LIMIT_MAX)
}

pub(super) fn envelope<T>(data: T, id: RequestId, pagination: Option<Pagination>) -> Envelope<T> {
    Envelope { success: true, data, meta: meta(id, pagination) }
}

fn meta(id: RequestId, pagination: Option<Pagination>) -> Meta {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now = Timestamp::from_unix_micros(i64::try_from(micros(since_epoch)).unwrap_or(i64::MAX));
    Meta { timestamp: now.to_string(), request_id: id.to_string(), pagination }
}
