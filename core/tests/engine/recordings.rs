//! Who may hear a recording, and how long it is kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use offhook::ErrorKind;
use offhook::engine::Engine;
use offhook::ids::CallId;
use offhook::provider::blob::{BlobCapabilities, BlobPart};
use offhook::provider::telephony::HangupCause;
use offhook::provider::{Blob, BoxStream, ProviderInfo};
use offhook::runtime::Runtime;
use offhook::service::recordings::{LINK_LIFETIME_MAX, object_key};
use offhook::service::retention::Retention;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

const SPEECH: u8 = 0x80;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A world with one recorded call, and a public URL.
async fn recorded(runtime: &VirtualRuntime) -> (World, CallId) {
    let mut world = World::new(Arc::new(runtime.clone()), &["Hello."]).await;
    let mut settings = offhook_testkit::settings();
    settings.public_url = Some("https://calls.example/".to_owned());
    world.engine = Engine::with_settings(world.providers.clone(), settings);
    let (handle, caller) = world.ring();
    let id = handle.id();
    caller.sound(SPEECH, Duration::from_secs(1)).await;
    caller.hang_up(HangupCause::NORMAL_CLEARING);
    let (record, _) = handle.finished().await.unwrap();
    assert!(record.recording.is_some());
    (world, id)
}

#[test]
fn a_link_opens_its_recording_until_it_expires() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let (world, call) = recorded(&runtime).await;
        let recordings = world.engine.recordings();
        let recording = recordings.get(world.tenant, call).await.unwrap().unwrap();
        assert_eq!(recording.key, object_key(world.tenant, call));
        let link = recordings.link(world.tenant, call, Duration::from_secs(60)).await.unwrap();
        let path = link.url.strip_prefix("https://calls.example").unwrap();
        let (path, query) = path.split_once('?').unwrap();
        assert_eq!(recordings.open_link(path, query).unwrap(), (world.tenant, call));
        let length = recordings.length(world.tenant, call).await.unwrap();
        assert!(length > 44, "{length}");
        world.wait(Duration::from_secs(60)).await;
        assert_eq!(recordings.open_link(path, query).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(recordings.open_link("/recordings/x.wav", query).unwrap_err().kind(), ErrorKind::Unauthenticated);
        let longest = recordings.link(world.tenant, call, Duration::MAX).await.unwrap();
        assert_eq!(longest.expires_at, world.runtime.wall_clock() + LINK_LIFETIME_MAX);
        let other = recordings.link(world.tenant, CallId::generate(&*world.runtime), DAY).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::NotFound);
        let private = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
        let unreachable = private.recordings().link(world.tenant, call, DAY).await.unwrap_err();
        assert_eq!(unreachable.kind(), ErrorKind::ConfigInvalid);
    });
}

#[test]
fn a_recording_goes_when_its_day_has_come_and_not_before() {
    let runtime = VirtualRuntime::new(2);
    runtime.clone().block_on(async {
        let (world, call) = recorded(&runtime).await;
        let keep_for = |days| Retention { recording_days: Some(days), ..Retention::default() };
        // Nobody runs while days pass, or they would pass slowly.
        let World { blob, engine, providers, runtime, tenant, .. } = world;
        drop(engine);
        let is_there_after = |days: u32| {
            let (blob, providers, runtime) = (blob.clone(), providers.clone(), runtime.clone());
            async move {
                runtime.sleep_until(runtime.now() + DAY * days).await;
                let engine = Engine::new(providers);
                runtime.sleep_until(runtime.now() + Duration::from_secs(61)).await;
                let row = engine.recordings().get(tenant, call).await.unwrap().is_some();
                assert_eq!(row, blob.length(object_key(tenant, call)).await.is_ok());
                (row, engine)
            }
        };
        let (is_there, engine) = is_there_after(30).await;
        assert!(is_there, "nobody asked for it to go");
        engine.retention().set(tenant, keep_for(60)).await.unwrap();
        drop(engine);
        let (is_there, engine) = is_there_after(29).await;
        assert!(is_there, "its day has not come");
        // A shorter time counts for what is kept already.
        engine.retention().set(tenant, keep_for(100)).await.unwrap();
        engine.retention().set(tenant, keep_for(70)).await.unwrap();
        drop(engine);
        let (is_there, engine) = is_there_after(10).await;
        assert!(is_there, "its day has not come");
        drop(engine);
        let (is_there, engine) = is_there_after(1).await;
        assert!(!is_there, "its day has come");
        assert_eq!(engine.recordings().length(tenant, call).await.unwrap_err().kind(), ErrorKind::NotFound);
        for days in [0, 4_000] {
            let refused = engine.retention().set(tenant, keep_for(days)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConfigInvalid);
        }
    });
}

#[test]
fn a_recording_can_be_deleted_by_hand_and_twice() {
    let runtime = VirtualRuntime::new(4);
    runtime.clone().block_on(async {
        let (world, call) = recorded(&runtime).await;
        for _ in 0..2 {
            world.engine.recordings().delete(world.tenant, call).await.unwrap();
            assert_eq!(world.engine.recordings().get(world.tenant, call).await.unwrap(), None);
            assert!(world.blob.length(object_key(world.tenant, call)).await.is_err());
        }
    });
}

/// An object store that is slower than the call's end can wait for.
#[test]
fn a_recording_that_comes_late_is_found() {
    let runtime = VirtualRuntime::new(5);
    runtime.clone().block_on(async {
        let mut world = World::new(Arc::new(runtime.clone()), &["Hello."]).await;
        let blob = world.blob.clone();
        world.providers.blob = Some(Arc::new(SlowBlob { blob: blob.clone(), runtime: world.runtime.clone() }));
        world.engine = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
        let (handle, caller) = world.ring();
        let id = handle.id();
        caller.sound(SPEECH, Duration::from_secs(1)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.recording, None, "the call does not wait for it");
        let recordings = world.engine.recordings();
        assert_eq!(recordings.get(world.tenant, id).await.unwrap(), None);
        world.wait(Duration::from_secs(400)).await;
        let found = recordings.get(world.tenant, id).await.unwrap().unwrap();
        assert_eq!(found.key, object_key(world.tenant, id));
        assert!(recordings.length(world.tenant, id).await.unwrap() > 44);
    });
}

struct SlowBlob {
    blob: offhook_testkit::script::MemoryBlob,
    runtime: Arc<dyn Runtime>,
}

#[async_trait]
impl Blob for SlowBlob {
    fn info(&self) -> ProviderInfo {
        self.blob.info()
    }

    fn capabilities(&self) -> BlobCapabilities {
        self.blob.capabilities()
    }

    async fn put(&self, key: String, parts: BoxStream<'static, offhook::Result<BlobPart>>) -> offhook::Result<String> {
        let parts: Vec<_> = parts.collect().await;
        self.runtime.sleep_until(self.runtime.now() + Duration::from_secs(60)).await;
        self.blob.put(key, stream::iter(parts).boxed()).await
    }

    async fn get_range(
        &self,
        key: String,
        offset: u64,
        length: u64,
    ) -> offhook::Result<BoxStream<'static, offhook::Result<Bytes>>> {
        self.blob.get_range(key, offset, length).await
    }

    async fn length(&self, key: String) -> offhook::Result<u64> {
        self.blob.length(key).await
    }

    async fn sign_url(&self, key: String, lifetime: Duration) -> offhook::Result<String> {
        self.blob.sign_url(key, lifetime).await
    }

    async fn delete(&self, key: String) -> offhook::Result<()> {
        self.blob.delete(key).await
    }
}
