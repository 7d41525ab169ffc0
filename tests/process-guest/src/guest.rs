//! `casemate-process-guest`: a MODEL of a pod's guest. The agent of real guests, as PID 1 of a
//! namespace of this host, with what a real guest has of its processor and its disks played: its
//! HOST_DATA is an argument, and roots are folders of the host that nothing verifies.

use casemate_guest_agent::given::Files;
use casemate_guest_agent::{Streams, World, serve};
use casemate_pod::{Container, Files as Proven, Hash, Manifest, Root, Source, Volume};
use rustix::fs::symlink;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::system::sethostname;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::fs::{File, create_dir_all};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a connection begins with that carries a root instead of a stream.
const IMAGE: u32 = u32::MAX;
/// Longest description of a root.
const MAX_IMAGE: usize = 1024 * 1024;
/// Where roots are made; in this namespace alone.
const ROOTS: &str = "/mnt";

/// A description of a root: mounts of a snapshotter, or a folder.
#[derive(serde::Deserialize)]
struct Image {
    container: String,
    #[serde(default)]
    mounts: Vec<(String, String, Vec<String>)>,
    folder: Option<String>,
}

struct Model {
    host_data: [u8; 32],
    images: Arc<Mutex<HashMap<String, Image>>>,
    made: AtomicUsize,
}

fn main() -> ExitCode {
    eprintln!("MODEL: processes of this host in place of a confidential guest; for tests");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("casemate-process-guest: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let text = std::env::args().nth(1).ok_or("expected HOST_DATA in hexadecimal digits")?;
    let Hash(host_data) = text.parse().map_err(str::to_owned)?;
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let listener = UnixListener::from(listener);
    mount("tmpfs", ROOTS, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=755"))
        .map_err(|e| format!("{ROOTS}: {e}"))?;
    let (control, _) = listener.accept().map_err(|e| e.to_string())?;
    let streams = Arc::new(Streams::default());
    let images = Arc::<Mutex<HashMap<String, Image>>>::default();
    let (of_streams, of_images) = (Arc::clone(&streams), Arc::clone(&images));
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // One that says nothing is waited for a while, and holds others up: a MODEL's host is
            // its own test.
            let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = take(connection, &of_streams, &of_images);
        }
    });
    let world = Model { host_data, images, made: AtomicUsize::new(0) };
    serve(File::from(OwnedFd::from(control)), streams, Arc::new(world)).map_err(|e| e.to_string())
}

fn take(
    mut connection: UnixStream,
    streams: &Streams,
    images: &Mutex<HashMap<String, Image>>,
) -> std::io::Result<()> {
    let mut number = [0; 4];
    connection.read_exact(&mut number)?;
    match u32::from_le_bytes(number) {
        IMAGE => {
            connection.read_exact(&mut number)?;
            let length = u32::from_le_bytes(number).try_into().unwrap_or(usize::MAX).min(MAX_IMAGE);
            let mut text = vec![0; length];
            connection.read_exact(&mut text)?;
            let image: Image = serde_json::from_slice(&text)?;
            let mut images = images.lock().unwrap_or_else(PoisonError::into_inner);
            images.insert(image.container.clone(), image);
            drop(images);
            connection.write_all(&[1])
        }
        number => {
            connection.set_read_timeout(None)?;
            streams.add(number, File::from(OwnedFd::from(connection)));
            Ok(())
        }
    }
}

impl World for Model {
    fn host_data(&self) -> Result<[u8; 32], String> {
        Ok(self.host_data)
    }

    fn evidence(&self) -> Vec<u8> {
        Vec::new()
    }

    fn is_model(&self) -> bool {
        true
    }

    fn pod(&self, manifest: &Manifest) -> Result<(), String> {
        if !manifest.secrets().is_empty() {
            return Err("a MODEL has no key broker, and the manifest has secrets".into());
        }
        if !manifest.pod.net {
            return Err("a MODEL has its host's network, and the manifest has none".into());
        }
        match &manifest.pod.hostname {
            Some(name) => sethostname(name.as_bytes()).map_err(|e| format!("hostname: {e}")),
            None => Ok(()),
        }
    }

    fn root(
        &self,
        manifest: &Manifest,
        container: &Container,
        files: &BTreeMap<String, Files>,
    ) -> Result<PathBuf, String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let own = PathBuf::from(format!("{ROOTS}/{number}"));
        self.make(&own, manifest, container, files).inspect_err(|_| clean(&own))
    }

    fn remove(&self, root: &Path) {
        root.parent().into_iter().for_each(clean);
    }
}

/// Gives back all that is mounted below a folder, and the folder.
fn clean(own: &Path) {
    for what in ["root", "upper", "lower"] {
        let _ = unmount(own.join(what), UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(own.join(what));
    }
    let _ = std::fs::remove_dir(own);
}

impl Model {
    fn make(
        &self,
        own: &Path,
        manifest: &Manifest,
        container: &Container,
        files: &BTreeMap<String, Files>,
    ) -> Result<PathBuf, String> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let image = images.get(&container.name).ok_or("its image has not come")?;
        let folder = |what: &str| {
            let path = own.join(what);
            create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display())).map(|()| path)
        };
        let lower = folder("lower")?;
        mount_image(image, &lower)?;
        if matches!(container.root, Root::Scratch(_)) {
            return Err("a MODEL has no disk for a scratch root".into());
        }
        // Above it a layer in memory, for mount points also where the root is read-only.
        let upper = folder("upper")?;
        let size = match container.root {
            Root::Memory(size) => size.bytes(),
            _ => 1 << 20,
        };
        tmpfs(&upper, size, "755")?;
        let (over, work, root) = (folder("upper/over")?, folder("upper/work")?, folder("root")?);
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            over.display(),
            work.display()
        );
        // Whoever may make device nodes has devices of the guest, that of its reports among them,
        // wherever they count.
        mounted("overlay", "overlay", &root, MountFlags::NODEV, &options)?;
        furnish(manifest, container, &root, files)?;
        if container.root == Root::ReadOnly {
            let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV;
            mount_remount(&root, flags, "").map_err(|e| format!("a read-only root: {e}"))?;
        }
        Ok(root)
    }
}

