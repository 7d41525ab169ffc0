//! What a listener gets of an event. Protects whoever reads a log: nothing in it commands a
//! terminal, forges a line or has no bound. Cannot tell what a listener makes of it: the program's
//! has tests of its own.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use casemate_diagnostics::{FIELD, Span, event, event_in, span_in};
use casemate_foreign_text::{bytes, line, text, value};
use casemate_test_support::captured::Captured;

const HOSTILE: &str = "a\n2026-01-01 INFO vm: forged\u{1b}]0;title\u{7}\u{202e}b";

#[test]
fn foreign_text_of_every_kind_is_escaped_on_one_line_and_bounded() {
    let long = HOSTILE.repeat(1000);
    let events = Captured::of(|| {
        event!(INFO, Vm, "a value", of = value(&long));
        event!(INFO, Vm, "a line", of = line(&long));
        event!(INFO, Vm, "several lines", of = text(&long));
        event!(INFO, Vm, "bytes", of = bytes(long.as_bytes()).at_most(1 << 30));
        let vm = span_in!(Span::none(), "vm", name = text(&long));
        event_in!(vm, INFO, Vm, "in a span");
    });
    assert_eq!(events.len(), 5);
    for event in events {
        assert!(event.chars().all(casemate_foreign_text::is_plain), "{event}");
        assert!(event.chars().count() < FIELD + 100, "{}", event.len());
    }
}

#[test]
fn events_have_level_area_spans_and_typed_fields() {
    let events = Captured::of(|| {
        let vm = span_in!(Span::none(), "vm", name = value("demo"));
        let process = span_in!(vm, "process", kind = "vmm", pid = 7_u32);
        event_in!(process, DEBUG, Vcpu, "it {runs}", exits = 3_u64, last = false);
        vm.within(|| event!(WARN, Sandbox, "no layer", layer = "landlock", why = None::<u64>));
        event!(ERROR, Program, "nowhere");
    });
    assert_eq!(
        events,
        [
            "DEBUG vcpu vm{name=demo}:process{kind=vmm pid=7} it {runs} exits=3 last=false",
            "WARN sandbox vm{name=demo} no layer layer=landlock",
            "ERROR program  nowhere",
        ]
    );
}
