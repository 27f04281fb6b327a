//! Whatever happens, a SQLite store answers as the reference store does.

use futures_lite::future::block_on;
use offhook::memory::MemoryStore;
use offhook_sqlite::SqliteStore;
use offhook_testkit::store::{model, schema};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn random_histories_have_the_same_answers(history in model::histories()) {
        let reference = MemoryStore::new(schema()).unwrap();
        let subject = SqliteStore::open_in_memory(schema()).unwrap();
        block_on(model::assert_same(&reference, &subject, &history));
    }

}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn random_histories_survive_reopening(before in model::histories(), after in model::histories()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.db");
        let reference = MemoryStore::new(schema()).unwrap();
        for history in [before, after] {
            let subject = SqliteStore::open(&path, schema()).unwrap();
            block_on(model::assert_same(&reference, &subject, &history));
        }
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