/// What containerd has made of an image, read-only: what a snapshotter's own upper layer gets is
/// the host's, and nothing of a guest's goes there.
fn mount_image(image: &Image, to: &Path) -> Result<(), String> {
    if let Some(folder) = &image.folder {
        return mount_bind(folder, to).map_err(|e| format!("{folder}: {e}"));
    }
    for (kind, source, options) in &image.mounts {
        if kind == "bind" || options.iter().any(|option| option == "rbind") {
            mount_bind(source, to).map_err(|e| format!("{source}: {e}"))?;
            continue;
        }
        let flags = ["ro", "rw", "userxattr"];
        let data: Vec<_> =
            options.iter().map(String::as_str).filter(|o| !flags.contains(o)).collect();
        mounted(kind, source, to, MountFlags::RDONLY, &data.join(","))?;
    }
    Ok(())
}

fn mounted(
    kind: &str,
    source: &str,
    to: &Path,
    flags: MountFlags,
    options: &str,
) -> Result<(), String> {
    let data = CString::new(options).map_err(|e| e.to_string())?;
    mount(source, to, kind, flags, Some(data.as_c_str()))
        .map_err(|e| format!("{kind} at {}: {e}", to.display()))
}

fn tmpfs(to: &Path, size: u64, mode: &str) -> Result<(), String> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mounted("tmpfs", "tmpfs", to, flags, &format!("mode={mode},size={size}"))
}

/// A folder of a root, made where it is not there. Links of an image would lead out of it: a part
/// of a path that is one is no folder.
fn inside(root: &Path, path: &str) -> Result<PathBuf, String> {
    let mut at = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        at.push(part);
        match at.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(format!("{path} of its image is no folder")),
            Err(_) => create_dir_all(&at).map_err(|e| format!("{path}: {e}"))?,
        }
    }
    Ok(at)
}

/// What every container has, and its own file systems.
fn furnish(
    manifest: &Manifest,
    container: &Container,
    root: &Path,
    files: &BTreeMap<String, Files>,
) -> Result<(), String> {
    inside(root, &container.cwd)?;
    inside(root, "/proc")?;
    devices(&inside(root, "/dev")?)?;
    let etc = inside(root, "/etc")?;
    for (name, text) in casemate_guest_agent::names::files(manifest) {
        // What the image has of that name may be a link.
        let _ = std::fs::remove_file(etc.join(name));
        write(&etc.join(name), text.as_bytes(), 0o644)?;
    }
    // By path, whatever they are: what lies in another one is mounted behind it.
    let volumes = manifest.mounts_of(&container.name);
    let volumes = volumes.into_iter().map(|(volume, at)| (at.path.as_str(), Err((volume, at))));
    let own = container.tmpfs.iter().map(|one| (one.path.as_str(), Ok(one.size.bytes())));
    let mut all: Vec<_> = volumes.chain(own).collect();
    all.sort_by_key(|(path, _)| *path);
    for (path, what) in all {
        let to = inside(root, path)?;
        match what {
            Ok(size) => tmpfs(&to, size, "1777")?,
            Err((volume, at)) => {
                let come = files.get(&volume.name);
                self::volume(volume, &to, come).map_err(|e| format!("{path}: {e}"))?;
                if at.read_only {
                    let flags = MountFlags::BIND
                        | MountFlags::RDONLY
                        | MountFlags::NOSUID
                        | MountFlags::NODEV;
                    mount_remount(&to, flags, "").map_err(|e| format!("{path}: {e}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Devices that every container has. They are bound one by one: none that is made there counts.
fn devices(dev: &Path) -> Result<(), String> {
    mounted("tmpfs", "tmpfs", dev, MountFlags::NOSUID | MountFlags::NODEV, "mode=755,size=64k")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let failed = |e: &dyn std::fmt::Display| format!("/dev/{name}: {e}");
        File::create_new(dev.join(name)).map_err(|e| failed(&e))?;
        mount_bind(format!("/dev/{name}"), dev.join(name)).map_err(|e| failed(&e))?;
    }
    for (to, name) in [("fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")] {
        symlink(format!("/proc/self/{to}"), dev.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

fn volume(volume: &Volume, to: &Path, come: Option<&Files>) -> Result<(), String> {
    let files = |mode: u32| {
        let bytes: usize = come.into_iter().flatten().map(|(_, bytes)| bytes.len() + 8192).sum();
        tmpfs(to, bytes as u64 + 8192, "755")?;
        for (name, bytes) in come.into_iter().flatten() {
            write(&to.join(name), bytes, mode)?;
        }
        Ok(())
    };
    match &volume.source {
        Source::HostFiles(Proven { executable, .. }) => {
            files(if *executable { 0o555 } else { 0o444 })
        }
        Source::OpenFiles { .. } => files(0o444),
        Source::Memory { size } => {
            // One for all containers that mount it, and for all users of theirs.
            let shared = PathBuf::from(format!("{ROOTS}/volumes/{}", volume.name));
            if !shared.exists() {
                create_dir_all(&shared).map_err(|e| e.to_string())?;
                tmpfs(&shared, size.bytes(), "777")?;
            }
            mount_bind(&shared, to).map_err(|e| e.to_string())
        }
        _ => Err(format!("a MODEL has no volume of kind {}", volume.source.kind())),
    }
}

/// A file that was not there.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::create_new(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)
}
