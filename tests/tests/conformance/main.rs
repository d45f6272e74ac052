//! The conformance suite: what the bus promises, once for every runtime on every
//! link.

// `pub` says that a function is a case.
#![allow(unreachable_pub)]

mod closing;
mod ephemeral;
mod news;
mod publishing;
mod refusals;
mod streams;
mod subscribing;
mod topics;

jetbus_tests::conformance! {
    closing::closing_answers_what_is_in_flight,
    closing::every_closer_gets_the_same_report,
    closing::publishing_while_closing_is_stored_or_refused,
    closing::the_last_handle_closes,
    ephemeral::ephemeral_events_reach_current_listeners_only,
    news::a_failure_that_nobody_waits_for_is_told,
    news::a_slow_listener_is_told_what_it_missed,
    news::streams_and_consumers_made_are_told,
    publishing::a_full_window_makes_publishers_wait_in_order,
    publishing::a_publish_is_stored_in_order,
    publishing::bytes_and_headers_come_through_unchanged,
    publishing::one_event_id_is_stored_once_per_topic,
    publishing::receipts_resolve_in_the_order_of_storage,
    publishing::the_stored_event_is_the_legacy_envelope,
    publishing::what_cannot_be_handed_over_is_not_sent,
    publishing::without_a_connection_publishing_fails_when_told_so,
    refusals::events_keep_the_rules_of_the_envelope,
    refusals::groups_and_patterns_are_names,
    refusals::messages_and_headers_have_limits,
    refusals::streams_and_options_have_bounds,
    refusals::topics_are_names,
    streams::a_declared_stream_is_as_declared,
    streams::a_deleted_stream_is_made_again,
    streams::a_full_stream_refuses_and_loses_nothing,
    streams::changes_that_lose_messages_need_consent,
    streams::others_streams_are_used_and_never_changed,
    streams::strategies_do_what_they_say,
    streams::the_older_version_of_a_configuration_yields,
    subscribing::events_of_a_key_are_handled_in_order,
    topics::a_covered_topic_takes_no_options_of_its_own,
    topics::a_handle_and_a_name_are_the_same_topic,
    topics::a_topic_changes_between_stored_and_ephemeral,
    topics::auto_means_what_the_bus_was_told,
    topics::buses_at_once_agree_on_streams,
    topics::first_publishes_make_each_stream_once,
    topics::of_two_configurations_at_once_one_holds,
    topics::options_of_a_topic_are_those_of_its_stream,
    topics::topics_are_configured_listed_and_forgotten,
}
