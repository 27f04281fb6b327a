//! `offhook admin`: tenants, their keys, numbers, credits and users, whether the server runs or not.

use std::sync::Arc;
use std::time::Duration;

use offhook::dialect::Dialect;
use offhook::ids::TenantId;
use offhook::service::desk::Desk;
use offhook::service::keys::{ApiKey, NewApiKey};
use offhook::service::numbers::Number;
use offhook::service::tenants::Tenant;
use offhook::service::trunks::{NewTrunk, Trunk, TrunkKind};
use offhook::service::users::{Member, NewUser, Role};
use offhook::signing::Secret;
use offhook_server::password;
use offhook_sqlite::SqliteStore;
use offhook_tokio::TokioRuntime;
use serde_json::{Value, json};

use crate::args::{AdminArgs, AdminTask, CreditsTask, KeyTask, NumberTask, TenantTask, TrunkTask, UserTask};
use crate::config::{Config, dialect};
use crate::failure::{Failure, Outcome};
use crate::house::House;
use crate::stage::DATABASE;
use crate::{blocking, terminal};

/// The APIs that a tenant gets a key to.
const DIALECTS: [Dialect; 4] = [Dialect::Dialro, Dialect::VoxStack, Dialect::VoxCore, Dialect::Dialflo];

/// Runs the command.
pub async fn run(args: AdminArgs) -> Outcome<()> {
    let config = Config::of_house(&args.house)?;
    let told = match args.task {
        AdminTask::Backup { file } => {
            if config.postgres.is_some() {
                return Err(Failure::usage("PostgreSQL is backed up by its own pg_dump"));
            }
            let (from, to) = (config.data.join(DATABASE), file.clone());
            blocking::run("the database cannot be copied", move || SqliteStore::backup(from, to)).await?;
            json!({ "file": file })
        }
        task => {
            let runtime = Arc::new(TokioRuntime::current()?);
            let desk = House::open(&config, runtime.clone()).await?.desk(&config, runtime.clone());
            match task {
                AdminTask::Backup { .. } => Value::Null,
                AdminTask::Credits(task) => credits(&desk, task).await?,
                AdminTask::Key(task) => key(&desk, task).await?,
                AdminTask::Number(task) => number(&desk, task).await?,
                AdminTask::Tenant(task) => tenant(&desk, task).await?,
                AdminTask::Trunk(task) => trunk(&desk, task).await?,
                AdminTask::User(task) => user(&desk, &runtime, task).await?,
            }
        }
    };
    terminal::print(if args.json { told.to_string() } else { in_lines(&told) });
    Ok(())
}

async fn tenant(desk: &Desk, task: TenantTask) -> Outcome<Value> {
    match task {
        TenantTask::Create { name, plan, minutes, requests_per_minute } => {
            let known = serde_json::from_value(Value::String(plan.clone()));
            let plan =
                known.map_err(|_| Failure::usage(format_args!("{plan} is no plan: starter, business, enterprise")))?;
            let mut tenant = desk.tenants.create(&name, plan).await?;
            if requests_per_minute.is_some() {
                let set = |tenant: &mut Tenant| tenant.requests_per_minute = requests_per_minute;
                tenant = desk.tenants.update(tenant.id, set).await?;
            }
            if minutes > 0 {
                desk.credits.purchase(tenant.id, Duration::from_secs(u64::from(minutes) * 60), "tenant.create").await?;
            }
            let mut keys = serde_json::Map::new();
            for dialect in DIALECTS {
                let (_, text) = desk.keys.create(tenant.id, NewApiKey::new(dialect, "made with the tenant")).await?;
                keys.insert(name_of(dialect), text.into());
            }
            let secret = desk.tenants.signing_secret(tenant.id).await?;
            let mut told = show_tenant(&tenant);
            told["tenant_id"] = json!(tenant.id);
            told["signing_secret"] = json!(String::from_utf8_lossy(secret.expose()));
            told["keys"] = keys.into();
            told["minutes"] = json!(minutes);
            Ok(told)
        }
        TenantTask::List => {
            let (mut tenants, mut cursor) = (Vec::new(), None);
            loop {
                let (page, next) = desk.tenants.list(cursor).await?;
                tenants.extend(page.iter().map(show_tenant));
                match next {
                    Some(next) => cursor = Some(next),
                    None => return Ok(json!({ "tenants": tenants })),
                }
            }
        }
    }
}

