//! Devices that are one process each, as the program starts them, from their image, with a driver
//! at the other end: a console, random numbers. What they may do is what they do; what an attacker
//! who takes one over can reach. Skipped, and said so, not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

mod console;
mod device;
mod rng;

use std::process::ExitCode;

fn main() -> ExitCode {
    macro_rules! tests {
        ($($module:ident :: $name:ident),* $(,)?) => { [$((stringify!($name), $module::$name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        console::console_profile_allows_what_is_used_and_nothing_else,
        console::console_process_is_locked_as_the_kernel_tells,
        console::what_a_console_holds_takes_an_attacker_nowhere,
        console::an_attacker_in_a_console_dies_at_each_attack_on_others,
        console::a_reader_that_does_not_read_leaves_buffers_unused_and_loses_nothing,
        console::what_no_driver_should_do_ends_no_console,
        rng::rng_profile_allows_what_is_used_and_nothing_else,
        rng::rng_process_is_locked_as_the_kernel_tells,
        rng::what_a_source_of_random_numbers_holds_takes_an_attacker_nowhere,
        rng::an_attacker_in_a_source_of_random_numbers_dies_at_each_attack_on_others,
    ])
}
