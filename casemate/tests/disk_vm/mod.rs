//! A VM with one disk, its supervisor a process of its own: what tests of disks share.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "tests fail by panicking; each test file uses its part"
)]

use casemate_console::{HostConsole, Messages, Signals, Timeline, attend};
use casemate_hypervisor::config::{RawConfig, RawConsole, RawDisk};
use casemate_hypervisor::vm::name::ask;
use casemate_hypervisor::vm::{End, ProcessKind, Programs, prepare_plan};
use casemate_sandbox::{Child, Layer, Layers, Program, spawn};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::scripted;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::time::Duration;

static VMM: Program = Program::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE")));
pub static PROGRAMS: Programs<'_> =
    Programs { vmm: &VMM, device: include_bytes!(env!("CASEMATE_DEVICE_IMAGE")) };
pub const READ: u32 = 0;
pub const WRITE: u32 = 1;
pub const FLUSH: u32 = 4;
/// Exit statuses of a supervisor: the end was as expected, or not.
pub const GOOD: i32 = 0;
const BAD: i32 = 9;

/// Whether a VM ended, and told its user, as it should.
pub type Expected = fn(&End, &str) -> bool;

/// A folder with an image of 8 sectors, each of which begins with its number and a word.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut bytes = vec![b'.'; 8 * 512];
        for (number, sector) in bytes.chunks_mut(512).enumerate() {
            sector[..8].copy_from_slice(format!("{number} sector").as_bytes());
        }
        std::fs::write(folder.join("disk.img"), bytes).unwrap();
        Self(folder)
    }

    pub fn image(&self) -> Vec<u8> {
        std::fs::read(self.0.join("disk.img")).unwrap()
    }

    /// Waits until the guest has written these bytes at the image's beginning.
    pub fn wait_for(&self, bytes: &[u8]) {
        while !self.image().starts_with(bytes) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A VM that is to be.
pub struct Vm<'a> {
    pub folder: &'a Folder,
    pub name: &'a str,
    pub script: &'a Script,
    /// Disks, and how many vCPUs.
    pub devices: RawConfig,
}

impl<'a> Vm<'a> {
    pub fn new(folder: &'a Folder, name: &'a str, script: &'a Script) -> Self {
        let disk = RawDisk { path: Some(folder.0.join("disk.img")), ..RawDisk::default() };
        let devices = RawConfig { disk: vec![disk], ..RawConfig::default() };
        Self { folder, name, script, devices }
    }

    /// The same without a standby.
    pub fn without_standby(mut self) -> Self {
        self.devices.disk[0].standby = Some(false);
        self
    }

    /// Starts a supervisor that runs a guest with the folder's disk; it ends with [`GOOD`] when the
    /// VM ended, and told its user, as `expected` says.
    pub fn start(&self, expected: Expected) -> Child {
        let no_layers = Layer::ALL.into_iter().fold(Layers::new("supervisor"), Layers::without);
        let (folder, name) = (self.folder.0.clone(), self.name.to_owned());
        let (plan, devices) = (scripted(self.script), self.devices.clone());
        let body = move || {
            let raw = RawConfig {
                name: Some(name),
                kernel: Some("unused".into()),
                protection: Some("none".into()),
                timeout: Some("2m".into()),
                console: Some(RawConsole::File(folder.join("console"))),
                ..devices
            };
            let config = raw.validate().unwrap();
            let prepared = prepare_plan(&config, plan, PROGRAMS).unwrap();
            let (signals, mut timeline) = (Signals::take_over().unwrap(), Timeline::start());
            let console = HostConsole::open(&config.console).unwrap();
            let vm = prepared.start().unwrap();
            let mut said = String::new();
            let mut say = |line: &str| {
                said.push_str(line);
                said.push('\n');
            };
            let messages =
                Messages { say: &mut say, to: rustix::stdio::stderr(), log: None, results: None };
            let attended = attend(vm, console, &signals, &mut timeline, config.grace, messages);
            let as_expected = expected(&attended.end, &said) && attended.loss.is_none();
            if !as_expected {
                // Locked: no file can be opened, but standard error is there.
                let text = format!("{:?}\n{said}\n{}\n", attended.end, timeline.to_text());
                let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            }
            if as_expected { GOOD } else { BAD }
        };
        spawn(no_layers, move |_born| body()).unwrap()
    }
}

/// The VM's processes by their kind, once there are so many.
pub fn processes(name: &str, count: usize) -> Vec<(ProcessKind, u32)> {
    loop {
        if let Ok(told) = ask(name)
            && told.len() == count
        {
            return told.iter().map(|process| (process.kind, process.pid)).collect();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process of a kind.
pub fn pid(all: &[(ProcessKind, u32)], kind: ProcessKind) -> u32 {
    all.iter().find(|one| one.0 == kind).unwrap().1
}

pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}
