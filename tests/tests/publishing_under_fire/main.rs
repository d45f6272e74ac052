//! Many publishers at full speed, and real servers that die, freeze, leave or lose
//! connections meanwhile. Whatever happens, each publish is told one outcome and that is
//! true; keys keep their order; and publishing goes on by itself.
//!
//! `PUBLISHES` is how many publishes are answered while a server is killed again and
//! again: 15 000 unless set. A case has a minute and a half, so that many more want a
//! release build and a quiet machine.
#![cfg(feature = "nats")]

mod batches;
mod clusters;
mod fire;
mod networks;
mod servers;

/// As [`jetbus_tests::on_servers`], with the modules of the cases.
macro_rules! under_fire {
    ($($module:ident :: $case:ident),* $(,)?) => {
        #[cfg(feature = "tokio")]
        mod tokio_nats {
            $(jetbus_tests::conformance!(@test $module $case Tokio Nats);)*
        }
        #[cfg(feature = "smol")]
        mod smol_nats {
            $(jetbus_tests::conformance!(@test $module $case Smol Nats);)*
        }
    };
}

under_fire! {
    batches::a_change_of_leaders_leaves_no_atomic_batch_in_parts,
    batches::a_change_of_leaders_leaves_no_gap_in_what_is_ingested,
    clusters::a_frozen_leader_costs_nothing,
    clusters::a_leader_that_is_killed_costs_nothing,
    clusters::a_leader_that_steps_down_costs_nothing,
    clusters::a_server_that_says_goodbye_costs_nothing,
    networks::connections_that_break_at_any_byte_cost_nothing_while_there_is_time,
    networks::what_breaking_connections_leave_behind_is_told_truly,
    servers::a_killed_server_costs_nothing_at_full_speed,
    servers::a_server_that_is_away_for_long_is_gone_on_with_by_itself,
    servers::a_server_that_stands_still_is_waited_for_and_nobody_is_told_wrong,
    servers::closing_right_after_publishing_ends_every_publish_truly,
}
