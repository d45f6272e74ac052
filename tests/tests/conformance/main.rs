//! The conformance suite: what the bus promises, once for every runtime on every
//! link.

mod attempts;
mod batches;
mod burying;
mod closing;
mod dead_letters;
mod ephemeral;
mod faults;
mod handling;
mod keys;
mod layers;
mod limits;
mod links;
mod news;
mod once;
mod publishing;
mod redriving;
mod refusals;
mod settling;
mod streams;
mod subscribing;
mod subscription;
mod topics;

jetbus_tests::conformance! {
    attempts::a_handler_that_blocks_its_thread_is_told_once,
    attempts::a_panic_of_anything_that_is_dropped_is_an_error,
    attempts::an_attempt_that_takes_too_long_is_dropped_before_its_key_goes_on,
    attempts::an_event_whose_task_is_dropped_comes_again,
    batches::a_batch_has_a_word_for_each_of_its_events,
    batches::a_batch_that_fails_fails_whole,
    batches::batches_are_as_large_as_they_may_be,
    batches::outcomes_that_are_missing_or_too_many_are_told,
    batches::what_cannot_be_decoded_is_in_no_batch,
    burying::a_dead_letter_whose_task_is_dropped_is_stored_by_another,
    burying::a_deleted_stream_of_dead_letters_is_made_again,
    burying::options_of_dead_letters_are_those_of_their_streams,
    burying::where_no_dead_letters_are_kept_what_is_given_up_is_told,
    burying::while_a_dead_letter_cannot_be_stored_its_key_waits_and_nothing_is_lost,
    closing::closing_answers_what_is_in_flight,
    closing::every_closer_gets_the_same_report,
    closing::nothing_runs_on_after_a_close,
    closing::publishing_while_closing_is_stored_or_refused,
    closing::the_last_handle_closes,
    dead_letters::a_stream_of_deliveries_sees_nothing_of_what_is_given_up,
    dead_letters::an_event_as_large_as_the_server_takes_is_cut_and_stored,
    dead_letters::an_event_whose_attempts_run_out_is_a_dead_letter_and_its_key_goes_on,
    dead_letters::bytes_and_headers_are_kept_and_none_is_acted_upon,
    dead_letters::what_came_too_often_is_a_dead_letter_before_it_runs,
    dead_letters::what_trying_again_does_not_help_is_a_dead_letter_at_once,
    ephemeral::ephemeral_events_reach_current_listeners_only,
    faults::a_deleted_consumer_is_made_again_and_nothing_is_missed,
    faults::a_deleted_stream_is_made_again_and_handling_goes_on,
    handling::attempts_and_delays_are_as_told,
    handling::errors_are_of_the_class_that_they_are_given,
    handling::what_a_handler_says_decides_about_its_event,
    keys::a_hundred_aggregates_over_five_topics_keep_their_order,
    keys::different_keys_are_handled_at_once,
    keys::each_aggregate_keeps_its_order_and_never_overlaps,
    keys::limits_of_handlers_and_of_held_events_are_kept,
    keys::messages_without_a_key_are_handled_at_once,
    keys::twenty_events_stay_in_order_while_handlers_yield,
    layers::a_layer_may_answer_or_change_the_answer,
    layers::layers_wrap_each_attempt_the_first_added_outermost,
    layers::the_stages_have_one_order,
    limits::a_key_that_holds_its_share_is_told_and_given_up_when_asked,
    limits::events_that_may_crash_the_process_run_alone_or_not_at_all,
    limits::options_of_handling_have_bounds,
    limits::unordered_events_of_a_key_run_at_once,
    links::an_inbox_that_is_ended_gives_all_that_was_on_its_way,
    news::a_failure_that_nobody_waits_for_is_told,
    news::a_slow_listener_is_told_what_it_missed,
    news::streams_and_consumers_made_are_told,
    once::an_event_is_acknowledged_before_it_is_handled_and_runs_once,
    once::what_is_not_confirmed_is_not_handled,
    once::what_was_not_started_is_given_back,
    publishing::a_full_window_makes_publishers_wait_in_order,
    publishing::a_publish_is_stored_in_order,
    publishing::a_raw_message_may_say_what_it_expects,
    publishing::bytes_and_headers_come_through_unchanged,
    publishing::one_event_id_is_stored_once_per_topic,
    publishing::receipts_resolve_in_the_order_of_storage,
    publishing::the_stored_event_is_the_legacy_envelope,
    publishing::what_cannot_be_handed_over_is_not_sent,
    publishing::without_a_connection_publishing_fails_when_told_so,
    redriving::a_letter_that_could_not_be_removed_is_redriven_once,
    redriving::a_lost_consumer_of_redrives_is_made_again,
    redriving::a_redriven_event_goes_behind_what_its_key_has_in_hand,
    redriving::a_redriven_event_that_fails_again_is_a_dead_letter_of_its_origin,
    redriving::all_that_a_filter_means_are_redriven_once,
    redriving::dead_letters_are_counted_listed_and_removed_by_what_they_are,
    redriving::messages_that_are_no_dead_letters_are_told_apart,
    redriving::redriven_events_wait_for_their_subscription,
    redriving::what_cannot_be_meant_is_refused,
    redriving::what_nobody_would_handle_is_not_redriven,
    refusals::events_keep_the_rules_of_the_envelope,
    refusals::groups_and_patterns_are_names,
    refusals::messages_and_headers_have_limits,
    refusals::streams_and_options_have_bounds,
    refusals::topics_are_names,
    settling::a_closing_bus_lets_handlers_finish_and_publish,
    settling::a_failing_key_holds_its_own_events_only,
    settling::a_failing_or_panicking_handler_is_tried_again_in_order,
    settling::a_handler_longer_than_its_lease_is_not_run_twice,
    settling::deliveries_are_settled_each_by_its_handle,
    settling::dropping_a_subscription_gives_back_what_waits,
    settling::progress_is_told_to_the_server_at_once,
    settling::stopping_amid_events_keeps_their_order,
    settling::stopping_finishes_what_runs_and_gives_back_what_waits,
    streams::a_declared_stream_is_as_declared,
    streams::a_deleted_stream_is_made_again,
    streams::a_full_stream_refuses_and_loses_nothing,
    streams::changes_that_lose_messages_need_consent,
    streams::others_streams_are_used_and_never_changed,
    streams::strategies_do_what_they_say,
    streams::the_older_version_of_a_configuration_yields,
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
    subscription::a_consumer_made_again_does_not_repeat_what_was_settled,
    subscription::a_drain_ends_in_time_though_handlers_never_do,
    subscription::a_foreign_consumer_that_does_not_fit_is_refused,
    subscription::a_paused_subscription_asks_for_nothing_until_it_resumes,
    subscription::draining_finishes_what_runs_and_gives_back_what_waits_in_order,
    topics::a_caller_that_leaves_hands_its_stream_to_the_next,
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
