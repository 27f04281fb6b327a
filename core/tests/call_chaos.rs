//! The call machine under arbitrary inputs.

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Never panics, always ends, every command is done or cancelled, one settlement record, and the same journal gives
    /// the same outputs.
    #[test]
    fn any_inputs_lead_to_one_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(problem) = offhook_testkit::chaos::run(&bytes) {
            return Err(TestCaseError::fail(problem));
        }
    }

    /// The same of a conversation, in which the transcript holds exactly the words that the caller has heard.
    #[test]
    fn any_conversation_is_written_down_as_it_was_heard(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(problem) = offhook_testkit::chaos::converse(&bytes) {
            return Err(TestCaseError::fail(problem));
        }
    }
}
