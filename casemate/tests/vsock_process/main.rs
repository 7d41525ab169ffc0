//! A socket device's processes as the program starts them, from their image, with a driver at the
//! other end: the device, its connector, the janitor. What they may do is what they do; what an
//! attacker who takes one over can reach. Skipped, and said so, not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

mod connector;
mod device;
mod guest;
mod janitor;
mod place;
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    macro_rules! tests {
        ($($module:ident :: $name:ident),* $(,)?) => { [$((stringify!($name), $module::$name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        device::vsock_profile_allows_what_is_used_and_nothing_else,
        connector::connector_uses_every_rule_of_its_profile_and_makes_no_other_call,
        device::vsock_processes_are_locked_as_the_kernel_tells,
        device::what_a_socket_device_holds_takes_an_attacker_nowhere_else,
        device::an_attacker_in_a_socket_device_dies_at_each_attack_on_others,
        connector::a_connector_connects_in_its_directory_and_does_nothing_else,
        connector::descriptors_on_their_way_refuse_a_connection_and_not_the_next,
        connector::a_device_that_takes_no_answers_holds_few_descriptors_on_their_way,
        janitor::a_janitor_removes_what_is_still_its_vms_and_makes_no_other_call,
        janitor::an_attacker_in_a_janitor_dies_at_each_attack_on_others,
        guest::a_guest_that_was_stopped_is_told_that_its_connections_are_gone,
        guest::a_device_whose_connector_is_gone_refuses_what_it_did_and_goes_on,
        guest::a_ring_that_cannot_be_ends_the_connections_and_the_next_driver_begins_anew,
    ])
}
