//! Several engines on one store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offhook::Result;
use offhook::engine::Engine;
use offhook::ids::TenantId;
use offhook::memory::MemoryStore;
use offhook::provider::store::{Batch, Committed, LogKey, Page, Query, Record, RecordKey};
use offhook::provider::{ProviderInfo, Store};
use offhook::service;
use offhook::service::outbox::DeliveryState;
use offhook::service::webhooks::Form;
use offhook::time::Timestamp;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::{Reply, World, ms, secs};

/// A store that takes its time.
pub(crate) struct Slow {
    pub(crate) delay: Duration,
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) runtime: VirtualRuntime,
}

#[async_trait]
impl Store for Slow {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        self.runtime.sleep(self.delay).await;
        self.inner.get(key).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        self.runtime.sleep(self.delay).await;
        self.inner.list(query).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.runtime.sleep(self.delay).await;
        self.inner.count(query).await
    }

    fn version(&self, _: Option<TenantId>, _: &str) -> Option<u64> {
        None
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.runtime.sleep(self.delay).await;
        self.inner.commit(batch).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        self.runtime.sleep(self.delay).await;
        self.inner.claim(kind, now, lease, limit).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        self.inner.append(log, seq, entries).await
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.inner.read_log(log, seq, limit).await
    }
}

async fn check_all_arrived(world: &World, lanes: u64, places: usize) {
    let mut arrived: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for body in world.customer.bodies() {
        let (lane, place) = body.split_once(' ').unwrap();
        arrived.entry(lane.to_owned()).or_default().push(place.parse().unwrap());
    }
    assert_eq!(arrived.len() as u64, lanes);
    for (lane, mut told) in arrived {
        assert!(told.is_sorted(), "{lane}: {told:?}");
        told.dedup();
        assert_eq!(told.len(), places, "{lane}");
        let deliveries = world.engine.outbox().lane(world.tenant, &lane).await.unwrap();
        assert!(deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
    }
}

#[test]
fn engines_that_share_a_store_send_everything_once_and_in_order() {
    for seed in 0..6 {
        let runtime = VirtualRuntime::new(seed);
        runtime.block_on(async {
            let store = Arc::new(MemoryStore::new(service::schema()).unwrap());
            let slow = |delay| Arc::new(Slow { delay: ms(delay), inner: store.clone(), runtime: runtime.clone() });
            let world = World::on(&runtime, store.clone(), slow(seed));
            let others: Vec<_> = (1..4)
                .map(|delay| {
                    let providers = offhook::engine::Providers { store: slow(delay * 3), ..world.providers.clone() };
                    Engine::with_settings(providers, crate::world::settings())
                })
                .collect();
            world.endpoint("crm", Form::Native).await;
            world.customer.behave(|_, before| Reply::status(200).after(ms(before as u64 % 7 * 30)));
            for index in 0..200 {
                world.send_to("crm", &format!("lane{}", index % 20)).await;
                world.wait(ms(index % 11)).await;
            }
            world.wait(secs(60)).await;
            assert_eq!(world.customer.arrivals().len(), 200, "each once");
            check_all_arrived(&world, 20, 10).await;
            drop(others);
        });
    }
}

#[test]
fn what_an_engine_that_died_had_in_hand_is_sent_by_another() {
    for millis in [0, 1, 30, 200, 700, 1_900, 4_000] {
        let runtime = VirtualRuntime::new(millis);
        // Work that is left at the end of `block_on` is dropped where it stands: the process dies.
        let mut world = runtime.block_on(async {
            let world = World::new(&runtime);
            world.endpoint("crm", Form::Native).await;
            world.customer.behave(|_, before| Reply::status(if before % 5 == 4 { 500 } else { 200 }).after(ms(100)));
            for index in 0..60 {
                world.send_to("crm", &format!("lane{}", index % 6)).await;
            }
            world.wait(ms(millis)).await;
            world
        });
        runtime.block_on(async {
            world.engine = Engine::with_settings(world.providers.clone(), crate::world::settings());
            world.wait(secs(600)).await;
            check_all_arrived(&world, 6, 10).await;
            let twice = world.customer.arrivals().len();
            assert!(twice <= 60 + 60 / 2 + 16, "{twice} attempts for 60 messages");
        });
    }
}
