//! What is guaranteed, under which conditions, and which test shows it. No code.
//!
//! A test is named by its suite, its module and its name: `conformance::closing::a_case`
//! is run by `cargo test -p jetbus-tests --test conformance a_case`, for each runtime on
//! each link. `models` are the loom models (`cargo test -p jetbus-loom-tests`), `core` and
//! `adapters` the tests within and beside those crates. A test reads this page, and fails
//! when one that is named here is not there.
//!
//! # Guarantees
//!
//! ## Publishing
//!
//! | holds | needs | shown by |
//! |---|---|---|
//! | A publish that returned `Stored` or `Duplicate` is in the stream. | One replica on file: what a server acknowledged survives `kill -9` of it, not a loss of power, unless it runs with `sync_interval: always`. Three replicas: the loss of one server. Memory storage: no restart. | `publishing_under_fire::servers::a_killed_server_costs_nothing_at_full_speed`, `publishing_under_fire::clusters::a_leader_that_is_killed_costs_nothing`, `history::no_fault_of_one_server_or_of_connections_breaks_a_promise` |
//! | A publish that failed with anything but `Unknown` is not in the stream. | | `publishing_under_fire::networks::what_breaking_connections_leave_behind_is_told_truly`, `conformance::outcomes::a_refusal_after_a_lost_answer_is_unknown` |
//! | Every publish ends in one way, by its timeout at the latest, also when the bus is closed. | Dropping a receipt takes nothing back; a failure that nobody reads is news. | `conformance::lingering::closing_answers_what_lingers_at_once`, `conformance::lingering::what_waited_too_long_for_its_turn_is_not_sent`, `conformance::outcomes::every_publish_ends_in_one_way_and_is_counted`, `conformance::outcomes::a_receipt_dropped_unread_loses_nothing`, `publishing_under_fire::servers::closing_right_after_publishing_ends_every_publish_truly` |
//! | Within its timeout a publish outlasts elections, restarts and broken connections, and is stored once. | The timeout is longer than that takes (an election: up to nine seconds), and the stream's dedupe window is longer than the timeout. | `publishing_under_fire::clusters::a_leader_that_steps_down_costs_nothing`, `publishing_under_fire::clusters::a_frozen_leader_costs_nothing`, `publishing_under_fire::clusters::a_server_that_says_goodbye_costs_nothing`, `publishing_under_fire::networks::connections_that_break_at_any_byte_cost_nothing_while_there_is_time`, `conformance::topics::a_question_that_gets_lost_is_asked_again` |
//! | A server that is away for longer is gone on with by itself when it is back. | | `publishing_under_fire::servers::a_server_that_is_away_for_long_is_gone_on_with_by_itself`, `connecting::place::a_killed_server_is_found_again` |
//! | Events of one key of a topic are stored in the order in which they were published. | By one bus; not told to be `unordered`. An event whose outcome was `Unknown` may turn up later than those after it. | `conformance::ordering::events_of_a_key_keep_their_order_when_they_are_refused`, `conformance::ordering::behind_an_unknown_outcome_nothing_is_sent`, `publishing_under_fire::clusters::a_leader_that_steps_down_costs_nothing` |
//! | Publishing again with the same id stores nothing twice, and nothing is sent again once its id may be forgotten. | Within the stream's dedupe window, two minutes unless configured. | `conformance::publishing::one_event_id_is_stored_once_per_topic`, `conformance::outcomes::nothing_is_repeated_once_its_id_may_be_forgotten` |
//! | What is not acknowledged yet is bounded in messages and bytes, and who is beyond waits in turn. | | `conformance::publishing::a_full_window_makes_publishers_wait_in_order`, `conformance::outcomes::bytes_on_their_way_are_bounded` |
//! | Of an atomic batch all events are in the stream, at sequences one after the other, or none. | All are told the same: also `Unknown`, if nobody says which it is before their ids are forgotten. | `conformance::atomic::a_batch_is_stored_whole_or_not_at_all`, `conformance::atomic::a_batch_that_was_cut_off_is_sent_whole_again`, `conformance::atomic::a_batch_whose_answer_is_lost_is_stored_once`, `simulation::even_seeds_keep_the_rules` |
//! | A publish under a stream of results gives exactly one result, equal to its outcome, at close too. | It has a place; the stream is read to its end. | `conformance::results::each_kind_of_outcome_gives_its_result`, `conformance::results_end::closing_answers_all_and_each_that_had_a_place_has_its_result`, `conformance::results_end::what_is_not_sent_for_another_of_its_batch_has_its_result`, `models::results::unregistering_loses_no_result` |
//! | Nothing is published without an acknowledgement that was meant to have one. | The topic does not consent to it. | `conformance::publish_options::nothing_goes_unacknowledged_without_consent` |
//!
//! ## Handling
//!
//! | holds | needs | shown by |
//! |---|---|---|
//! | Every stored event is handled at least once per group. | The stream still has it: what its limits remove is gone. Its consumer may be deleted: it is made again at the lowest event that is not settled, and what was settled beyond is handled again if only the server knew of it, or sixteen windows of others were settled since. | `crowd::a_killed_server_costs_nothing_but_repetitions`, `crowd::a_consumer_deleted_underneath_costs_nothing`, `conformance::faults::a_deleted_consumer_is_made_again_and_nothing_is_missed`, `simulation::even_seeds_keep_the_rules` |
//! | Events of one key are handled in the order in which they were stored, one at a time. | Within one process of the group. Its readers hear each other: they are of this make, share an account and an inbox prefix, and may publish to `<prefix>.readers.>`. Who is not heard is taken for absent, and what it holds may be handled twice. Who hears nothing, or missed something just now, takes what servers lose among themselves for what others were given, which is told (`News::SharedConsumer`). | `conformance::readers::what_is_lost_over_a_connection_that_holds_comes_again_in_order`, `conformance::readers::what_a_reader_with_its_hands_full_has_stays_its_own`, `history::no_fault_of_one_server_or_of_connections_breaks_a_promise`, `crowd::failing_events_are_never_overtaken`, `conformance::keys::each_aggregate_keeps_its_order_and_never_overlaps`, `faults::what_a_cut_connection_loses_comes_at_once_and_in_order`, `faults::what_a_lost_connection_still_gets_comes_at_once_and_in_order` |
//! | Different keys do not wait for each other. | There is room in the window and for handlers. | `conformance::keys::different_keys_are_handled_at_once`, `conformance::settling::a_failing_key_holds_its_own_events_only` |
//! | A handler may take as long as it needs. | Its process renews the lease, so it is not stopped for longer than `ack_wait`. | `conformance::settling::a_handler_longer_than_its_lease_is_not_run_twice` |
//! | A key goes on only when the attempt before has ended, also after a timeout. | The handler yields: a thread that is blocked cannot be taken back, which is told. | `conformance::attempts::an_attempt_that_takes_too_long_is_dropped_before_its_key_goes_on`, `conformance::attempts::a_handler_that_blocks_its_thread_is_told_once` |
//! | An event that is given up is a dead letter before it is settled. | The subscription has a group and keeps dead letters. | `conformance::burying::while_a_dead_letter_cannot_be_stored_its_key_waits_and_nothing_is_lost`, `conformance::dead_letters::an_event_whose_attempts_run_out_is_a_dead_letter_and_its_key_goes_on` |
//! | An event that fails every batch it is in is given up alone. | More than one attempt. | `conformance::batches::an_event_that_fails_its_batches_is_given_up_alone`, `simulation::even_seeds_keep_the_rules` |
//! | An event that brings its process down again and again runs alone, and is a dead letter in the end. | | `conformance::limits::events_that_may_crash_the_process_run_alone_or_not_at_all`, `conformance::dead_letters::what_came_too_often_is_a_dead_letter_before_it_runs` |
//! | A redriven event is handled again, behind what its key has in hand. | | `conformance::redriving::a_redriven_event_goes_behind_what_its_key_has_in_hand`, `conformance::redriving::a_letter_that_could_not_be_removed_is_redriven_once` |
//! | With `at_most_once` an event is handled at most once per group. | A process keeps its leases. | `conformance::once::an_event_is_acknowledged_before_it_is_handled_and_runs_once`, `conformance::once::what_is_not_confirmed_is_not_handled`, `conformance::faults::what_waits_for_lost_messages_keeps_its_lease` |
//! | What a subscription holds is bounded. | | `conformance::keys::limits_of_handlers_and_of_held_events_are_kept`, `conformance::limits::a_key_that_holds_its_share_is_told_and_given_up_when_asked` |
//! | Stopping finishes what runs, gives back what waits, and deletes no durable. | Within the time that it is given; the report tells what was left. | `conformance::settling::stopping_finishes_what_runs_and_gives_back_what_waits`, `conformance::subscription::a_drain_ends_in_time_though_handlers_never_do`, `conformance::predecessor::closing_keeps_the_durable_and_acknowledges_nothing_that_was_not_handled` |
//!
//! ## The bus
//!
//! | holds | needs | shown by |
//! |---|---|---|
//! | Every caller of `close` gets the same report; nothing runs on after it. | | `conformance::closing::every_closer_gets_the_same_report`, `conformance::closing::nothing_runs_on_after_a_close`, `models::gate::every_closer_gets_the_same_report` |
//! | What has no caller to tell is news, and a listener that is too slow is told how much it missed. | | `conformance::news::a_failure_that_nobody_waits_for_is_told`, `conformance::news::a_slow_listener_is_told_what_it_missed` |
//! | What the server does not permit is an error of the very publish, request or subscription, at once, and hinders no other. | The client reports it: of hundreds of different subjects denied at one time some may end as `Unknown`. A subscription to core NATS whose denial comes late is told by [`News::Denied`](crate::News::Denied); so are acknowledgements and pulls. | `security::permissions::a_denied_publish_is_told_at_once_and_hinders_no_other`, `security::permissions::many_denied_publishes_are_all_told`, `security::permissions::a_stream_that_may_not_be_made_is_told_at_once`, `security::permissions::a_denied_subscription_is_its_error` |
//! | Credentials are read again for every connection. | They are a file. | `security::renewal::credentials_are_read_again_for_every_connection` |
//! | No text of a topic, group, key, id or header becomes another subject, header or command. | | `security::names::hostile_names_are_refused_or_kept_as_they_are`, `security::names::no_text_of_an_event_becomes_a_line_of_the_protocol` |
//! | Garbage in the server's place is survived: the connection is given up and another made, and every publish ends. | What brings the client down (an error without a text) ends the bus, which is told. | `security::wire::garbage_is_survived_and_told`, `security::wire::a_frame_without_end_is_given_up`, `security::wire::a_client_that_breaks_down_is_told_and_leaves_nobody_waiting` |
//! | Neither payloads nor values of headers nor logins are logged. | Of the client, async-nats, no more is logged than `debug`: its `trace` shows whole messages. | `security::secrets::a_bus_that_is_watched_says_no_secret`, `security::secrets::what_is_shown_of_options_hides_secrets` |
//! | Keys that are chosen to collide cost no more than others. | Their sender does not know the seed of the bus. | `security::flooding::keys_that_collide_without_a_seed_do_not_with_one` |
//! | Whatever reads what others wrote does not panic. | | `fuzzing::events::envelopes`, `fuzzing::answers::acknowledgements_of_publishes`, `fuzzing::answers::statuses_of_pulls`, `fuzzing::letters::dead_letters` |
//! | No stream is made to lose messages without consent, and none of others is changed. | | `conformance::streams::changes_that_lose_messages_need_consent`, `conformance::streams::others_streams_are_used_and_never_changed` |
//! | The embedded broker answers as a server does. | Of what the bus uses; it keeps nothing when its process ends. | `protocol::generated::random_conversations_are_answered_alike` |
//! | The parts that threads share keep their invariants in every interleaving. | At the sizes that each model names, over what the containers beneath document. | `models::composed::publish_against_close`, `models::composed::credit_against_disconnect_against_close`, `orderings::each_ordering_stronger_than_relaxed_has_a_model_or_an_argument` |
//!
//! # Outside of them
//!
//! - **Power.** A server writes before it acknowledges, and syncs its files every two
//!   minutes unless told otherwise. A machine of a single-replica stream that loses power
//!   may lose what it acknowledged; so may a majority of three that lose it at once.
//! - **Users who may publish to each other's inboxes.** An answer has no signature: whoever
//!   may publish below `_INBOX` can tell a bus that something was stored. Give each user an
//!   inbox prefix of its own (`NatsOptions::inbox_prefix`) and permission for that alone,
//!   to publish to `<prefix>.readers.>` and `<prefix>.*.*.end` only.
//! - **Handlers that do not bear a repetition.** A single-replica server forgets up to
//!   100 ms of acknowledgements at `kill -9`, and so delivers those events again; so does
//!   whatever lets a lease run out. Make the effect of a handler depend on the event's id.
//! - **Replicas of a group.** They share its events, not its order: it holds within each
//!   process. What one of them had when its connection died comes again after `ack_wait`,
//!   perhaps behind later events of its key. That a group is shared is news.
//! - **One key published by two buses.** Each bus has its order; between them there is
//!   none. `expect_last_subject_sequence` is for those who need one.
//! - **Order between topics, and between keys.** There is none.
//! - **Unknown.** An event that was sent and not answered may be stored, now or a moment
//!   later. Publish it again with the same id within the dedupe window to know.
//! - **Ids used again after the dedupe window.** They are new events.
//! - **At most once and a process that stands still.** One that is stopped, or has no
//!   connection, for longer than `ack_wait` before it has an event confirmed may handle it
//!   beside another one, for the server confirms to both.
//! - **Limits of a stream.** `max_age`, and other limits with `Discard::Old`, remove events
//!   whether they were handled or not. By default there are none, and a stream that is full
//!   refuses.
//! - **Ephemeral topics.** They are core NATS: at most once, to whoever listens.
//!
//! # Faults of the bus that this one replaces
//!
//! Each was read in its sources or measured; each must not come back.
//!
//! ## Connections and closing
//!
//! | fault | shown to be absent by |
//! |---|---|
//! | After a reconnect the bus waits for itself: publishing and closing hang. | `faults::an_idle_subscription_is_served_at_once_after_a_restart` |
//! | Without further options it never reconnects. | `faults::a_killed_server_loses_nothing_and_keeps_order` |
//! | A reconnect turns at least once into at most once, and subscribes twice. | `legacy::clients::after_a_lost_connection_failing_events_are_tried_again_and_none_comes_twice` |
//! | A new session is used half built, and forgets the bounds of the old one. | `models::session::a_reader_sees_a_whole_session`, `conformance::outcomes::a_lost_connection_ends_or_repeats_all_at_once` |
//! | Nobody is told of lost and new connections. | `faults::what_is_handled_while_the_server_is_down_is_not_handled_again` |
//! | After some attempts the connection is given up for ever. | `publishing_under_fire::servers::a_server_that_is_away_for_long_is_gone_on_with_by_itself` |
//! | Only the first of several servers is tried. | `connecting::place::a_dead_server_of_several_is_passed_by` |
//! | Closing deletes the durable, so that a restart repeats everything and other replicas get nothing. | `conformance::predecessor::closing_keeps_the_durable_and_acknowledges_nothing_that_was_not_handled`, `conformance::predecessor::the_close_of_one_instance_disturbs_no_other_of_its_group`, `conformance::predecessor::a_closed_instance_that_restarts_goes_on_where_the_group_was` |
//! | Closing leaves handlers and loops running. | `conformance::closing::nothing_runs_on_after_a_close`, `conformance::settling::a_closing_bus_lets_handlers_finish_and_publish` |
//! | Closing drops the outcomes of publishes on their way. | `conformance::closing::closing_answers_what_is_in_flight`, `publishing_under_fire::servers::closing_right_after_publishing_ends_every_publish_truly` |
//! | A close while others close returns before the bus is closed. | `conformance::closing::every_closer_gets_the_same_report` |
//! | A token, a key or a credentials file is accepted and not used. | `security::identity::passwords_and_tokens_open`, `security::identity::nkeys_open`, `security::identity::credential_files_open`, `security::trust::certificates_of_both_sides_are_checked` |
//! | The JetStream domain and prefix are accepted and not used. | `connecting::place::domains_and_prefixes_are_used` |
//! | Every event writes lines to the log. | `adapters::logging::events_that_are_published_and_handled_leave_no_line` |
//! | A client's name that repeats, or has dots, brings the process down. | `legacy::clients::names_of_clients_may_repeat_and_have_dots` |
//! | Stopping the health check waits for the check, which waits for the stop. | Open: there is no health check yet. |
//!
//! ## Publishing and streams
//!
//! | fault | shown to be absent by |
//! |---|---|
//! | What should be stored is sent without acknowledgement, and success is returned, when the stream is not there. | `conformance::publish_options::nothing_goes_unacknowledged_without_consent` |
//! | Publishers and subscribers of a topic disagree on its stream. | `legacy::streams::publishers_and_subscribers_meet_in_one_stream_whoever_comes_first` |
//! | The first event of a topic finds no stream. | `conformance::topics::first_publishes_make_each_stream_once` |
//! | Two publishers create a stream at once, and one topic is lost. | `conformance::topics::buses_at_once_agree_on_streams` |
//! | Who waits for another's attempt to make a stream gets its result for another topic. | `conformance::topics::first_publishes_make_each_stream_once`, `models::streams::everybody_gets_the_same_entry` |
//! | One failed attempt fails all who wait, and all try again at once. | `models::flight::a_failure_is_tried_once`, `conformance::topics::a_caller_that_leaves_hands_its_stream_to_the_next` |
//! | A stream that was deleted is believed to be there for ever. | `conformance::streams::a_deleted_stream_is_made_again`, `models::streams::an_invalidation_during_an_ensure_is_not_forgotten` |
//! | Options of one topic are put on a stream that others share. | `conformance::topics::a_covered_topic_takes_no_options_of_its_own` |
//! | Configuring a topic again shrinks a stream and drops what others stored. | `conformance::streams::changes_that_lose_messages_need_consent` |
//! | Validating compares with nothing, and takes an error for a missing stream. | `conformance::streams::strategies_do_what_they_say` |
//! | A publish that waits for its answer holds a lock that all others need. | `conformance::ordering::a_key_that_waits_holds_no_other` |
//! | An answer that does not come holds up the outcomes of others. | `conformance::ordering::a_key_that_waits_holds_no_other` |
//! | A publish that was accepted gets no outcome when too many are on their way. | `conformance::publishing::a_full_window_makes_publishers_wait_in_order`, `publishing_under_fire::servers::a_killed_server_costs_nothing_at_full_speed` |
//! | A publish that was given up fails, and is sent all the same. | `conformance::ordering::a_publish_given_up_in_line_is_not_sent` |
//! | Outcomes that nobody reads pile up, and then are dropped. | `conformance::outcomes::a_receipt_dropped_unread_loses_nothing` |
//! | What is published again is stored twice. | `conformance::outcomes::a_repeated_attempt_is_stored_once`, `conformance::publishing::one_event_id_is_stored_once_per_topic` |
//! | What was stored is reported as failed. | `publishing_under_fire::servers::a_server_that_stands_still_is_waited_for_and_nobody_is_told_wrong` |
//! | An outage of seconds fails publishes, for their bytes do not fit a buffer. | `publishing_under_fire::servers::a_killed_server_costs_nothing_at_full_speed` |
//! | A payload that is no JSON is stored as `null`. | `core::envelope::only_json_is_a_payload`, `conformance::refusals::events_keep_the_rules_of_the_envelope` |
//! | The body of an event is parsed again and again. | `core::envelope::a_foreign_envelope_is_read_without_copies` |
//! | With default options ten thousand events are kept, and older ones dropped unread. | `legacy::streams::more_unread_events_than_ten_thousand_are_kept`, `conformance::streams::a_full_stream_refuses_and_loses_nothing` |
//!
//! ## Handling
//!
//! | fault | shown to be absent by |
//! |---|---|
//! | One event of a topic is handled at a time, whatever its key. | `conformance::keys::different_keys_are_handled_at_once` |
//! | The configured lease and limits are put on a consumer that nobody reads. | `legacy::consuming::a_consumer_is_as_asked_and_there_is_no_other` |
//! | A consumer that nobody reads keeps a stream from ever getting empty. | `legacy::streams::streams_that_keep_what_is_not_handled_are_empty_when_all_is` |
//! | A slow handler's events are handled by another replica too, at the same time. | `conformance::predecessor::a_slow_handler_is_not_overtaken_by_a_second_instance`, `conformance::settling::a_handler_longer_than_its_lease_is_not_run_twice` |
//! | An event that cannot be handled is delivered again at once, without end. | `conformance::predecessor::an_aggregate_that_always_fails_ends_in_the_dead_letters_and_holds_nobody` |
//! | Later events of a key overtake one that failed. | `crowd::failing_events_are_never_overtaken`, `conformance::predecessor::aggregates_whose_first_events_panic_are_handled_in_order` |
//! | An event that took too long runs again while it still runs. | `conformance::attempts::an_attempt_that_takes_too_long_is_dropped_before_its_key_goes_on` |
//! | Closing acknowledges what was not handled. | `conformance::predecessor::closing_keeps_the_durable_and_acknowledges_nothing_that_was_not_handled` |
//! | At most once acknowledges after the handler. | `conformance::once::an_event_is_acknowledged_before_it_is_handled_and_runs_once` |
//! | Stopping acknowledges what at most once has not handled. | `conformance::once::what_was_not_started_is_given_back` |
//! | Replicas of a group break the order of a key, and nobody is told. | `legacy::consuming::instances_that_share_a_group_are_told_so`, and outside of the guarantees above |
//! | A subscription that was cancelled cannot be made again. | `conformance::settling::dropping_a_subscription_gives_back_what_waits` |
//! | Two topics have the same durable. | `conformance::predecessor::names_that_look_alike_are_kept_apart` |
//! | Services that set no names share streams and steal each other's events. | `conformance::subscribing::without_a_group_every_instance_gets_every_event`, `conformance::refusals::groups_and_patterns_are_names` |
//! | What is held in memory grows without bound. | `conformance::keys::limits_of_handlers_and_of_held_events_are_kept`, `conformance::settling::progress_told_again_and_again_is_said_once`, `conformance::lingering::flushes_that_nobody_waits_for_cut_nothing_apart` |
//! | A listener of core NATS that is too slow loses messages, and nobody is told. | `adapters::embedded::a_slow_reader_loses_messages_and_hears_of_it` |
//! | Without a server nothing is delivered again, and the order is another. | `conformance::settling::a_failing_or_panicking_handler_is_tried_again_in_order`, `protocol::generated::random_conversations_are_answered_alike` |
//! | One panic fails the events of others. | `conformance::predecessor::one_panic_leaves_all_other_events_alone` |
//!
//! ## Beside them
//!
//! | fault | shown to be absent by |
//! |---|---|
//! | Configuration is read while it is changed. | `models::topics::one_load_gives_one_version`, `models::topics::configure_and_remove_while_publishing` |
//! | A shared value that changes its type brings the process down. | `models::session::a_reader_sees_a_whole_session` |
//! | Options are accepted and have no effect. | `conformance::refusals::streams_and_options_have_bounds`, `conformance::limits::options_of_handling_have_bounds`, `conformance::topics::options_of_a_topic_are_those_of_its_stream` |
//! | The backlog is counted in the wrong sequence, and an idle topic has one. | Open: the backlog is not watched yet. |
//! | Health is said to be good when an event was queued, and replicas steal each other's heartbeats. | Open: there is no health check yet. |
//! | The rate limiter is never asked, and an adaptive one stays slow for ever. | Open: there is no rate limiter. |
//! | The names of metrics depend on the client's, and collide. | Open: there are no metrics yet. |
//! | The outbox counts attempts twice, never reaches its dead letters, and publishes from two instances at once. | Open: there is no outbox yet. |
//! | On Kafka outcomes end with the first reconnect, and commits pass over what failed. | Open: there is no link to Kafka. |
