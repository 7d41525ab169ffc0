//! Why a VM has stopped, in a message.

use super::kind;
use super::packet::{Fields, shown, word};
use crate::exits::{DeviceFault, Stop};

/// Marks "no status" beside the 256 statuses.
const NO_STATUS: u32 = u32::MAX;

pub(super) fn stop_fields(stop: Stop) -> Fields {
    let stopped = |sub| Fields::new(kind::STOPPED, sub);
    match stop {
        Stop::PowerOff { status } => stopped(0).small(status.map_or(NO_STATUS, u32::from)),
        Stop::Reset => stopped(1),
        Stop::Shutdown => stopped(2),
        Stop::BootRefused(code) => stopped(3).small(code),
        Stop::Terminated { set, code } => stopped(4).small(u32::from(set) << 8 | u32::from(code)),
        Stop::MemoryFault { gpa, private } => stopped(5).words(word(gpa), u64::from(private)),
        Stop::InternalError { suberror } => stopped(6).small(suberror),
        Stop::FailEntry { reason } => stopped(7).words(reason, 0),
        Stop::RunFailed { errno } => stopped(8).small(errno.cast_unsigned()),
        Stop::UnexpectedExit { reason } => stopped(9).small(reason),
        Stop::PageStateLimit => stopped(10),
        Stop::Refused(code) => stopped(12).small(u32::from(code)),
        Stop::DeviceFailed { device, fault } => {
            stopped(11).small(u32::from(device) << 8 | fault as u32)
        }
    }
}

pub(super) fn stop_from(fields: &Fields) -> Option<Stop> {
    let byte = |value: u32| u8::try_from(value & 0xff).unwrap_or(0);
    Some(match fields.sub {
        0 => Stop::PowerOff { status: u8::try_from(fields.small).ok() },
        1 => Stop::Reset,
        2 => Stop::Shutdown,
        3 => Stop::BootRefused(fields.small),
        4 => Stop::Terminated { set: byte(fields.small >> 8), code: byte(fields.small) },
        5 => Stop::MemoryFault { gpa: shown(fields.words[0]), private: fields.words[1] != 0 },
        6 => Stop::InternalError { suberror: fields.small },
        7 => Stop::FailEntry { reason: fields.words[0] },
        8 => Stop::RunFailed { errno: fields.small.cast_signed() },
        9 => Stop::UnexpectedExit { reason: fields.small },
        10 => Stop::PageStateLimit,
        11 => {
            let fault = byte(fields.small);
            let fault = DeviceFault::ALL.into_iter().find(|known| *known as u8 == fault)?;
            Stop::DeviceFailed { device: byte(fields.small >> 8), fault }
        }
        12 => Stop::Refused(byte(fields.small)),
        _ => return None,
    })
}
