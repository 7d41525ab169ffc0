//! Body for what containerd hands to the runtime of a pod: arguments, the message of its start, a
//! container's `config.json`, an exec's process, the annotation with initdata.
//!
//! Oracles: no panic; memory within a multiple of what came, and of what initdata may unpack to; an
//! id that was taken is no path; a manifest that was taken has one spelling.

use casemate_containerd::invocation::is_identifier;
use casemate_containerd::spec::{Part, Process, Spec};
use casemate_containerd::{Action, Invocation, initdata, start};

/// The first byte says what it is.
pub fn calls(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    // Values of JSON that nothing looks at are kept as such, at some 72 bytes for two.
    crate::bounded(4 * 1024 * 1024 + 128 * bytes.len() as u64, || match which % 5 {
        0 => spec(bytes),
        1 => drop(Process::of(bytes).and_then(|process| process.wish())),
        2 => parameters(bytes),
        3 => annotation(bytes),
        _ => arguments(bytes),
    });
}

fn spec(bytes: &[u8]) {
    let Ok(spec) = Spec::read(bytes) else { return };
    if let Ok(Part::Of(sandbox)) = spec.part() {
        assert!(is_identifier(&sandbox));
    }
    let _ = (spec.check(), spec.wish());
}

fn parameters(bytes: &[u8]) {
    let asked = start::parameters(&mut &bytes[..]);
    if let Ok(asked) = asked {
        let answer = start::answer("unix:///run/x", asked.as_ref());
        assert_eq!(asked.is_none(), answer == b"unix:///run/x");
    }
}

fn annotation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(pod) = initdata::read(Some(text)) {
        assert_eq!(casemate_initdata::host_data(pod.text.as_bytes()), pod.host_data);
        assert!(pod.text.len() <= casemate_initdata::MAX_SIZE);
    }
}

fn arguments(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if let Ok(call) = Invocation::read(&words)
        && call.action != Action::Version
    {
        assert!(is_identifier(&call.id) && is_identifier(&call.namespace));
        assert!(!call.id.contains('/') && call.id != "..");
    }
}
