//! TAPs that are there, that are not, and that are made.

use crate::place::{device, last_tap, tap};
use casemate_device_net::{Tap, Wanted, feature};
use casemate_device_process::{FAILED, FromDevice};
use casemate_policy::NetworkRules;
use casemate_sandbox::Exit;
use casemate_test_support::device::said;
use casemate_test_support::network::ip;
use casemate_test_support::sandbox::as_ordinary_user;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

fn refused(wanted: &Wanted) -> String {
    Tap::open(wanted).unwrap_err().to_string()
}

/// Protects a user from guessing: each way in which there is no TAP has a line that says what to
/// do.
pub fn taps_that_cannot_be_had_are_refused_each_by_its_own_line() {
    let existing = |name: &str| Wanted::Existing(name.to_owned());
    let new = |name: &str| Wanted::New { name: name.to_owned(), mtu: 1500 };
    assert!(ip(&["tuntap", "add", "dev", "tunx", "mode", "tun"]));
    // Of an owner: one that is nobody's is everybody's (tun_not_capable of drivers/net/tun.c).
    assert!(ip(&["tuntap", "add", "dev", "taproot", "mode", "tap", "user", "root"]));
    let open = tap();
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let plain = OwnedFd::from(std::fs::File::options().read(true).open("/dev/net/tun").unwrap());
    for (wanted, says) in [
        (existing("nosuch"), "TAP nosuch: there is no such interface: `ip tuntap add dev nosuch"),
        (existing(open.name()), "another program has it open"),
        (existing("lo"), "that is another kind of interface"),
        (existing("tunx"), "that is another kind of interface"),
        (new("taproot"), "TAP taproot: it exists already"),
        (existing(""), "a name of an interface has 1 to 15 bytes"),
        (existing("a-name-that-is-long"), "a name of an interface has 1 to 15 bytes"),
        (existing("a/b"), "a name of an interface has 1 to 15 bytes"),
        (existing("tap%d"), "a name of an interface has 1 to 15 bytes"),
        (Wanted::Descriptor(file.as_raw_fd()), "it is no TAP"),
        (Wanted::Descriptor(plain.as_raw_fd()), "it is no TAP"),
        (Wanted::Descriptor(999), "descriptor 999: nobody has handed it over"),
    ] {
        let said = refused(&wanted);
        assert!(said.contains(says), "{wanted:?}: {said}");
    }
    let exit = as_ordinary_user(|| {
        // Where the file lets everybody in, the interface does not; elsewhere the file says so.
        let known = ["this user may not have it", "may not be opened by this user"];
        let said = refused(&existing("taproot"));
        let create = refused(&new("mine"));
        let takes = ["making it takes CAP_NET_ADMIN", "may not be opened by this user"];
        let good = known.iter().any(|known| said.contains(known))
            && takes.iter().any(|known| create.contains(known));
        i32::from(!good)
    });
    assert_eq!(exit, Exit::Code(0));
    for name in ["tunx", "taproot"] {
        assert!(ip(&["link", "delete", name]));
    }
}

/// Protects the host from what is left: an interface that was made for a VM goes with the last who
/// has it open, however that ends; nobody needs to remove it.
pub fn a_tap_that_was_made_is_gone_when_nobody_has_it() {
    let made = tap();
    // The test's own network is in this process's view of /sys only once it is mounted there: `ip`
    // asks the kernel.
    let there = |name: &str| ip(&["link", "show", "dev", name]);
    let name = made.name().to_owned();
    assert!(there(&name));
    let handed_over = Tap::open(&Wanted::Descriptor(made.file().as_raw_fd())).unwrap();
    assert_eq!(handed_over.name(), name);
    drop(made);
    assert!(there(&name));
    drop(handed_over);
    assert!(!there(&name));
    assert!(Path::new("/dev/net/tun").exists());
}

/// Protects whoever watches a device from one that goes silent: its interface is removed under it,
/// and its process says so and ends.
pub fn a_tap_that_is_removed_ends_its_device_which_says_so() {
    let mut device = device(NetworkRules::any(), feature::ALL);
    assert_eq!(said(&device.control), Some(FromDevice::Locked));
    assert!(ip(&["link", "delete", &last_tap()]));
    assert_eq!(said(&device.control), Some(FromDevice::Failed("its TAP was removed".into())));
    assert_eq!(device.child.wait().unwrap(), Exit::Code(FAILED));
}
