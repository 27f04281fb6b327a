//! VoxStack's management: people, sessions, keys and organizations.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
#[path = "support/voxstack.rs"]
mod vox;

use axum::body::Body;
use offhook::dialect::Dialect;
use offhook::ids::TenantId;
use offhook::service::tenants::Plan;
use offhook::service::users::{NewUser, Role};
use offhook_server::{Options, password};
use serde_json::{Value, json};
use support::{Answer, Server};

const EMAIL: &str = "Ann@Clinic.example";
const PASSWORD: &str = "correct horse";

/// Somebody with a browser.
struct Person<'a> {
    cookies: String,
    csrf: String,
    server: &'a Server,
}

impl Server {
    async fn with_user() -> Self {
        let server = Self::vox().await;
        server.user(server.tenant, EMAIL, Role::Admin).await;
        server
    }

    async fn user(&self, tenant: TenantId, email: &str, role: Role) {
        let hash = password::hash(self.app.runtime(), PASSWORD.to_owned()).await.unwrap();
        let new = NewUser { email: email.to_owned(), name: "Ann".to_owned(), role };
        self.engine.users().create(tenant, new, hash).await.unwrap();
    }

    async fn anonymous(&self, path: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.raw("POST", &format!("/voxstack/api/v1{path}"), &headers, Body::from(body.to_string())).await
    }

    async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.anonymous("/auth/login", json!({ "email": email, "password": password })).await
    }

    async fn person(&self, email: &str) -> Person<'_> {
        let answer = self.log_in(email, PASSWORD).await;
        let csrf = answer.data(200)["csrf_token"].as_str().unwrap().to_owned();
        Person { cookies: cookies(&answer).join("; "), csrf, server: self }
    }
}

impl Person<'_> {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_with(method, path, &[("x-csrf-token", &self.csrf)], body).await
    }

    async fn ask_with(&self, method: &str, path: &str, more: &[(&str, &str)], body: Value) -> Answer {
        let mut headers = vec![("cookie", self.cookies.as_str()), ("content-type", "application/json")];
        headers.extend(more);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.server.raw(method, &format!("/voxstack/api/v1{path}"), &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Value::Null).await
    }
}

