//! The janitor of control groups, which tells of the limits that a VM has met and removes its
//! groups when the VM is over. Protects what is beside them, and whoever starts the next VM of the
//! name. Its directories are ordinary ones here; that the kernel takes groups so is seen in
//! `cgroup.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_device_process::{
    DONE, FromDevice, GROUP_JANITOR, GroupEvents, GroupPlaces, LimitsMet, group_janitor_body,
    group_janitor_layers, spawn_group_janitor,
};
use casemate_sandbox::{Child, Exit, Image, Observer};
use casemate_test_devices::scratch::Scratch;
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{end_of_attack, pair, said};
use casemate_test_support::sandbox::assert_least;
use casemate_test_support::target::Target;
use rustix::net::SocketType;
use std::fs::{create_dir_all, remove_file, write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));

/// A folder with the directories of a VM, one beside them, and files of events.
struct Place {
    scratch: Scratch,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let folder = scratch.path("demo.vm").parent().unwrap().to_owned();
        for name in ["demo.vm/vmm", "demo.vm/rng", "other.vm/vmm"] {
            create_dir_all(folder.join(name)).unwrap();
        }
        Self { scratch, folder }
    }

    fn places(&self) -> GroupPlaces {
        let found = std::fs::metadata(self.folder.join("demo.vm")).unwrap();
        GroupPlaces {
            name: b"demo.vm".to_vec(),
            device: found.dev(),
            inode: found.ino(),
            leaves: vec![b"vmm".to_vec(), b"rng".to_vec()],
        }
    }

    fn file(&self, name: &str, text: &str) -> Option<OwnedFd> {
        let path = self.scratch.path(name);
        write(&path, text).unwrap();
        Some(std::fs::File::open(path).unwrap().into())
    }

    /// What the kernel would have counted when the VM had all of its memory and the vmm process
    /// was killed for it; the other process's memory is not counted.
    fn events(&self) -> [GroupEvents; 3] {
        let of_vm = self.file("vm.memory", "low 0\nmax 9\noom 1\noom_kill 0\n");
        let of_vmm = self.file("vmm.memory", "low 0\nmax 0\noom 0\noom_kill 1\n");
        let pids = self.file("rng.pids", "max 3\n");
        [
            GroupEvents { memory: of_vm, pids: None },
            GroupEvents { memory: of_vmm, pids: None },
            GroupEvents { memory: None, pids },
        ]
    }

    fn there(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }
}

/// A group that a process is just leaving is waited for, as a directory with a file in it here.
fn a_group_janitor_removes_what_is_its_vms_and_makes_no_other_call() {
    let place = Place::new();
    let late = place.folder.join("demo.vm/vmm/late");
    write(&late, "").unwrap();
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let mut observer = None;
    let layers = group_janitor_layers(&place.folder);
    let (places, events) = (place.places(), place.events());
    let attach = |child: &Child| observer = Some(Observer::attach(child).unwrap());
    let mut child =
        spawn_group_janitor(&image, layers, (&places, &events), &its_control, attach).unwrap();
    drop(its_control);
    let (vm, rng) = (place.folder.join("demo.vm"), place.folder.join("demo.vm/rng"));
    let user = std::thread::spawn(move || {
        assert_eq!(said(&control), Some(FromDevice::Locked));
        assert!(rng.exists());
        rustix::io::write(&control, &[1]).unwrap();
        let met = LimitsMet { killed: 0b010, memory: 0b001, pids: 0b100 };
        assert_eq!(said(&control), Some(FromDevice::LimitsMet(met)));
        while rng.exists() {
            std::thread::yield_now();
        }
        assert!(vm.exists() && late.exists());
        remove_file(late).unwrap();
    });
    let observed = observer.unwrap().finish().unwrap();
    user.join().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
    assert_least(&observed, &GROUP_JANITOR);
    assert!(!place.there("demo.vm") && place.there("other.vm/vmm") && place.there("vm.memory"));
}

/// As when its supervisor is killed; and what has the name by then may be another VM's.
fn a_group_janitor_whose_supervisor_is_gone_removes_no_group_of_another() {
    let image = Image::new("casemate-device", IMAGE).unwrap();
    for anothers in [false, true] {
        let place = Place::new();
        let places = place.places();
        if anothers {
            std::fs::rename(place.folder.join("demo.vm"), place.folder.join("old.vm")).unwrap();
            create_dir_all(place.folder.join("demo.vm/vmm")).unwrap();
        }
        let (control, its_control) = pair(SocketType::SEQPACKET);
        let layers = group_janitor_layers(&place.folder);
        let events = [GroupEvents::default(), GroupEvents::default(), GroupEvents::default()];
        let mut child =
            spawn_group_janitor(&image, layers, (&places, &events), &its_control, |_| ()).unwrap();
        drop(its_control);
        assert_eq!(said(&control), Some(FromDevice::Locked));
        drop(control);
        assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
        assert_eq!(place.there("demo.vm/vmm"), anothers);
        assert!(place.there("other.vm/vmm"));
    }
}

fn an_attacker_in_a_group_janitor_dies_at_each_attack_on_others() {
    let place = Place::new();
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let (_control, its_control) = pair(SocketType::SEQPACKET);
        let layers = group_janitor_layers(&place.folder).keep(&its_control);
        let victim = target.victim();
        let places = place.places();
        let mut child = casemate_sandbox::spawn(layers, move |born| {
            let attack = || end_of_attack(attack.attempt(victim).is_ok());
            group_janitor_body(&places, &[], &its_control, born, attack)
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Filter, "{attack:?}");
    }
    assert!(place.there("demo.vm/vmm"));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_group_janitor_removes_what_is_its_vms_and_makes_no_other_call,
        a_group_janitor_whose_supervisor_is_gone_removes_no_group_of_another,
        an_attacker_in_a_group_janitor_dies_at_each_attack_on_others,
    ])
}
