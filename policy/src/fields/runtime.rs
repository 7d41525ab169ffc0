//! `[runtime]`: what a running guest, and the host around it, may do.

use super::{Enforcer, Field, Key, Kind, NOTHING, field};

const VCPU: &str = Enforcer::PageStates.text();
const REQUESTS: &str = Enforcer::StartWithoutFacts.text();
const CONTROL: &str = Enforcer::Start.text();
const ACTIONS: Kind = Kind::Action(&["kill", "deny", "throttle"]);

pub(super) const PAGE_STATE: &[Field] = &[
    field(
        "runtime.page_state_changes",
        Key::PageStateUsage,
        Kind::Limit,
        [
            NOTHING,
            "4 KiB pages that change between private and shared, in a second and in all.",
            VCPU,
            "The guest keeps the host busy with page table and RMP updates.",
        ],
    ),
    field(
        "runtime.shared_percent",
        Key::SharedPercent,
        Kind::Ceiling,
        [
            NOTHING,
            "Greatest share of guest memory, in percent, that is shared with the host.",
            VCPU,
            "A compromised guest kernel makes all of its memory readable by the host.",
        ],
    ),
    field(
        "runtime.on_page_state",
        Key::Setting,
        ACTIONS,
        [
            "\"deny\"",
            "What a page-state change beyond these limits does.",
            VCPU,
            "A guest out of control keeps running.",
        ],
    ),
];

pub(super) const GUEST_REQUEST: &[Field] = &[
    field(
        "runtime.guest_requests",
        Key::GuestRequestUsage,
        Kind::Limit,
        [
            NOTHING,
            "Requests of the guest to the security processor, in a second and in all.",
            REQUESTS,
            "One guest takes the security processor, which serves one request at a time, from all others.",
        ],
    ),
    field(
        "runtime.on_guest_request",
        Key::Setting,
        ACTIONS,
        [
            "\"deny\"",
            "What a request beyond the limit does.",
            REQUESTS,
            "A guest out of control keeps running.",
        ],
    ),
];

pub(super) const ACCESS: &[Field] = &[
    field(
        "runtime.console",
        Key::AccessConsole,
        Kind::Level(&["none", "output", "interactive"]),
        [
            "\"none\"",
            "Greatest access of the host to the guest's console.",
            CONTROL,
            "An operator reads the guest's messages or logs in to it.",
        ],
    ),
    field(
        "runtime.debug",
        Key::AccessDebug,
        Kind::Level(&["none", "read", "full"]),
        [
            "\"none\"",
            "Greatest access of a debugger on the host to the guest.",
            CONTROL,
            "An operator reads or changes guest registers and memory.",
        ],
    ),
    field(
        "runtime.snapshot",
        Key::AccessSnapshot,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether the guest's state may be saved.",
            CONTROL,
            "An old state is started again: used-up secrets and counters come back.",
        ],
    ),
    field(
        "runtime.migration",
        Key::AccessMigration,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether the guest may be moved to another host.",
            CONTROL,
            "The guest ends up on a host that the policy never judged.",
        ],
    ),
    field(
        "runtime.on_access",
        Key::Setting,
        Kind::Action(&["kill", "deny"]),
        [
            "\"deny\"",
            "What a denied access does.",
            CONTROL,
            "Repeated attempts cost an intruder nothing.",
        ],
    ),
];