fn set_cookies(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn cookies(answer: &Answer) -> Vec<String> {
    set_cookies(answer).iter().map(|cookie| cookie.split(';').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn vs_080_081_only_a_session_manages() {
    let server = Server::with_user().await;
    for (method, path) in [
        ("GET", "/api-keys"),
        ("POST", "/api-keys"),
        ("DELETE", "/api-keys/x"),
        ("POST", "/api-keys/x/regenerate"),
        ("GET", "/organizations"),
        ("POST", "/organizations"),
        ("GET", "/organizations/x"),
        ("PATCH", "/organizations/x"),
        ("GET", "/users"),
        ("POST", "/users/invite"),
        ("POST", "/auth/logout"),
    ] {
        server.ask(Dialect::VoxStack, method, path, Value::Null).await.refused(403);
        server.ask_as(Dialect::VoxStack, "va_nothing", method, path, Value::Null).await.refused(401);
        let path = format!("/voxstack/api/v1{path}");
        server.raw(method, &path, &[], Body::empty()).await.refused(401);
        server.raw(method, &path, &[("cookie", "voxstack_session=nothing")], Body::empty()).await.refused(401);
    }
    let ann = server.person(EMAIL).await;
    ann.get("/api-keys").await.data(200);
    ann.ask("PUT", "/api-keys", Value::Null).await.refused(404);
    // A session is no API key.
    ann.get("/agents").await.refused(401);
}

#[tokio::test]
async fn vs_081_sessions_begin_with_a_password_and_end() {
    let server = Server::with_user().await;
    let answer = server.log_in(&EMAIL.to_uppercase(), PASSWORD).await;
    let told = answer.data(200).clone();
    assert_eq!((&told["user"]["email"], &told["user"]["role"]), (&json!("ann@clinic.example"), &json!("admin")));
    assert_eq!(told["organization"]["id"], json!(server.tenant.to_string()));
    let [session, csrf] = <[String; 2]>::try_from(set_cookies(&answer)).unwrap();
    assert!(session.starts_with("voxstack_session="));
    for part in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/", "; Max-Age=43200"] {
        assert!(session.contains(part), "{session}");
        assert_eq!(csrf.contains(part), part != "; HttpOnly", "{csrf}");
    }
    assert!(csrf.starts_with(&format!("csrf_token={};", told["csrf_token"].as_str().unwrap())));
    for (email, password) in [(EMAIL, "wrong horse"), ("nobody@clinic.example", PASSWORD), ("", ""), (EMAIL, "")] {
        assert_eq!(server.log_in(email, password).await.refused(401), "email address or password are wrong");
    }
    server.anonymous("/auth/login", json!({ "email": EMAIL })).await.refused(400);
    let ann = server.person(EMAIL).await;
    ann.get("/users").await.data(200);
    let ended = ann.ask("POST", "/auth/logout", Value::Null).await;
    ended.data(200);
    assert!(set_cookies(&ended).iter().all(|cookie| cookie.contains("Max-Age=0")));
    ann.get("/users").await.refused(401);
    let mut options = Options::default();
    options.public_url = Some("http://localhost:8080".to_owned());
    let plain = Server::with(options, |_| {}).await;
    plain.user(plain.tenant, EMAIL, Role::Admin).await;
    assert!(set_cookies(&plain.log_in(EMAIL, PASSWORD).await).iter().all(|cookie| !cookie.contains("Secure")));
}

#[tokio::test]
async fn vs_081_writes_need_the_token_of_the_session() {
    let server = Server::with_user().await;
    let (ann, again) = (server.person(EMAIL).await, server.person(EMAIL).await);
    let new = json!({ "name": "Mine" });
    for wrong in [&[][..], &[("x-csrf-token", "")], &[("x-csrf-token", "x")], &[("x-csrf-token", &again.csrf)]] {
        ann.ask_with("POST", "/api-keys", wrong, new.clone()).await.refused(403);
        ann.ask_with("PATCH", "/organizations/x", wrong, new.clone()).await.refused(403);
        ann.ask_with("POST", "/auth/logout", wrong, Value::Null).await.refused(403);
    }
    ann.ask_with("GET", "/api-keys", &[], Value::Null).await.data(200);
    ann.ask("POST", "/api-keys", new).await.data(201);
}

#[tokio::test]
async fn vs_081_passwords_are_not_guessed_at_speed() {
    let server = Server::vox().await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(server.log_in("nobody@clinic.example", "wrong horse").await.status.as_u16());
    }
    assert_eq!(statuses[0], 401);
    let refused = server.log_in("NOBODY@clinic.example", "wrong horse").await;
    refused.refused(429);
    assert!(!refused.header("retry-after").is_empty());
    assert!(statuses.iter().filter(|status| **status == 401).count() < 25, "{statuses:?}");
    server.log_in("somebody@clinic.example", "wrong horse").await.refused(401);
}

#[tokio::test]
async fn vs_080_keys_are_listed_made_regenerated_and_taken_away() {
    let server = Server::with_user().await;
    let ann = server.person(EMAIL).await;
    let works =
        async |key: &str| server.ask_as(Dialect::VoxStack, key, "GET", "/agents", Value::Null).await.status.as_u16();
    let listed = ann.get("/api-keys").await.data(200).clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "those of other dialects are not shown");
    assert!(listed[0].get("key").is_none());
    let made = ann.ask("POST", "/api-keys", json!({ "name": "Production" })).await.data(201).clone();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("va_") && key.ends_with(made["hint"].as_str().unwrap()));
    assert_eq!((&made["name"], works(key).await), (&json!("Production"), 200));
    let path = format!("/api-keys/{}", made["id"].as_str().unwrap());
    let again = ann.ask("POST", &format!("{path}/regenerate"), Value::Null).await.data(200).clone();
    let new = again["key"].as_str().unwrap();
    assert_eq!((works(key).await, works(new).await, &again["name"]), (401, 200, &json!("Production")));
    ann.ask("POST", &format!("{path}/regenerate"), Value::Null).await.refused(404);
    ann.ask("DELETE", &path, Value::Null).await.refused(404);
    let path = format!("/api-keys/{}", again["id"].as_str().unwrap());
    assert_eq!(ann.ask("DELETE", &path, Value::Null).await.data(200), &json!({ "deleted": true }));
    assert_eq!(works(new).await, 401);
    assert_eq!(ann.get("/api-keys").await.data(200), &listed);
    ann.ask("POST", "/api-keys", json!({ "name": " " })).await.refused(400);
    ann.ask("POST", "/api-keys", json!({})).await.refused(400);
    ann.ask("DELETE", "/api-keys/x", Value::Null).await.refused(404);
    let (stranger, _) = server.stranger(Plan::Starter).await;
    let foreign = server.engine.keys().list(stranger).await.unwrap();
    let foreign = foreign.iter().find(|key| key.dialect == Dialect::VoxStack).unwrap();
    ann.ask("DELETE", &format!("/api-keys/{}", foreign.id), Value::Null).await.refused(404);
}

