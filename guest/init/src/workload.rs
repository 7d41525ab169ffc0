//! The workload's description and its start.
//!
//! It lies in the initrd, which a confidential guest's launch digest covers; so do the root hashes
//! in it, and with them every byte of the disks that it names.

use rustix::process::Pid;
use std::path::Path;
use std::process::{Command, Stdio};

/// Longest description.
const MAX_FILE: usize = 64 * 1024;

/// A program with its arguments and environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The program, then what it is given; never empty once parsed.
    pub args: Vec<String>,
    /// Names and values, in the order of the file; a later one of the same name wins.
    pub env: Vec<(String, String)>,
    /// Disks to mount, in the order of the file: `/`, when there is one, before those in it.
    pub disks: Vec<Disk>,
}

/// A read-only disk, every block of which the kernel checks: a dm-verity target.
#[derive(Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it is mounted.
    pub path: String,
    /// Its first sector, 0 for a whole disk.
    pub start: u64,
    /// How many sectors of data it has.
    pub sectors: u64,
    /// What the kernel's verity target is told
    /// (Documentation/admin-guide/device-mapper/verity.rst).
    pub parameters: String,
}

/// Longest parameters of a disk: those of `casemate image root` have less than 300 bytes.
pub const MAX_PARAMETERS: usize = 1024;

impl Disk {
    /// `PATH START SECTORS verity PARAMETERS`: a path, and the table that `casemate image root`
    /// prints. No other target: a disk that is not verified could as well be no part of the guest.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let path = words.next()?.to_owned();
        let start = words.next()?.parse().ok()?;
        let sectors = words.next()?.parse().ok()?;
        let is_verity = words.next()? == "verity";
        let parameters = words.next()?.to_owned();
        let fits = (1..=MAX_PARAMETERS).contains(&parameters.len());
        // A NUL would end the table early, as the kernel reads it.
        let plain = parameters.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let good = path.starts_with('/') && sectors > 0 && is_verity && fits && plain;
        good.then_some(Self { path, start, sectors, parameters })
    }
}

/// Reads a description: lines `arg VALUE`, `env NAME=VALUE` and `disk PATH TABLE`, empty ones, and
/// comments that begin with `#`.
///
/// # Errors
/// A sentence that names the line.
pub fn parse(text: &str) -> Result<Workload, String> {
    let mut workload = Workload::default();
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = || {
            format!(
                "workload line {number}: expected `arg VALUE`, `env NAME=VALUE` or `disk PATH` \
                 and a verity table"
            )
        };
        match line.split_once(' ') {
            Some(("arg", value)) => workload.args.push(value.into()),
            Some(("env", value)) => {
                let (name, value) = value.split_once('=').ok_or_else(wrong)?;
                workload.env.push((name.into(), value.into()));
            }
            Some(("disk", disk)) => workload.disks.push(Disk::parse(disk).ok_or_else(wrong)?),
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => return Err(wrong()),
        }
    }
    if workload.args.is_empty() {
        Err("the workload names no program".into())
    } else {
        Ok(workload)
    }
}

/// Reads the description that `path` has.
///
/// # Errors
/// A sentence.
pub fn read(path: &Path) -> Result<Workload, String> {
    let text = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if text.len() > MAX_FILE {
        return Err(format!("{} is longer than {MAX_FILE} bytes", path.display()));
    }
    parse(&String::from_utf8_lossy(&text))
}

impl Workload {
    /// Starts its program, on the console.
    ///
    /// # Errors
    /// A sentence.
    pub fn start(self) -> Result<Pid, String> {
        let mut args = self.args.iter();
        let program = args.next().ok_or("the workload names no program")?;
        let child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
            .envs(self.env)
            .stdin(Stdio::inherit())
            .spawn()
            .map_err(|e| format!("cannot start {program}: {e}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| "the workload has no process id".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_spaces_and_order() {
        let workload = parse("# demo\narg /bin/sh\narg -c\narg echo a  b\n\nenv A=b=c\n").unwrap();
        assert_eq!(workload.args, ["/bin/sh", "-c", "echo a  b"]);
        assert_eq!(workload.env, [("A".to_string(), "b=c".to_string())]);
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        assert!(parse("arg x\nfoo\n").unwrap_err().contains("line 2"));
        assert!(parse("env A\n").unwrap_err().contains("line 1"));
        assert!(parse("").is_err());
    }

    /// As `casemate image root --table` prints it.
    const TABLE: &str = "0 16 verity 1 /dev/vda /dev/vda 4096 4096 2 2 sha256 \
        4f5a 00 2 panic_on_corruption panic_on_error";

    #[test]
    fn disks_have_a_path_and_the_table_of_their_verity_target() {
        let workload = parse(&format!("disk / {TABLE}\ndisk /input {TABLE}\narg /x\n")).unwrap();
        let [root, input] = &workload.disks[..] else { panic!("{workload:?}") };
        assert_eq!((root.path.as_str(), root.start, root.sectors), ("/", 0, 16));
        assert!(root.parameters.starts_with("1 /dev/vda /dev/vda 4096"), "{root:?}");
        assert_eq!(input.path, "/input");
    }

    #[test]
    fn a_disk_that_nothing_verifies_is_refused() {
        let refused = |line: &str| parse(&format!("arg /x\n{line}\n")).is_err();
        assert!(refused("disk /"));
        assert!(refused("disk / 0 16 linear /dev/vda 0"));
        assert!(refused("disk / 0 16 verity"));
        assert!(refused("disk root 0 16 verity 1"));
        assert!(refused("disk / 0 0 verity 1"));
        assert!(refused("disk / -1 16 verity 1"));
        assert!(refused("disk / 0 16 verity 1\0"));
        assert!(refused(&format!("disk / 0 16 verity {}", "x".repeat(MAX_PARAMETERS + 1))));
    }
}
