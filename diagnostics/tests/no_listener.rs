//! A program that nobody listens to. Protects: an event costs it next to nothing. In a process of
//! its own, since one listener anywhere in a process makes its events be made.

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
