//! Whatever happens, a PostgreSQL store answers as the reference store does.

mod support;

use futures_lite::future::block_on;
use offhook::memory::MemoryStore;
use offhook_testkit::store::{model, schema};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_have_the_same_answers(history in model::histories()) {
        let reference = MemoryStore::new(schema()).unwrap();
        let subject = support::fresh(schema()).unwrap();
        block_on(model::assert_same(&reference, &subject, &history));
    }
}