#[tokio::test]
async fn vs_080_organizations_are_listed_renamed_and_made() {
    let server = Server::with_user().await;
    let ann = server.person(EMAIL).await;
    let listed = ann.get("/organizations").await.data(200).clone();
    assert_eq!((&listed[0]["name"], &listed[0]["role"]), (&json!("Klinik Sehat"), &json!("admin")));
    let path = format!("/organizations/{}", server.tenant);
    assert_eq!(ann.get(&path).await.data(200), &listed[0]);
    assert_eq!(ann.ask("PATCH", &path, json!({ "name": "Clinic" })).await.data(200)["name"], "Clinic");
    ann.ask("PATCH", &path, json!({ "name": "" })).await.refused(400);
    let made = ann.ask("POST", "/organizations", json!({ "name": "Second" })).await.data(201).clone();
    assert_eq!(ann.get("/organizations").await.data(200).as_array().unwrap().len(), 2);
    ann.ask("POST", "/organizations", json!({})).await.refused(400);
    let there = json!({ "email": EMAIL, "password": PASSWORD, "organization_id": made["id"] });
    assert_eq!(server.anonymous("/auth/login", there).await.data(200)["organization"]["id"], made["id"]);
    let (stranger, _) = server.stranger(Plan::Starter).await;
    for path in [format!("/organizations/{stranger}"), "/organizations/x".to_owned()] {
        ann.get(&path).await.refused(404);
        ann.ask("PATCH", &path, json!({ "name": "Mine" })).await.refused(404);
    }
    let there = json!({ "email": EMAIL, "password": PASSWORD, "organization_id": stranger.to_string() });
    server.anonymous("/auth/login", there).await.refused(401);
    for path in ["/organizations", &path] {
        let method = if path == "/organizations" { "POST" } else { "PATCH" };
        assert_eq!(
            ann.ask(method, path, json!({ "name": "x".repeat(201) })).await.refused(400),
            "name: has 1 to 200 bytes"
        );
    }
}

#[tokio::test]
async fn vs_080_people_are_listed_and_invited() {
    let server = Server::with_user().await;
    let ann = server.person(EMAIL).await;
    let listed = ann.get("/users").await.data(200).clone();
    assert_eq!((&listed[0]["email"], listed.as_array().unwrap().len()), (&json!("ann@clinic.example"), 1));
    let invited = ann.ask("POST", "/users/invite", json!({ "email": "bob@clinic.example", "name": "Bob" })).await;
    let invited = invited.data(201).clone();
    assert_eq!((&invited["role"], &invited["email"]), (&json!("member"), &json!("bob@clinic.example")));
    let earlier = invited["invitation_token"].as_str().unwrap();
    let again = ann.ask("POST", "/users/invite", json!({ "email": "bob@clinic.example", "name": "Bob" })).await;
    let token = again.data(201)["invitation_token"].as_str().unwrap();
    assert_eq!(ann.get("/users").await.data(200), &listed, "nobody is a member who was only invited");
    for email in ["ANN@clinic.example", "nonsense", "", "a b@clinic.example"] {
        let again = ann.ask("POST", "/users/invite", json!({ "email": email })).await;
        again.refused(400);
        assert_eq!(again.body["details"]["field"], "email");
    }
    ann.ask("POST", "/users/invite", json!({ "email": "c@clinic.example", "role": "king" })).await.refused(400);
    server.log_in("bob@clinic.example", PASSWORD).await.refused(401);
    let accept =
        |email: &str, token: &str, password: &str| json!({ "email": email, "token": token, "password": password });
    for (email, token, password, status) in [
        ("bob@clinic.example", "x", PASSWORD, 401),
        ("bob@clinic.example", earlier, PASSWORD, 401),
        (EMAIL, token, PASSWORD, 401),
        ("nobody@clinic.example", token, PASSWORD, 401),
        ("bob@clinic.example", token, "short", 400),
        ("bob@clinic.example", token, PASSWORD, 200),
        ("bob@clinic.example", token, PASSWORD, 401),
    ] {
        server.anonymous("/auth/accept", accept(email, token, password)).await.is(status);
    }
    let bob = server.person("bob@clinic.example").await;
    assert_eq!(bob.get("/users").await.data(200).as_array().unwrap().len(), 2);
    for (method, path, body) in [
        ("POST", "/users/invite", json!({ "email": "d@clinic.example" })),
        ("POST", "/api-keys", json!({ "name": "Mine" })),
        ("DELETE", "/api-keys/x", Value::Null),
        ("POST", "/organizations", json!({ "name": "Mine" })),
        ("PATCH", &format!("/organizations/{}", server.tenant), json!({ "name": "Mine" })),
    ] {
        bob.ask(method, path, body).await.refused(403);
    }
}

