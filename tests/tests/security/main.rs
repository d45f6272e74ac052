//! What somebody who means harm, or makes a mistake, cannot do to a bus or by it: get in,
//! read along, break the protocol, wear it out, or make it say secrets.
//!
//! Servers are real and the cases' own; each case runs on tokio and on smol. Cases that
//! need no server run on the embedded broker.

mod flooding;
mod identity;
mod names;
mod permissions;
mod renewal;
mod secrets;
mod trust;
mod wire;

jetbus_tests::on_runtimes! {
    identity::credential_files_open,
    identity::nkeys_open,
    identity::passwords_and_tokens_open,
    names::hostile_names_are_refused_or_kept_as_they_are,
    names::no_text_of_an_event_becomes_a_line_of_the_protocol,
    permissions::a_consumer_that_may_not_be_made_is_told_at_once,
    permissions::a_denied_acknowledgement_is_told,
    permissions::a_denied_batch_is_told_at_once,
    permissions::a_denied_publish_is_told_at_once_and_hinders_no_other,
    permissions::a_denied_subscription_is_its_error,
    permissions::a_stream_that_may_not_be_made_is_told_at_once,
    permissions::answers_that_may_not_be_heard_are_told_at_once,
    permissions::many_denied_publishes_are_all_told,
    permissions::no_more_than_the_documented_rights_are_needed,
    permissions::permissions_of_the_connection_before_say_nothing,
    renewal::credentials_are_read_again_for_every_connection,
    secrets::a_bus_that_is_watched_says_no_secret,
    secrets::what_is_shown_of_options_hides_secrets,
    trust::certificates_of_both_sides_are_checked,
    trust::certificates_that_are_over_are_not_trusted,
    trust::tls_comes_first_when_told,
    wire::a_client_that_breaks_down_is_told_and_leaves_nobody_waiting,
    wire::a_frame_without_end_is_given_up,
    wire::garbage_is_survived_and_told,
    wire::lies_about_acknowledgements_settle_nothing,
}
