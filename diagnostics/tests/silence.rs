//! Protects the cost of a log that nobody asked for. A process of its own: a listener of any thread
//! raises the level of all.

use casemate_diagnostics::event;

#[test]
fn without_a_listener_no_field_is_made() {
    let mut made = false;
    event!(
        ERROR,
        Program,
        "nobody listens",
        of = {
            made = true;
            1_u64
        }
    );
    assert!(!made);
}
