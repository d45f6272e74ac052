//! The conformance suite: what the bus promises, once for every runtime on every
//! link.

mod publishing;
mod subscribing;

jetbus_tests::conformance! {
    publishing::a_publish_is_stored_in_order,
    subscribing::events_of_a_key_are_handled_in_order,
}
