//! A bundle: the folder that containerd makes for each container, and what of a pod lies in it.

use crate::error::RuntimeError;
use ring::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the sockets of runtimes are: containerd's own place for them, whose path is short enough
/// for an address of a socket.
const SOCKETS: &str = "/run/containerd/s";
/// What lies in a bundle: the processes of its pod, a number and a start each.
const PROCESSES: &str = "casemate.processes";
/// What lies in a bundle: the runtime's address.
const ADDRESS: &str = "address";
/// How long a process that is killed may take.
const END: Duration = Duration::from_secs(10);

/// The path of the socket of a pod's runtime: the same for whoever knows the pod.
pub fn socket(address: &str, namespace: &str, group: &str) -> PathBuf {
    let name = digest(&SHA256, format!("{address}/{namespace}/{group}").as_bytes());
    let hex = name.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Path::new(SOCKETS).join(hex)
}

/// Makes the folder of sockets.
pub fn make_socket_folder() -> Result<(), RuntimeError> {
    let folder = Path::new(SOCKETS);
    fs::create_dir_all(folder).map_err(RuntimeError::at("cannot make", folder))
}

/// Writes where the pod's runtime is: containerd 1.6 has no other way to find it again.
pub fn write_address(bundle: &Path, url: &str) -> Result<(), RuntimeError> {
    let path = bundle.join(ADDRESS);
    fs::write(&path, url).map_err(RuntimeError::at("cannot write", &path))
}

/// Notes a process of the pod, so that whoever deletes it finds it when nobody else is left.
pub fn note_process(bundle: &Path, pid: u32) -> Result<(), RuntimeError> {
    let path = bundle.join(PROCESSES);
    let failed = RuntimeError::at("cannot write", &path);
    let start = started(pid).unwrap_or_default();
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{pid} {start}")).map_err(failed)
}

/// Ends the processes that were noted, and waits for them.
pub fn end_processes(bundle: &Path) {
    let text = crate::wire::read_bounded(&bundle.join(PROCESSES)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let noted = text.lines().filter_map(|line| {
        let (pid, start) = line.split_once(' ')?;
        Some((pid.parse::<u32>().ok()?, start.parse::<u64>().ok()?))
    });
    for (pid, start) in noted.take(16) {
        end_process(pid, start);
    }
}

/// Ends a process, unless its number is another one's by now: that has another start.
fn end_process(pid: u32, start: u64) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if pid <= 1 || started(pid) != Some(start) {
        return;
    }
    let _ = kill_process(number, Signal::KILL);
    let end = Instant::now() + END;
    while started(pid) == Some(start)
        && test_kill_process(number).is_ok()
        && !is_zombie(pid)
        && Instant::now() < end
    {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the last parenthesis: a process chooses its name, which stands inside.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// When a process started, in ticks since boot: field 22 of proc_pid_stat(5), of which the first
/// behind the name is the third.
fn started(pid: u32) -> Option<u64> {
    fields(pid)?.get(22 - 3)?.parse().ok()
}

fn is_zombie(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_s_path_fits_an_address_and_is_the_pod_s_own() {
        let one = socket("/run/containerd/containerd.sock", "k8s.io", "a");
        assert!(one.as_os_str().len() < 107, "{one:?}");
        assert_ne!(one, socket("/run/containerd/containerd.sock", "k8s.io", "b"));
        assert_ne!(one, socket("/run/containerd/containerd.sock", "default", "a"));
    }

    #[test]
    fn a_number_that_is_another_process_now_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let start = started(child.id()).unwrap();
        end_process(child.id(), start + 1);
        assert_eq!(child.try_wait().unwrap(), None);
        end_process(child.id(), start);
        assert!(!child.wait().unwrap().success());
    }
}
