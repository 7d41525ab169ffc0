//! The body of the target about what a device process is told and what it says.

use casemate_device_process::{FromDevice, Limits, MESSAGE_SIZE, Start, ToDevice};

/// What a device process is told at its start, and what it says: decoded totally, with bounded
/// memory, into nothing that a terminal would obey.
pub fn words(data: &[u8]) {
    crate::bounded(64 * 1024 + 16 * data.len() as u64, || {
        if let Some(start) = Start::decode(data) {
            assert_eq!(start.encode(), data, "a start has one spelling");
            let _ = casemate_device_block::Facts::decode(&start.config);
            let _ = casemate_device_vsock::Facts::decode(&start.config);
            let _ = casemate_device_net::Facts::decode(&start.config);
            let _ = casemate_device_vsock::Connects::decode(&start.config);
        }
        if let Some(told) = ToDevice::decode(data) {
            assert_eq!(told.encode(), data, "a question has one spelling");
        }
        if let Some(limits) = Limits::decode(data) {
            assert_eq!(limits.encode(), data);
        }
        let Some(said) = FromDevice::decode(data) else { return };
        assert!(data.len() <= MESSAGE_SIZE);
        assert!(said.encode().len() <= MESSAGE_SIZE);
        if let FromDevice::Ended(why) | FromDevice::Failed(why) = &said {
            assert!(!why.chars().any(char::is_control), "{why:?}");
        }
    });
}
