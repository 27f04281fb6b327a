//! Who manages a tenant, and who is logged in.

use std::sync::Arc;
use std::time::Duration;

use offhook::ErrorKind;
use offhook::ids::{TenantId, UserId};
use offhook::provider::Store;
use offhook::provider::store::Query;
use offhook::runtime::Runtime;
use offhook::service::sessions::{self, LIFETIME, SESSION, csrf_token, is_csrf_token};
use offhook::service::users::{Guest, INVITATION, INVITATION_LIFETIME, NewUser, Role};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

const HASH: &str = "$argon2id$…";

fn new(email: &str) -> NewUser {
    NewUser { email: email.to_owned(), name: "Ann".to_owned(), role: Role::Member }
}

#[test]
fn vs_080_an_address_is_one_members_in_each_tenant() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let (users, other) = (world.engine.users(), TenantId::generate(&runtime));
        let ann = users.create(world.tenant, new(" Ann@Clinic.example "), HASH.to_owned()).await.unwrap();
        assert_eq!((ann.user.email.as_str(), ann.role), ("ann@clinic.example", Role::Member));
        let taken = users.create(world.tenant, new("ANN@clinic.example"), HASH.to_owned()).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        let taken = users.invite(world.tenant, new("ANN@clinic.example")).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        for email in
            ["", "@", "ann", "ann@", "@clinic.example", "ann@clinic", "a nn@clinic.example", &"a@b.c".repeat(60)]
        {
            let wrong = users.create(world.tenant, new(email), HASH.to_owned()).await.unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::ConfigInvalid, "{email}");
            assert_eq!(users.invite(world.tenant, new(email)).await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
        let found = vec![(ann.user.clone(), HASH.to_owned())];
        assert_eq!(users.find("aNN@clinic.example", None).await.unwrap(), found);
        assert_eq!(users.find("aNN@clinic.example", Some(world.tenant)).await.unwrap(), found);
        assert_eq!(users.find("aNN@clinic.example", Some(other)).await.unwrap(), []);
        assert_eq!(users.find(&"x".repeat(10_000), None).await.unwrap(), []);
        assert_eq!(users.list(world.tenant).await.unwrap(), std::slice::from_ref(&ann));
        let there = users.join(other, ann.user.clone(), Role::Admin).await.unwrap();
        assert_eq!(users.memberships(ann.user.id).await.unwrap().len(), 2);
        assert_eq!(users.member(other, ann.user.id).await.unwrap(), Some(there));
        assert_eq!(users.member(other, UserId::generate(&runtime)).await.unwrap(), None);
        let again = users.join(other, ann.user.clone(), Role::Member).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);
    });
}

#[test]
fn vs_080_an_invitation_opens_once_and_for_a_week() {
    let runtime = VirtualRuntime::new(2);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let users = world.engine.users();
        let accept = async |email: &str, text: &str| {
            let guest = Guest::New { password_hash: HASH.to_owned() };
            users.accept(email, text, guest).await.map_err(|error| error.kind())
        };
        let (bob, earlier) = users.invite(world.tenant, new("Bob@clinic.example")).await.unwrap();
        let (_, text) = users.invite(world.tenant, new("bob@clinic.example")).await.unwrap();
        let (_, late) = users.invite(world.tenant, new("cat@clinic.example")).await.unwrap();
        assert_eq!((bob.email.as_str(), bob.role, bob.tenant), ("bob@clinic.example", Role::Member, world.tenant));
        let rows = world.store.list(Query::new(None, INVITATION)).await.unwrap().records;
        assert!(rows.len() == 2 && !format!("{rows:?}").contains(&text), "it is kept as a hash");
        assert!(users.list(world.tenant).await.unwrap().is_empty(), "nobody is a member who was only invited");
        assert_eq!(users.find("bob@clinic.example", None).await.unwrap(), []);
        for wrong in [&earlier, &late, "", &"x".repeat(10_000)] {
            assert_eq!(accept("bob@clinic.example", wrong).await, Err(ErrorKind::Unauthenticated));
        }
        assert_eq!(users.invitation("bob@clinic.example", &text).await.unwrap().expires_at, bob.expires_at);
        let member = accept("BOB@clinic.example", &text).await.unwrap();
        assert_eq!(users.list(world.tenant).await.unwrap(), [member]);
        assert_eq!(accept("bob@clinic.example", &text).await, Err(ErrorKind::Unauthenticated));
        runtime.sleep_until(runtime.now() + INVITATION_LIFETIME).await;
        assert_eq!(accept("cat@clinic.example", &late).await, Err(ErrorKind::Unauthenticated));
        // Those that have expired go when the next is made.
        users.invite(world.tenant, new("dan@clinic.example")).await.unwrap();
        assert_eq!(world.store.list(Query::new(None, INVITATION)).await.unwrap().records.len(), 1);
    });
}

#[test]
fn vs_080_no_tenant_takes_an_address_from_others() {
    let runtime = VirtualRuntime::new(4);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let (users, other) = (world.engine.users(), TenantId::generate(&runtime));
        // Somebody invites an address that is not theirs, and accepts in its name.
        let (_, text) = users.invite(other, new("ann@clinic.example")).await.unwrap();
        let guest = Guest::New { password_hash: "theirs".to_owned() };
        let impostor = users.accept("ann@clinic.example", &text, guest).await.unwrap().user;
        // The owner of the address is invited elsewhere and chooses a password all the same.
        let (_, text) = users.invite(world.tenant, new("ann@clinic.example")).await.unwrap();
        let guest = Guest::New { password_hash: HASH.to_owned() };
        let ann = users.accept("ann@clinic.example", &text, guest).await.unwrap().user;
        assert_ne!(ann.id, impostor.id);
        let found = users.find("ann@clinic.example", Some(world.tenant)).await.unwrap();
        assert_eq!(found, [(ann.clone(), HASH.to_owned())]);
        assert_eq!(users.find("ann@clinic.example", None).await.unwrap().len(), 2);
        assert_eq!(users.memberships(ann.id).await.unwrap().len(), 1);
        // One more invitation touches nothing of a user that accepts it.
        let third = TenantId::generate(&runtime);
        let (_, text) = users.invite(third, new("ann@clinic.example")).await.unwrap();
        let stranger = users.create(third, new("bob@clinic.example"), HASH.to_owned()).await.unwrap().user;
        let refused = users.accept("ann@clinic.example", &text, Guest::Known(stranger)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "an invitation is for its address alone");
        users.accept("ann@clinic.example", &text, Guest::Known(ann.clone())).await.unwrap();
        assert_eq!(users.memberships(ann.id).await.unwrap().len(), 2);
        assert_eq!(users.find("ann@clinic.example", Some(third)).await.unwrap(), found);
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
