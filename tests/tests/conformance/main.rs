//! The conformance suite: what the bus promises, once for every runtime on every
//! link.

mod faults;
mod keys;
mod publishing;
mod settling;
mod subscribing;

jetbus_tests::conformance! {
    faults::a_deleted_consumer_is_made_again_and_nothing_is_missed,
    faults::a_deleted_stream_is_made_again_and_handling_goes_on,
    keys::a_hundred_aggregates_over_five_topics_keep_their_order,
    keys::different_keys_are_handled_at_once,
    keys::each_aggregate_keeps_its_order_and_never_overlaps,
    keys::limits_of_handlers_and_of_held_events_are_kept,
    keys::messages_without_a_key_are_handled_at_once,
    keys::twenty_events_stay_in_order_while_handlers_yield,
    publishing::a_publish_is_stored_in_order,
    settling::a_closing_bus_lets_handlers_finish_and_publish,
    settling::a_failing_key_holds_its_own_events_only,
    settling::a_failing_or_panicking_handler_is_tried_again_in_order,
    settling::a_handler_longer_than_its_lease_is_not_run_twice,
    settling::deliveries_are_settled_each_by_its_handle,
    settling::dropping_a_subscription_gives_back_what_waits,
    settling::progress_is_told_to_the_server_at_once,
    settling::stopping_amid_events_keeps_their_order,
    settling::stopping_finishes_what_runs_and_gives_back_what_waits,
    subscribing::a_group_goes_on_where_it_was,
    subscribing::a_pattern_gets_all_topics_that_it_covers,
    subscribing::a_second_subscription_to_topic_and_group_is_refused,
    subscribing::a_subscription_starts_where_it_is_told,
    subscribing::an_event_is_handled_once_with_all_it_says_of_itself,
    subscribing::ephemeral_topics_reach_whoever_listens,
    subscribing::raw_bytes_come_with_their_headers,
    subscribing::replicas_of_a_group_share_its_events,
    subscribing::what_cannot_be_decoded_is_told_and_not_lost,
    subscribing::without_a_group_every_instance_gets_every_event,
}
