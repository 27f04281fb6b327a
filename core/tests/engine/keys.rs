//! Who is let in by a key.

use std::sync::Arc;
use std::time::Duration;

use offhook::ErrorKind;
use offhook::dialect::Dialect;
use offhook::ids::{ApiKeyId, TenantId};
use offhook::provider::Store;
use offhook::provider::store::Query;
use offhook::runtime::Runtime;
use offhook::service::keys::{API_KEY, NewApiKey};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

/// DR-007, FL-003
#[test]
fn a_key_is_shown_once_and_kept_as_a_hash() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let keys = world.engine.keys();
        let (key, text) = keys.create(world.tenant, NewApiKey::new(Dialect::VoxCore, "dialler")).await.unwrap();
        assert!(text.starts_with("vx_") && text.len() == 35, "{text}");
        assert!(text.ends_with(&key.hint));
        let rows = world.store.list(Query::new(None, API_KEY)).await.unwrap().records;
        assert!(!format!("{rows:?}").contains(&text));
        assert_eq!(keys.authenticate(Dialect::VoxCore, &text).await.unwrap(), key);
        assert_eq!(keys.list(world.tenant).await.unwrap(), [key]);
        assert_eq!(keys.list(TenantId::generate(&runtime)).await.unwrap(), []);
    });
}

#[test]
fn a_key_opens_its_own_door_while_it_lives() {
    let runtime = VirtualRuntime::new(2);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let keys = world.engine.keys();
        let refuses = async |dialect, text: &str| {
            let error = keys.authenticate(dialect, text).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        };
        let mut new = NewApiKey::new(Dialect::Dialro, "for an hour");
        new.lifetime = Some(Duration::from_secs(3_600));
        let (_, brief) = keys.create(world.tenant, new).await.unwrap();
        let (key, lasting) = keys.create(world.tenant, NewApiKey::new(Dialect::Dialro, "for ever")).await.unwrap();
        let mut scoped = NewApiKey::new(Dialect::Dialro, "nobody looks at its scope");
        scoped.agents = Some(vec![world.agent.id]);
        let refused = keys.create(world.tenant, scoped).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConfigInvalid);
        refuses(Dialect::VoxStack, &brief).await;
        refuses(Dialect::Dialro, "").await;
        refuses(Dialect::Dialro, &brief[..brief.len() - 1]).await;
        refuses(Dialect::Dialro, &"x".repeat(100_000)).await;
        keys.authenticate(Dialect::Dialro, &brief).await.unwrap();
        runtime.sleep_until(runtime.now() + Duration::from_secs(3_600)).await;
        refuses(Dialect::Dialro, &brief).await;
        keys.authenticate(Dialect::Dialro, &lasting).await.unwrap();
        for _ in 0..2 {
            assert!(keys.revoke(world.tenant, key.id).await.unwrap().revoked_at.is_some());
        }
        refuses(Dialect::Dialro, &lasting).await;
        let nobody = keys.revoke(world.tenant, ApiKeyId::generate(&runtime)).await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::NotFound);
        let again = keys.regenerate(world.tenant, key.id).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound, "it is gone already");
        let (old, text) = keys.create(world.tenant, NewApiKey::new(Dialect::Dialro, "renewed")).await.unwrap();
        let (new, newer) = keys.regenerate(world.tenant, old.id).await.unwrap();
        refuses(Dialect::Dialro, &text).await;
        assert_eq!(keys.authenticate(Dialect::Dialro, &newer).await.unwrap(), new);
        assert_eq!((new.label, new.dialect), (old.label, old.dialect));
        let wordy = NewApiKey::new(Dialect::Dialro, "x".repeat(201));
        assert_eq!(keys.create(world.tenant, wordy).await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
    });
}
