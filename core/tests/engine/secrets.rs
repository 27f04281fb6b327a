//! What of a customer's secrets the store sees.

use std::sync::Arc;

use offhook::ErrorKind;
use offhook::engine::Engine;
use offhook::provider::Store;
use offhook::provider::store::RecordKey;
use offhook::service::agents::AGENT;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

#[test]
fn a_functions_secret_is_sealed_in_the_store() {
    let runtime = VirtualRuntime::new(1);
    let inner = Arc::new(runtime.clone());
    runtime.block_on(async {
        let world = World::new(inner, &[]).await;
        let (tenant, agent) = (world.tenant, &world.agent);
        world.engine.agents().put(tenant, agent).await.unwrap();
        let stored = world.store.get(RecordKey::new(tenant, AGENT, agent.id)).await.unwrap().unwrap();
        let secret = agent.functions[0].secret.as_ref().unwrap().expose();
        assert!(!stored.body.to_string().contains(&hex::encode(secret)), "{}", stored.body);
        let loaded = world.engine.agents().get(tenant, agent.id).await.unwrap().unwrap();
        assert_eq!(loaded.functions[0].secret.as_ref().unwrap().expose(), secret);
        assert_eq!(world.engine.agents().list(tenant, None, 0, 10).await.unwrap().1, 1);
        let keyless = Engine::new(world.providers.clone());
        for refused in [
            keyless.agents().put(tenant, agent).await.unwrap_err(),
            keyless.agents().get(tenant, agent.id).await.unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::ConfigInvalid, "{refused}");
        }
    });
}
