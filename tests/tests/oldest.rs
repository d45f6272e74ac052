//! Older servers, and the oldest that is supported: a smaller run of the conformance
//! suite.
#![cfg(feature = "nats")]
// `pub` says that a function is a case; what is not run here runs there.
#![allow(unreachable_pub, dead_code)]

#[path = "conformance/atomic.rs"]
mod atomic;
#[path = "conformance/burying.rs"]
mod burying;
#[path = "conformance/dead_letters.rs"]
mod dead_letters;
#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/keys.rs"]
mod keys;
#[path = "conformance/many.rs"]
mod many;
#[path = "conformance/ordering.rs"]
mod ordering;
#[path = "conformance/outcomes.rs"]
mod outcomes;
#[path = "conformance/publish_options.rs"]
mod publish_options;
#[path = "conformance/publishing.rs"]
mod publishing;
#[path = "conformance/redriving.rs"]
mod redriving;
#[path = "conformance/settling.rs"]
mod settling;
#[path = "conformance/streams.rs"]
mod streams;
#[path = "conformance/subscribing.rs"]
mod subscribing;
#[path = "conformance/topics.rs"]
mod topics;

/// A test of each case, on one runtime.
macro_rules! on_an_old_server {
    ($old:ident, $link:ident: $($module:ident :: $case:ident),* $(,)?) => {
        mod $old {
            $(#[test]
            fn $case() {
                use jetbus_tests::matrix::{LinkKind, RuntimeKind, run};
                #[cfg(feature = "tokio")]
                const RUNTIME: RuntimeKind = RuntimeKind::Tokio;
                #[cfg(not(feature = "tokio"))]
                const RUNTIME: RuntimeKind = RuntimeKind::Smol;
                run(RUNTIME, LinkKind::$link, super::$module::$case);
            })*
        }
    };
}

on_an_old_server! { oldest, OldestNats:
    atomic::where_it_cannot_be_had_nothing_is_sent,
    many::a_gap_among_many_is_filled_in_order,
    many::a_lost_connection_amid_many_loses_and_repeats_none,
    many::closing_answers_each_of_many,
    many::each_of_many_has_its_own_outcome,
    many::many_are_ingested_in_order,
    many::one_of_many_that_is_refused_lets_the_others_go,
    dead_letters::an_event_whose_attempts_run_out_is_a_dead_letter_and_its_key_goes_on,
    dead_letters::bytes_and_headers_are_kept_and_none_is_acted_upon,
    burying::while_a_dead_letter_cannot_be_stored_its_key_waits_and_nothing_is_lost,
    faults::a_deleted_consumer_is_made_again_and_nothing_is_missed,
    faults::a_deleted_stream_is_made_again_and_handling_goes_on,
    keys::a_hundred_aggregates_over_five_topics_keep_their_order,
    keys::limits_of_handlers_and_of_held_events_are_kept,
    ordering::events_of_a_key_keep_their_order_when_they_are_refused,
    outcomes::a_lost_connection_ends_or_repeats_all_at_once,
    outcomes::a_refusal_after_a_lost_answer_is_unknown,
    publish_options::expectations_are_kept_or_a_conflict,
    publish_options::what_the_server_is_too_old_for_is_refused,
    publishing::a_publish_is_stored_in_order,
    publishing::bytes_and_headers_come_through_unchanged,
    publishing::one_event_id_is_stored_once_per_topic,
    redriving::a_lost_consumer_of_redrives_is_made_again,
    redriving::a_redriven_event_goes_behind_what_its_key_has_in_hand,
    redriving::all_that_a_filter_means_are_redriven_once,
    redriving::dead_letters_are_counted_listed_and_removed_by_what_they_are,
    settling::a_failing_or_panicking_handler_is_tried_again_in_order,
    settling::a_handler_longer_than_its_lease_is_not_run_twice,
    settling::deliveries_are_settled_each_by_its_handle,
    settling::progress_is_told_to_the_server_at_once,
    settling::stopping_amid_events_keeps_their_order,
    settling::stopping_finishes_what_runs_and_gives_back_what_waits,
    streams::a_declared_stream_is_as_declared,
    streams::a_full_stream_refuses_and_loses_nothing,
    streams::changes_that_lose_messages_need_consent,
    subscribing::a_pattern_gets_all_topics_that_it_covers,
    subscribing::a_subscription_starts_where_it_is_told,
    subscribing::an_event_is_handled_once_with_all_it_says_of_itself,
    subscribing::replicas_of_a_group_share_its_events,
    subscribing::what_cannot_be_decoded_is_told_and_not_lost,
    topics::first_publishes_make_each_stream_once,
    topics::options_of_a_topic_are_those_of_its_stream,
}

// Batches are stored whole or not at all there, and not on the way.
on_an_old_server! { atomic_only, AtomicNats:
    atomic::a_batch_comes_behind_what_its_keys_have_in_hand,
    atomic::a_batch_is_stored_whole_or_not_at_all,
    atomic::a_batch_that_was_cut_off_is_sent_whole_again,
    atomic::a_batch_whose_answer_is_lost_is_stored_once,
    atomic::closing_answers_every_event_of_a_batch,
    atomic::what_is_refused_in_the_middle_is_refused_for_that,
    atomic::where_it_cannot_be_had_nothing_is_sent,
    many::each_of_many_has_its_own_outcome,
    many::many_are_ingested_in_order,
    many::one_of_many_that_is_refused_lets_the_others_go,
}