async fn key(desk: &Desk, task: KeyTask) -> Outcome<Value> {
    match task {
        KeyTask::Create { tenant, dialect: name, bots, label } => {
            let mut new = NewApiKey::new(dialect(&name)?, label);
            if !bots.is_empty() {
                let bots = bots.iter().map(|bot| bot.strip_prefix("agent_").unwrap_or(bot).parse());
                new.agents =
                    Some(bots.collect::<Result<_, _>>().map_err(|_| Failure::usage("--bots takes agents' ids"))?);
            }
            let (key, text) = desk.keys.create(known(desk, &tenant).await?, new).await?;
            let mut told = show_key(&key);
            told["key"] = json!(text);
            Ok(told)
        }
        KeyTask::List { tenant, dialect: wanted } => {
            let wanted = wanted.as_deref().map(dialect).transpose()?;
            let keys = desk.keys.list(known(desk, &tenant).await?).await?;
            let keys = keys.iter().filter(|key| wanted.is_none_or(|dialect| key.dialect == dialect));
            Ok(json!({ "keys": keys.map(show_key).collect::<Vec<_>>() }))
        }
        KeyTask::Revoke { tenant, key } => {
            let tenant = known(desk, &tenant).await?;
            let id = match key.parse() {
                Ok(id) => id,
                Err(_) => named(desk, tenant, &key).await?,
            };
            Ok(show_key(&desk.keys.revoke(tenant, id).await?))
        }
    }
}

/// The id of the key whose text that is.
async fn named(desk: &Desk, tenant: TenantId, text: &str) -> Outcome<offhook::ids::ApiKeyId> {
    for dialect in Dialect::ALL {
        match desk.keys.authenticate(dialect, text).await {
            Ok(key) if key.tenant == tenant => return Ok(key.id),
            _ => {}
        }
    }
    Err(Failure::new("there is no such key"))
}

async fn number(desk: &Desk, task: NumberTask) -> Outcome<Value> {
    match task {
        NumberTask::Add { number, tenant, label, agent } => {
            let number = number.parse()?;
            let agent =
                agent.as_deref().map(|agent| agent.strip_prefix("agent_").unwrap_or(agent).parse()).transpose()?;
            let added = desk.numbers.add(known(desk, &tenant).await?, number, &label, agent).await?;
            Ok(show_number(&added))
        }
        NumberTask::List { tenant } => {
            let numbers = desk.numbers.list(known(desk, &tenant).await?).await?;
            Ok(json!({ "numbers": numbers.iter().map(show_number).collect::<Vec<_>>() }))
        }
    }
}

async fn credits(desk: &Desk, task: CreditsTask) -> Outcome<Value> {
    let CreditsTask::Grant { tenant, minutes, key } = task;
    let tenant = known(desk, &tenant).await?;
    let key = key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    desk.credits.grant(tenant, Duration::from_secs(u64::from(minutes) * 60), &key).await?;
    let balance = desk.credits.balance(tenant, offhook::billing::Unit::Time).await?;
    Ok(json!({ "tenant": tenant, "granted_minutes": minutes, "balance_ms": balance.balance(), "key": key }))
}

async fn trunk(desk: &Desk, task: TrunkTask) -> Outcome<Value> {
    match task {
        TrunkTask::Add { name, host, kind: _, user, password_stdin, caller_id } => {
            let caller_id = caller_id.as_deref().map(str::parse).transpose()?;
            let password = if password_stdin { Some(Secret::new(first_line_of_stdin().await?)) } else { None };
            let new = NewTrunk { caller_id, host, kind: TrunkKind::Sip, name, password, user };
            Ok(show_trunk(&desk.trunks.add(new).await?))
        }
        TrunkTask::List => {
            let trunks = desk.trunks.list().await?;
            Ok(json!({ "trunks": trunks.iter().map(show_trunk).collect::<Vec<_>>() }))
        }
        TrunkTask::Remove { name } => {
            desk.trunks.remove(&name).await?;
            Ok(json!({ "removed": name }))
        }
    }
}

