//! `[runtime]`: what a running guest may do, and who may reach into it.

use super::{Lint, lint};
use crate::audit::Level::{Error, Note, Warning};
use crate::audit::danger::Bad;
use crate::audit::strangers;

const RATE: &str = "the guest's requests have no rate that matters";
/// Pages that change sides in a second: 64 GiB of them.
const PAGES: u64 = 16 << 20;
/// The security processor serves about a hundred in a second, of all guests together.
const REQUESTS: u64 = 1000;

pub(super) const LINTS: &[Lint] = &[
    lint(
        "CM050",
        Warning,
        "runtime.page_state_changes",
        |ask| ask.own(strangers::rate_above(PAGES)),
        RATE,
    ),
    lint(
        // A note only: `any` is the one rule that can be kept today (CM095).
        "CM050",
        Note,
        "runtime.guest_requests",
        |ask| ask.own(strangers::rate_above(REQUESTS)),
        RATE,
    ),
    lint(
        "CM051",
        Warning,
        "runtime.shared_percent",
        |ask| ask.own(Bad::above(50)),
        "more than half of the guest's memory may be shared with the host",
    ),
    lint(
        "CM052",
        Warning,
        "runtime.console",
        |ask| ask.own(Bad::above(1)),
        "the host may type into the guest's console",
    ),
    lint(
        "CM053",
        Error,
        "runtime.debug",
        |ask| ask.own(Bad::above(0)),
        "a debugger on the host may reach into the guest",
    ),
    lint(
        "CM054",
        Warning,
        "runtime.snapshot",
        |ask| ask.own(Bad::index(1)),
        "an old state of the guest may be started again",
    ),
    lint(
        "CM054",
        Warning,
        "runtime.migration",
        |ask| ask.own(Bad::index(1)),
        "the guest may be moved to a host that the policy never judged",
    ),
];
