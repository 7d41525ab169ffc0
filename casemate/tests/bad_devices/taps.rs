//! TAPs that cannot be had.

use crate::Place;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_tap_that_cannot_be_had_is_one_line_by_key_and_remedy() {
    let place = Place::new("taps");
    let usable = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|s| s.success());
    if !usable || !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED: it takes root, unshare and /dev/net/tun");
        return;
    }
    // In a network of the command's own, with a TAP and a TUN.
    let script =
        "ip tuntap add dev tap0 mode tap && ip tuntap add dev tun0 mode tun && exec \"$@\"";
    for (net, words) in [
        ("tap=tap1", &["`net`", "TAP tap1", "no such interface", "ip tuntap add dev tap1"][..]),
        ("tap=tap0,create", &["`net`", "TAP tap0", "exists already", "leave `create` out"]),
        ("tap=tun0", &["`net`", "TAP tun0", "another kind of interface"]),
        ("tap=lo", &["`net`", "TAP lo", "another kind of interface"]),
        ("tap=a/b", &["`net`", "1 to 15 bytes"]),
        ("fd=77", &["`net`", "descriptor 77", "handed it over"]),
        ("fd=1", &["`net.fd` is 1", "another descriptor"]),
        ("tap=tap0,mtu=99", &["`net.mtu` is 99", "1280 to"]),
        ("tap=tap0,mac=1", &["`net.mac` is \"1\"", "hexadecimal"]),
        ("tap=tap0,packets=0", &["`net.packets` is 0", "no limit"]),
        ("tap=tap0,name=disk0 --disk path=disk", &["`net.name` is \"disk0\" twice", "another"]),
        ("tap=tap0 --net tap=tap0", &["`net.tap` is \"tap0\" twice", "one of its own"]),
    ] {
        let guest = format!("run --protection none --memory 64M --kernel k --net {net}");
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_casemate")]);
        command.args(guest.split_whitespace()).current_dir(&place.0).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        place.ends(&mut command, 2, words);
    }
}

/// Protects a user whose TAP is another program's, or another user's: a line that says so.
#[test]
fn a_tap_of_others_is_one_line_by_key_and_remedy() {
    let place = Place::new("others-taps");
    let script = "ip tuntap add dev tap0 mode tap user root && exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_casemate");
    let guest = "run --protection none --memory 64M --kernel k --net tap=tap0";
    let usable = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|s| s.success());
    if !usable || !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED: it takes root, unshare and /dev/net/tun");
        return;
    }
    // `casemate device net` has it; the command after it is what is looked at.
    let busy = format!(
        "ip tuntap add dev tap0 mode tap; \
         {program} device net --once --socket n --tap tap0 --mac 52:54:00:00:00:02 2>/dev/null & \
         until [ -S n ]; do sleep 0.05; done; {program} {guest}; status=$?; \
         kill $!; wait; exit $status"
    );
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &busy]).current_dir(&place.0).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    place.ends(&mut command, 2, &["`net`", "TAP tap0", "another program has it", "end that one"]);
    // An ordinary user, in a folder that lets everybody in.
    std::fs::set_permissions(&place.0, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script, "sh", "setpriv", "--reuid", "65534", "--regid"]);
    command.args(["65534", "--clear-groups", program]).args(guest.split_whitespace());
    command.current_dir(&place.0).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Where the file lets everybody in, the interface does not; elsewhere the file says so.
    place.ends(&mut command, 2, &["`net`", "may not", "user"]);
}
