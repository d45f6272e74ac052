//! What the bus that this one replaces got wrong, as far as no other suite shows it, once
//! for every runtime on every link; and that the documentation's table of all its faults
//! names tests that exist.

mod clients;
mod consuming;
mod named;
mod streams;

jetbus_tests::conformance! {
    consuming::a_consumer_is_as_asked_and_there_is_no_other,
    consuming::instances_that_share_a_group_are_told_so,
    streams::more_unread_events_than_ten_thousand_are_kept,
    streams::publishers_and_subscribers_meet_in_one_stream_whoever_comes_first,
    streams::streams_that_keep_what_is_not_handled_are_empty_when_all_is,
}

/// What needs a connection.
macro_rules! on_servers {
    ($($module:ident :: $case:ident),* $(,)?) => {
        #[cfg(all(feature = "tokio", feature = "nats"))]
        mod tokio_connections {
            $(jetbus_tests::conformance!(@test $module $case Tokio Nats);)*
        }
        #[cfg(all(feature = "smol", feature = "nats"))]
        mod smol_connections {
            $(jetbus_tests::conformance!(@test $module $case Smol Nats);)*
        }
    };
}

on_servers! {
    clients::after_a_lost_connection_failing_events_are_tried_again_and_none_comes_twice,
    clients::names_of_clients_may_repeat_and_have_dots,
}
