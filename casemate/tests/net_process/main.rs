//! A network device's process as the program starts it, from its image, over a TAP of the kernel's
//! in a network of the test's own, with a driver at the other end. What it may do is what it does;
//! what an attacker who takes it over can reach; what of a guest's frames comes out. Skipped, and
//! said so, not as root, and where no such network or TAP can be had. Cannot tell what a Linux
//! driver makes of the device: the end-to-end tests do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

mod device;
mod place;
mod tap;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    let root = rustix::process::geteuid().is_root();
    if root && !casemate_test_support::network::own_network() {
        println!("SKIPPED: network devices need a network namespace, `ip` and /dev/net/tun");
        return ExitCode::SUCCESS;
    }
    macro_rules! tests {
        ($($module:ident :: $name:ident),* $(,)?) => { [$((stringify!($name), $module::$name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        traffic::frames_reach_the_host_and_its_answers_the_guest,
        traffic::a_large_packet_comes_in_several_buffers_and_is_whole,
        traffic::what_a_policy_admits_reaches_the_host_and_nothing_else_does,
        traffic::a_guest_answers_who_begins_and_may_not_begin_itself,
        traffic::a_policy_ends_a_guest_that_opens_too_many_connections,
        traffic::frames_that_cannot_be_are_answered_and_the_queue_goes_on,
        traffic::a_second_driver_begins_anew_with_other_features,
        device::net_profile_allows_what_is_used_and_nothing_else,
        device::net_process_is_locked_as_the_kernel_tells,
        device::what_a_network_device_holds_takes_an_attacker_nowhere_else,
        device::an_attacker_in_a_network_device_dies_at_each_attack_on_others,
        tap::taps_that_cannot_be_had_are_refused_each_by_its_own_line,
        tap::a_tap_that_was_made_is_gone_when_nobody_has_it,
        tap::a_tap_that_is_removed_ends_its_device_which_says_so,
    ])
}
