//! Reaching a real server: addresses, prefixes, and servers that are not there. Once on
//! tokio and once on smol. Who may connect is tested in `security`.

#[path = "connecting/place.rs"]
mod place;

jetbus_tests::on_runtimes! {
    place::a_dead_server_of_several_is_passed_by,
    place::a_frozen_server_leaves_the_outcome_unknown,
    place::a_killed_server_is_found_again,
    place::a_server_that_is_not_there_yet_is_waited_for_when_told,
    place::closing_without_answers_ends_and_counts_them,
    place::domains_and_prefixes_are_used,
    place::inboxes_start_as_told,
}
