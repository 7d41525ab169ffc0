//! The power button: an input device whose key is `KEY_POWER`.

use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::Read;

/// `struct input_event` on x86-64: a 16-byte time, type, code, value.
const EVENT_SIZE: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// The button's device files, open: devices may be out of reach when it is pressed.
pub struct PowerButton(Vec<File>);

impl PowerButton {
    /// Opens what there is. Without an input device (its kernel modules are not in the initrd)
    /// presses are not seen.
    pub fn open() -> Self {
        Self((0..4).filter_map(|i| File::open(format!("/dev/input/event{i}")).ok()).collect())
    }

    /// Runs `action` on a thread of its own when the button is pressed.
    pub fn on_press(self, action: impl FnOnce() + Send + 'static) {
        if !self.0.is_empty() {
            let watch = move || {
                if wait_for_press(self.0) {
                    action();
                }
            };
            let _ = std::thread::Builder::new().name("power-button".into()).spawn(watch);
        }
    }
}

fn wait_for_press(mut devices: Vec<File>) -> bool {
    loop {
        let mut fds: Vec<_> = devices.iter().map(|d| PollFd::new(d, PollFlags::IN)).collect();
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let ready: Vec<bool> =
            fds.iter().map(|fd| fd.revents().intersects(PollFlags::IN)).collect();
        for (device, ready) in devices.iter_mut().zip(ready) {
            let mut event = [0; EVENT_SIZE];
            if ready && device.read_exact(&mut event).is_ok() && is_press(&event) {
                return true;
            }
        }
    }
}

fn is_press(event: &[u8; EVENT_SIZE]) -> bool {
    let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event;
    u16::from_ne_bytes([t0, t1]) == EV_KEY
        && u16::from_ne_bytes([c0, c1]) == KEY_POWER
        && i32::from_ne_bytes([v0, v1, v2, v3]) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let mut event = [0; EVENT_SIZE];
        event[16..].copy_from_slice(&[1, 0, 116, 0, 1, 0, 0, 0]);
        assert!(is_press(&event));
        event[20] = 0;
        assert!(!is_press(&event), "a release");
        event[18..21].copy_from_slice(&[115, 0, 1]);
        assert!(!is_press(&event), "another key");
    }
}
