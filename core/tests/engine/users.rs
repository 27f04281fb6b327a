//! Who manages a tenant, and who is logged in.

use std::sync::Arc;
use std::time::Duration;

use offhook::ErrorKind;
use offhook::ids::{TenantId, UserId};
use offhook::provider::Store;
use offhook::provider::store::Query;
use offhook::runtime::Runtime;
use offhook::service::sessions::{self, LIFETIME, SESSION, csrf_token, is_csrf_token};
use offhook::service::users::{INVITATION_LIFETIME, NewUser, Role, USER};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

const HASH: &str = "$argon2id$…";

fn new(email: &str) -> NewUser {
    NewUser { email: email.to_owned(), name: "Ann".to_owned(), role: Role::Member }
}

#[test]
fn vs_080_an_address_is_one_users_over_all_tenants() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let (users, other) = (world.engine.users(), TenantId::generate(&runtime));
        let ann = users.create(world.tenant, new(" Ann@Clinic.example "), HASH.to_owned()).await.unwrap();
        assert_eq!((ann.user.email.as_str(), ann.role), ("ann@clinic.example", Role::Member));
        for tenant in [world.tenant, other] {
            let taken = users.create(tenant, new("ANN@clinic.example"), HASH.to_owned()).await.unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::Conflict);
        }
        for email in
            ["", "@", "ann", "ann@", "@clinic.example", "ann@clinic", "a nn@clinic.example", &"a@b.c".repeat(60)]
        {
            let wrong = users.create(world.tenant, new(email), HASH.to_owned()).await.unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::ConfigInvalid, "{email}");
        }
        let found = users.find("aNN@clinic.example").await.unwrap().unwrap();
        assert_eq!(found, (ann.user.clone(), Some(HASH.to_owned())));
        assert_eq!(users.find(&"x".repeat(10_000)).await.unwrap(), None);
        assert_eq!(users.list(world.tenant).await.unwrap(), std::slice::from_ref(&ann));
        let there = users.join(other, ann.user.clone(), Role::Admin).await.unwrap();
        assert_eq!(users.memberships(ann.user.id).await.unwrap().len(), 2);
        assert_eq!(users.member(other, ann.user.id).await.unwrap(), Some(there));
        assert_eq!(users.member(other, UserId::generate(&runtime)).await.unwrap(), None);
    });
}

#[test]
fn vs_080_an_invitation_opens_once_and_for_a_week() {
    let runtime = VirtualRuntime::new(2);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let users = world.engine.users();
        let accept =
            async |email: &str, text: &str| users.accept(email, text, HASH).await.map_err(|error| error.kind());
        let (bob, text, _) = users.invite(world.tenant, new("bob@clinic.example")).await.unwrap();
        let (_, late, _) = users.invite(world.tenant, new("cat@clinic.example")).await.unwrap();
        let rows = world.store.list(Query::new(None, USER)).await.unwrap().records;
        assert!(!format!("{rows:?}").contains(&text), "it is kept as a hash");
        assert_eq!(accept("bob@clinic.example", &late).await, Err(ErrorKind::Unauthenticated));
        assert_eq!(accept("bob@clinic.example", &text).await, Ok(bob.user));
        assert_eq!(accept("bob@clinic.example", &text).await, Err(ErrorKind::Unauthenticated));
        runtime.sleep_until(runtime.now() + INVITATION_LIFETIME).await;
        assert_eq!(accept("cat@clinic.example", &late).await, Err(ErrorKind::Unauthenticated));
    });
}

#[test]
fn vs_081_a_session_lives_for_a_while_and_is_kept_as_a_hash() {
    let runtime = VirtualRuntime::new(3);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let ann = world.engine.users().create(world.tenant, new("ann@clinic.example"), HASH.to_owned()).await.unwrap();
        let sessions = world.engine.sessions();
        let (session, text) = sessions.open(&ann).await.unwrap();
        let (_, other) = sessions.open(&ann).await.unwrap();
        assert_eq!(sessions.get(&text).await.unwrap(), Some(session.clone()));
        assert_eq!((session.tenant, session.user), (world.tenant, ann.user.id));
        for nothing in ["", "x", &text[1..], &"x".repeat(100_000)] {
            assert_eq!(sessions.get(nothing).await.unwrap(), None);
        }
        let rows = async || world.store.list(Query::new(None, SESSION)).await.unwrap().records;
        assert!(!format!("{:?}", rows().await).contains(&text));
        assert!(is_csrf_token(&csrf_token(&text), &text) && !is_csrf_token(&csrf_token(&other), &text));
        assert!(!is_csrf_token("", &text));
        sessions.close(&other).await.unwrap();
        sessions.close(&other).await.unwrap();
        assert_eq!(sessions.get(&other).await.unwrap(), None);
        runtime.sleep_until(runtime.now() + LIFETIME - Duration::from_secs(1)).await;
        assert!(sessions.get(&text).await.unwrap().is_some());
        runtime.sleep_until(runtime.now() + Duration::from_secs(1)).await;
        assert_eq!(sessions.get(&text).await.unwrap(), None);
        // Those that are over go when the next begins.
        sessions.open(&ann).await.unwrap();
        assert_eq!(rows().await.len(), 1);
        assert_eq!(sessions::LIFETIME.as_secs(), 43_200);
    });
}
