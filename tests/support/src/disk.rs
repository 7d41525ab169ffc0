//! A disk for a guest of a few instructions: its driver, and the back end in a thread.

use crate::guests::plan;
use crate::script::{SCRIPT, Script, interpreter_then};
use crate::virtio::Driver;
use casemate_device_backend::{Mode, Session};
use casemate_device_block::{Block, Image, Options};
use casemate_device_process::DeviceKind;
use casemate_hypervisor::launch::{LaunchPlan, PageKind};
use casemate_hypervisor::vm::virtio::{BackEndOf, DeviceSocket};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread::JoinHandle;

/// A guest that reads from its disk, stops it, and goes on with `end`.
pub fn reader(end: &[u8], vcpus: u32) -> LaunchPlan {
    let script = Script::default().open().reset().drive(0).request(0, 0, 0, 512).interrupted(65);
    let mut plan = plan(&interpreter_then(end), vcpus);
    plan.add_pages("script", PageKind::Normal, SCRIPT, script.reset().memory()).unwrap();
    plan
}

/// The back end that serves, or did.
static SERVER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

/// The two ends of a disk's socket: the VM's and the back end's. Waits for the end of the one
/// before, whose VM must be gone: who starts a confined process has one thread.
pub fn socket() -> (DeviceSocket, UnixStream) {
    if let Some(before) = SERVER.lock().unwrap().take() {
        before.join().unwrap();
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    // Of others: that is the back end which the locked process has most to say to.
    let (kind, of) = (DeviceKind::Block, BackEndOf::Others);
    (DeviceSocket { kind, of, queues: 1, socket: ours.into(), standby: None, mac: None }, theirs)
}

/// Serves a disk of one sector from now on, in a thread.
pub fn serve(socket: UnixStream) {
    let path = std::env::temp_dir().join(format!("casemate-disk-{}", std::process::id()));
    std::fs::write(&path, [7; 512]).unwrap();
    let image = Image::open(&path, &Options::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let server = std::thread::spawn(move || {
        let device = Block::new(image.file().try_clone().unwrap(), *image.facts());
        let session = Session::set_up(socket, device, Mode::Foreign, Box::new(|_, _| Ok(())));
        // A VM that was denied says nothing, which is an end, too.
        let _ = session.map(|mut session| session.serve());
    });
    *SERVER.lock().unwrap() = Some(server);
}
