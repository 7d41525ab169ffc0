//! `containerd-shim-casemate-model-v2`: the runtime of containerd as it is released, around a MODEL
//! of a guest: ordinary processes of this host, which nothing isolates from it.
//!
//! It is a program of its own, not a switch of the released one: what is not linked cannot be
//! reached, whoever asks for it and however the workspace is built.

use casemate_containerd::{Action, Guest, Invocation, Launch, Launcher, Root, RuntimeError};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a connection begins with that carries a root instead of a stream.
const IMAGE: u32 = u32::MAX;
/// How long a MODEL may take to be gone.
const END: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One stream to containerd 1.6, and its sentence for whoever asked for the pod.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<(), RuntimeError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let call = Invocation::read(&words)?;
    let mut out = std::io::stdout().lock();
    match call.action {
        Action::Start => casemate_containerd::start::start(&call, &mut out),
        Action::Delete => casemate_containerd::delete::delete(&call, &mut out),
        Action::Serve => {
            let system = |error| RuntimeError::System { what: "the listener".into(), error };
            let listener = std::io::stdin().as_fd().try_clone_to_owned().map_err(system)?;
            casemate_containerd::run(&call, listener, Box::new(Model))
        }
        Action::Version => {
            let _ = writeln!(out, "containerd-shim-casemate-model-v2 (MODEL, for tests)");
            Ok(())
        }
    }
}

struct Model;

/// The processes of a MODEL.
struct Processes {
    address: SocketAddr,
    pid: u32,
    child: Mutex<Option<Child>>,
}

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let what = format!("MODEL guest: {what}");
    move |error| RuntimeError::System { what, error }
}

impl Launcher for Model {
    fn launch(&self, launch: &Launch) -> Result<Box<dyn Guest>, RuntimeError> {
        let own = std::env::current_exe().map_err(failed("this program"))?;
        let program = own.with_file_name("casemate-process-guest");
        // An address without a file: nothing of it can be left behind.
        let name = format!("casemate-model/{}/{}", std::process::id(), launch.id);
        let address = SocketAddr::from_abstract_name(name).map_err(failed("an address"))?;
        let listener = UnixListener::bind_addr(&address).map_err(failed("an address"))?;
        let hex: String = launch.host_data.iter().map(|byte| format!("{byte:02x}")).collect();
        // PID 1 of a namespace: what it leaves ends with it, and what its parent leaves as well.
        let child = Command::new("unshare")
            .args(["--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
            .arg(program)
            .arg(hex)
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("unshare of util-linux"))?;
        let (pid, child) = (child.id(), Mutex::new(Some(child)));
        Ok(Box::new(Processes { address, pid, child }))
    }
}

impl Guest for Processes {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn connect(&self) -> std::io::Result<File> {
        UnixStream::connect_addr(&self.address).map(|stream| File::from(OwnedFd::from(stream)))
    }

    fn image(&self, container: &str, root: &Root) -> Result<(), RuntimeError> {
        let text = match root {
            Root::Mounts(mounts) => serde_json::json!({"container": container, "mounts": mounts}),
            Root::Folder(folder) => serde_json::json!({"container": container, "folder": folder}),
        };
        let text = text.to_string();
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut stream = self.connect().map_err(failed("an image"))?;
        let mut taken = [0];
        stream
            .write_all(&[&IMAGE.to_le_bytes(), &length.to_le_bytes()[..], text.as_bytes()].concat())
            .and_then(|()| stream.read_exact(&mut taken))
            .map_err(failed("an image"))
    }

    fn end(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut child) = child else { return };
        let _ = child.kill();
        let _ = child.wait();
        // Its address is free when the last process is gone that listened.
        let end = Instant::now() + END;
        while Instant::now() < end {
            match UnixListener::bind_addr(&self.address) {
                Err(e) if e.kind() == ErrorKind::AddrInUse => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => return,
            }
        }
    }
}