async fn user(desk: &Desk, runtime: &TokioRuntime, task: UserTask) -> Outcome<Value> {
    match task {
        UserTask::Create { email, tenant, name, role, password_stdin } => {
            let tenant = known(desk, &tenant).await?;
            let role = if role == "admin" { Role::Admin } else { Role::Member };
            let new = NewUser { email, name, role };
            if password_stdin {
                let hash = password::hash(runtime, first_line_of_stdin().await?).await?;
                return Ok(show_member(&desk.users.create(tenant, new, hash).await?));
            }
            let (invitation, token) = desk.users.invite(tenant, new).await?;
            Ok(json!({
                "email": invitation.email,
                "name": invitation.name,
                "role": invitation.role,
                "tenant": invitation.tenant,
                "invitation_token": token,
                "expires_at": invitation.expires_at.to_string(),
            }))
        }
        UserTask::List { tenant } => {
            let users = desk.users.list(known(desk, &tenant).await?).await?;
            Ok(json!({ "users": users.iter().map(show_member).collect::<Vec<_>>() }))
        }
    }
}

async fn first_line_of_stdin() -> Outcome<String> {
    let line = blocking::run("the password cannot be read", || std::io::stdin().lines().next().transpose());
    Ok(line.await?.unwrap_or_default())
}

/// The tenant of that id, which must be there.
async fn known(desk: &Desk, text: &str) -> Outcome<TenantId> {
    let id: TenantId = text.parse().map_err(|_| Failure::usage("--tenant takes a tenant's id"))?;
    match desk.tenants.get(id).await? {
        Some(tenant) => Ok(tenant.id),
        None => Err(Failure::new("there is no such tenant")),
    }
}

fn show_tenant(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "plan": tenant.plan,
        "requests_per_minute": tenant.requests_per_minute(),
        "created_at": tenant.created_at.to_string(),
    })
}

fn show_key(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "dialect": key.dialect,
        "label": key.label,
        "hint": key.hint,
        "bots": key.agents,
        "created_at": key.created_at.to_string(),
        "revoked_at": key.revoked_at.map(|moment| moment.to_string()),
    })
}

fn show_member(member: &Member) -> Value {
    json!({
        "id": member.user.id,
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "tenant": member.tenant,
        "joined_at": member.joined_at.to_string(),
    })
}

fn show_number(number: &Number) -> Value {
    json!({
        "id": format!("pn_{}", number.id),
        "number": number.number,
        "label": number.label,
        "agent": number.agent,
        "active": number.is_active,
    })
}

fn show_trunk(trunk: &Trunk) -> Value {
    json!({
        "name": trunk.name,
        "kind": trunk.kind,
        "host": trunk.host,
        "user": trunk.user,
        "caller_id": trunk.caller_id,
        "created_at": trunk.created_at.to_string(),
    })
}

fn name_of(dialect: Dialect) -> String {
    serde_json::to_value(dialect).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// JSON for people: a line a value.
fn in_lines(value: &Value) -> String {
    fn walk(lines: &mut Vec<String>, name: &str, value: &Value) {
        match value {
            Value::Array(items) if items.is_empty() => lines.push(format!("{name}: none")),
            Value::Array(items) => items.iter().for_each(|item| match item {
                Value::Object(_) => lines.push(item.to_string()),
                other => walk(lines, name, other),
            }),
            Value::Null => {}
            Value::Object(fields) => fields.iter().for_each(|(field, value)| {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                walk(lines, &name, value);
            }),
            Value::String(text) => lines.push(format!("{name}: {text}")),
            other => lines.push(format!("{name}: {other}")),
        }
    }
    let mut lines = Vec::new();
    walk(&mut lines, "", value);
    lines.join("\n")
}
