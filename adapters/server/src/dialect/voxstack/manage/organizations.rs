//! The tenants of whoever is logged in.

use axum::extract::Path;
use offhook::ids::TenantId;
use offhook::service::tenants::{Plan, Tenant};
use offhook::service::users::{Member, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::envelope::{Envelope, Failure, Made, Pagination, Told};
use super::session::Managed;
use crate::id;
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Body, text};

/// A tenant as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Organization)]
pub(super) struct Organization {
    #[schema(format = "uuid")]
    id: String,
    name: String,
    /// What whoever asks may do there.
    #[schema(pattern = "^(admin|member)$")]
    role: &'static str,
    #[schema(format = "date-time")]
    created_at: String,
}

/// What may be said of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::NewOrganization)]
pub(super) struct New {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

/// A change of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::OrganizationChange)]
pub(super) struct Patch {
    name: Option<String>,
}

/// The tenants of whoever asks, the oldest first.
#[utoipa::path(get, operation_id = "list_organizations", path = "/organizations", tag = "management", security(("session" = [])), responses((status = 200, body = Envelope<Vec<Organization>>), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn list(managed: Managed) -> Told<Vec<Organization>> {
    let engine = managed.ask.engine();
    let mut shown = Vec::new();
    for place in engine.users().memberships(managed.member.user.id).await? {
        if let Some(tenant) = engine.tenants().get(place.tenant).await? {
            shown.push(Organization::of(&tenant, place.role));
        }
    }
    let whole = Pagination::whole(shown.len());
    managed.ask.list(shown, whole)
}

/// Makes a tenant, whose administrator is whoever asks.
#[utoipa::path(post, operation_id = "create_organization", path = "/organizations", tag = "management", security(("session" = [])), request_body = New, responses((status = 201, body = Envelope<Organization>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn create(managed: Managed, body: Body<New>) -> Made<Organization> {
    managed.require_admin()?;
    let new = body.read()?;
    let engine = managed.ask.engine();
    let places = engine.users().memberships(managed.member.user.id).await?;
    if places.len() >= ORGANIZATIONS_MAX {
        return Err(Problem::new(Kind::Conflict, "there are as many organizations as may be"));
    }
    let tenant = engine.tenants().create(&named(new.name)?, Plan::default()).await?;
    engine.users().join(tenant.id, managed.member.user.clone(), Role::Admin).await?;
    managed.ask.made(Organization::of(&tenant, Role::Admin))
}

/// One tenant.
#[utoipa::path(get, operation_id = "get_organization", path = "/organizations/{id}", tag = "management", security(("session" = [])), params(("id" = String, Path)), responses((status = 200, body = Envelope<Organization>), (status = 401, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn get(managed: Managed, Path(id): Path<String>) -> Told<Organization> {
    let place = place(&managed, &id).await?;
    let tenant = managed.ask.engine().tenants().get(place.tenant).await?;
    let tenant = tenant.ok_or_else(|| Problem::not_found("organization"))?;
    managed.ask.tell(Organization::of(&tenant, place.role))
}

/// Renames a tenant.
#[utoipa::path(patch, operation_id = "update_organization", path = "/organizations/{id}", tag = "management", security(("session" = [])), params(("id" = String, Path)), request_body = Patch, responses((status = 200, body = Envelope<Organization>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn update(managed: Managed, Path(id): Path<String>, body: Body<Patch>) -> Told<Organization> {
    let place = place(&managed, &id).await?;
    if place.role != Role::Admin {
        return Err(Problem::new(Kind::Forbidden, "only administrators may do that"));
    }
    let name = body.read()?.name.map(named).transpose()?;
    let rename = |tenant: &mut Tenant| name.iter().for_each(|name| tenant.name.clone_from(name));
    let tenant = managed.ask.engine().tenants().update(place.tenant, rename).await?;
    managed.ask.tell(Organization::of(&tenant, place.role))
}

/// Tenants of one person at most.
const ORGANIZATIONS_MAX: usize = 50;

async fn place(managed: &Managed, id: &str) -> Answer<Member> {
    let id: TenantId = id::parse(id, "", "organization")?;
    let place = managed.ask.engine().users().member(id, managed.member.user.id).await?;
    place.ok_or_else(|| Problem::not_found("organization"))
}

fn named(name: String) -> Answer<String> {
    text("name", name, offhook::service::tenants::NAME_BYTES_MAX)
}

impl Organization {
    pub(super) fn of(tenant: &Tenant, role: Role) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name.clone(),
            role: super::users::word(role),
            created_at: tenant.created_at.to_string(),
        }
    }
}
