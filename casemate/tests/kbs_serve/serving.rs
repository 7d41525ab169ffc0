//! A broker that serves, and its processes.

use super::kbs::https::Https;
use super::kbs::{Guest, Place};
use casemate_keeper::Identity;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A broker that runs.
pub struct Serving {
    pub child: Child,
    pub address: SocketAddr,
    pub pin: String,
    pub certificate: Vec<u8>,
}

/// Starts a broker, which has to become ready.
pub fn serve(place: &Place) -> Serving {
    ready(place, program(place))
}

/// The broker of this process, which has to become ready.
pub fn ready(place: &Place, mut child: Child) -> Serving {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    ready_as(place, child, &line)
}

/// The broker of this process, which has said this.
pub fn ready_as(place: &Place, mut child: Child, line: &str) -> Serving {
    let Some(rest) = line.strip_prefix("ready https://") else {
        panic!("{line:?}: {}", words(&mut child));
    };
    let (address, pin) = rest.trim_end().split_once(" key ").unwrap();
    let pem = std::fs::read(place.path("tls.pem")).unwrap();
    let certificate = Identity::from_pem(&pem).unwrap().chain.remove(0);
    Serving { child, address: address.parse().unwrap(), pin: pin.to_owned(), certificate }
}

pub fn program(place: &Place) -> Child {
    let mut program = Command::new(env!("CARGO_BIN_EXE_casemate"));
    let config = place.path("kbs.toml");
    program.args(["kbs", "serve", "--config"]).arg(config);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program.spawn().unwrap()
}

pub fn words(child: &mut Child) -> String {
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    words
}

impl Serving {
    pub fn https(&self) -> Https {
        Https::new(self.address, &self.certificate)
    }

    pub fn guest(&self, key: u32) -> Guest<Https> {
        Guest::new(self.https(), key)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The processes below the supervisor, by name.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let of = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(of).unwrap();
        let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let all = children.split_whitespace();
        all.map(|pid| (name(pid).trim_end_matches('\0').to_owned(), pid.parse().unwrap())).collect()
    }

    pub fn pid(&self, wanted: &str) -> u32 {
        let all = self.processes();
        let mut found = all.iter().filter(|(name, _)| name == wanted);
        found.next().unwrap_or_else(|| panic!("{wanted}: {all:?}")).1
    }

    pub fn kill(&self, process: &str) {
        let pid = i32::try_from(self.pid(process)).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    /// Ends it in order, and what it said.
    pub fn end(mut self) -> String {
        self.signal(Signal::TERM);
        let (status, words) = self.ended();
        assert!(status.success(), "{status}: {words}");
        words
    }

    pub fn ended(&mut self) -> (ExitStatus, String) {
        let words = words(&mut self.child);
        (self.child.wait().unwrap(), words)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const FRONT: &str = "casemate-broker-front";
pub const KEEPER: &str = "casemate-broker-keeper";

/// Waits until something is so, which it has to become.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Ended, and not waited for by whoever inherited it.
    !stat.is_empty() && !stat.contains(") Z ")
}
