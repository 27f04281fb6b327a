//! Who may hear a recording, and how long it is kept.

use std::sync::Arc;
use std::time::Duration;

use offhook::ErrorKind;
use offhook::engine::Engine;
use offhook::ids::CallId;
use offhook::provider::Blob;
use offhook::provider::telephony::HangupCause;
use offhook::service::recordings::{LINK_LIFETIME_MAX, Retention, object_key};
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
        let keep_for = |days| Retention { recording_days: Some(days) };
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
        engine.recordings().set_retention(tenant, keep_for(60)).await.unwrap();
        drop(engine);
        let (is_there, engine) = is_there_after(29).await;
        assert!(is_there, "its day has not come");
        // A shorter time counts for what is kept already.
        engine.recordings().set_retention(tenant, keep_for(100)).await.unwrap();
        engine.recordings().set_retention(tenant, keep_for(70)).await.unwrap();
        drop(engine);
        let (is_there, engine) = is_there_after(10).await;
        assert!(is_there, "its day has not come");
        drop(engine);
        let (is_there, engine) = is_there_after(1).await;
        assert!(!is_there, "its day has come");
        assert_eq!(engine.recordings().length(tenant, call).await.unwrap_err().kind(), ErrorKind::NotFound);
        for days in [0, 4_000] {
            let refused = engine.recordings().set_retention(tenant, keep_for(days)).await.unwrap_err();
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
