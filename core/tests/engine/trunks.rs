//! Lines to the telephone network, as they are kept.

use std::sync::Arc;

use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::reach::Reach;
use offhook::provider::store::Query;
use offhook::service::desk::Desk;
use offhook::service::trunks::{NewTrunk, TRUNK, TrunkKind};
use offhook::service::vault::VaultKey;
use offhook::signing::Secret;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

fn new(name: &str) -> NewTrunk {
    NewTrunk {
        caller_id: Some("+622150001000".parse().unwrap()),
        host: "sip.carrier.example:5061".to_owned(),
        kind: TrunkKind::Sip,
        name: name.to_owned(),
        password: Some(Secret::new("hush")),
        user: Some("clinic".to_owned()),
    }
}

#[test]
fn a_trunk_is_kept_with_its_password_sealed() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let keys = vec![VaultKey::new([7; 32])];
        let trunks = Desk::new(Arc::new(runtime.clone()), world.store.clone(), keys, Reach::public()).trunks;
        let second = trunks.add(new("second")).await.unwrap();
        let first = trunks.add(NewTrunk { password: None, user: None, ..new("first") }).await.unwrap();
        assert_eq!(trunks.list().await.unwrap(), [first, second]);
        assert_eq!(trunks.password("second").await.unwrap().unwrap().expose(), b"hush");
        assert!(trunks.password("first").await.unwrap().is_none());
        let rows = world.store.list(Query::new(None, TRUNK)).await.unwrap().records;
        assert!(!format!("{rows:?}").contains("hush") && !format!("{rows:?}").contains(&hex(b"hush")));
        assert_eq!(trunks.add(new("first")).await.unwrap_err().kind(), ErrorKind::Conflict);
        for wrong in [
            new(""),
            new("Upper"),
            new(&"x".repeat(33)),
            NewTrunk { host: String::new(), ..new("third") },
            NewTrunk { host: "sip:a@b".to_owned(), ..new("third") },
            NewTrunk { user: None, ..new("third") },
            NewTrunk { user: Some("a b".to_owned()), ..new("third") },
        ] {
            assert_eq!(trunks.add(wrong).await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
        trunks.remove("first").await.unwrap();
        assert_eq!(trunks.remove("first").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(trunks.password("first").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(trunks.list().await.unwrap().len(), 1);
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
