//! The workload's description and its start.

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
}

/// Reads a description: lines `arg VALUE` and `env NAME=VALUE`, empty ones, and comments that begin
/// with `#`.
///
/// # Errors
/// A sentence that names the line.
pub fn parse(text: &str) -> Result<Workload, String> {
    let mut workload = Workload::default();
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = || format!("workload line {number}: expected `arg VALUE` or `env NAME=VALUE`");
        match line.split_once(' ') {
            Some(("arg", value)) => workload.args.push(value.into()),
            Some(("env", value)) => {
                let (name, value) = value.split_once('=').ok_or_else(wrong)?;
                workload.env.push((name.into(), value.into()));
            }
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

/// Starts the workload that `path` describes, on the console.
///
/// # Errors
/// A sentence.
pub fn start(path: &Path) -> Result<Pid, String> {
    let text = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if text.len() > MAX_FILE {
        return Err(format!("{} is longer than {MAX_FILE} bytes", path.display()));
    }
    let workload = parse(&String::from_utf8_lossy(&text))?;
    let mut args = workload.args.iter();
    let program = args.next().ok_or("the workload names no program")?;
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .envs(workload.env)
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("cannot start {program}: {e}"))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| "the workload has no process id".into())
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
}