#[tokio::test]
async fn vs_080_another_tenants_invitation_touches_no_user() {
    let server = Server::with_user().await;
    let (other, _) = server.stranger(Plan::Starter).await;
    server.user(other, "eve@other.example", Role::Admin).await;
    let eve = server.person("eve@other.example").await;
    let invite = async |person: &Person<'_>, email: &str| {
        let invited = person.ask("POST", "/users/invite", json!({ "email": email })).await;
        invited.data(201)["invitation_token"].as_str().unwrap().to_owned()
    };
    let accept = async |email: &str, token: &str, password: &str| {
        let body = json!({ "email": email, "token": token, "password": password });
        server.anonymous("/auth/accept", body).await
    };
    // Eve invites Ann, and accepts in her name: Ann's password and places stay what they were.
    let token = invite(&eve, EMAIL).await;
    accept(EMAIL, &token, "eve's own password").await.data(200);
    let ann = server.person(EMAIL).await;
    assert_eq!(ann.get("/organizations").await.data(200).as_array().unwrap().len(), 1);
    let body =
        json!({ "email": EMAIL, "password": "eve's own password", "organization_id": server.tenant.to_string() });
    server.anonymous("/auth/login", body).await.refused(401);
    // An address that Eve was first with is nobody's: its owner joins elsewhere with a password of its own.
    accept("bob@clinic.example", &invite(&eve, "bob@clinic.example").await, "eve's own password").await.data(200);
    let token = invite(&ann, "bob@clinic.example").await;
    let joined = accept("bob@clinic.example", &token, PASSWORD).await.data(200).clone();
    assert_eq!(joined["organization_id"], json!(server.tenant.to_string()));
    let body =
        json!({ "email": "bob@clinic.example", "password": PASSWORD, "organization_id": server.tenant.to_string() });
    server.anonymous("/auth/login", body).await.data(200);
    let bob = server.person("bob@clinic.example").await;
    assert_eq!(bob.get("/organizations").await.data(200).as_array().unwrap().len(), 1);
    // Whoever accepts with the password that it has is in both places as one user.
    let (third, _) = server.stranger(Plan::Starter).await;
    server.user(third, "cat@third.example", Role::Admin).await;
    let cat = server.person("cat@third.example").await;
    let both = accept("bob@clinic.example", &invite(&cat, "bob@clinic.example").await, PASSWORD).await;
    assert_eq!(both.data(200)["id"], joined["id"]);
    let bob = server.person("bob@clinic.example").await;
    assert_eq!(bob.get("/organizations").await.data(200).as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn x18_what_is_not_there_or_not_allowed_is_said_before_what_is_wrong_with_the_body() {
    let server = Server::with_user().await;
    server.user(server.tenant, "bob@clinic.example", Role::Member).await;
    let (ann, bob) = (server.person(EMAIL).await, server.person("bob@clinic.example").await);
    let own = format!("/organizations/{}", server.tenant);
    for body in ["", "{", "[]", "{\"name\": 1}"] {
        let ask = async |person: &Person<'_>, method: &str, path: &str| {
            let headers = [
                ("cookie", person.cookies.as_str()),
                ("x-csrf-token", &person.csrf),
                ("content-type", "application/json"),
            ];
            server.raw(method, &format!("/voxstack/api/v1{path}"), &headers, Body::from(body)).await
        };
        ask(&ann, "PATCH", &format!("/organizations/{}", uuid::Uuid::nil())).await.refused(404);
        ask(&ann, "PATCH", &own).await.refused(400);
        for (method, path) in
            [("PATCH", own.as_str()), ("POST", "/organizations"), ("POST", "/api-keys"), ("POST", "/users/invite")]
        {
            ask(&bob, method, path).await.refused(403);
        }
        let nobody = uuid::Uuid::nil();
        for (dialect, method, path) in [
            (Dialect::Dialro, "PATCH", format!("/dialro/api/v1/agents/agent_{nobody}")),
            (Dialect::Dialro, "POST", format!("/dialro/api/v1/agents/agent_{nobody}/functions")),
            (Dialect::Dialro, "POST", format!("/dialro/api/v1/phone-numbers/pn_{nobody}/assign-agent")),
            (Dialect::VoxStack, "PATCH", format!("/voxstack/api/v1/agents/{nobody}")),
            (Dialect::VoxStack, "PATCH", format!("/voxstack/api/v1/tasks/{nobody}")),
            (Dialect::VoxCore, "PATCH", format!("/agents/{nobody}")),
        ] {
            let key = server.key(dialect);
            let headers = [("x-api-key", key), ("authorization", &format!("Bearer {key}"))];
            server.raw(method, &path, &headers, Body::from(body)).await.is(404);
            let headers = [("x-api-key", "wrong"), ("authorization", "Bearer wrong")];
            server.raw(method, &path, &headers, Body::from(body)).await.is(401);
        }
    }
}
