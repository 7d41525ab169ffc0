//! `casemate-process-guest`: a MODEL of a pod's guest. The agent of real guests, as PID 1 of a
//! namespace of this host, with what a real guest has of its processor and its disks played: its
//! HOST_DATA is an argument, and roots are folders of the host that nothing verifies.

use casemate_guest_agent::{Streams, World, serve};
use casemate_pod::{Container, Hash, Manifest, Root, Source};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, symlink};
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, create_dir_all};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
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

    fn root(&self, manifest: &Manifest, container: &Container) -> Result<PathBuf, String> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let image = images.get(&container.name).ok_or("its image has not come")?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let folder = |what: &str| {
            let path = PathBuf::from(format!("{ROOTS}/{number}/{what}"));
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
        tmpfs(&upper, size)?;
        let (over, work, root) = (folder("upper/over")?, folder("upper/work")?, folder("root")?);
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            over.display(),
            work.display()
        );
        mounted("overlay", "overlay", &root, MountFlags::empty(), &options)?;
        furnish(manifest, container, &root)?;
        if container.root == Root::ReadOnly {
            let flags = MountFlags::BIND | MountFlags::RDONLY;
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

fn tmpfs(to: &Path, size: u64) -> Result<(), String> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mounted("tmpfs", "tmpfs", to, flags, &format!("mode=755,size={size}"))
}

/// What every container has, and its own file systems in memory.
fn furnish(manifest: &Manifest, container: &Container, root: &Path) -> Result<(), String> {
    // Links of an image would lead out of it: a part of a path that is one is no folder.
    let inside = |path: &str| -> Result<PathBuf, String> {
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
    };
    inside(&container.cwd)?;
    let none = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mounted("proc", "proc", &inside("/proc")?, none, "")?;
    let dev = inside("/dev")?;
    mounted("tmpfs", "tmpfs", &dev, MountFlags::NOSUID, "mode=755,size=64k")?;
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let (path, mode) = (dev.join(name), Mode::from_raw_mode(0o666));
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(1, minor))
            .and_then(|()| rustix::fs::chmod(&path, mode))
            .map_err(|e| format!("/dev/{name}: {e}"))?;
    }
    for (to, name) in [("fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")] {
        symlink(format!("/proc/self/{to}"), dev.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    for one in &container.tmpfs {
        tmpfs(&inside(&one.path)?, one.size.bytes())?;
    }
    for (volume, at) in manifest.mounts_of(&container.name) {
        match volume.source {
            Source::Memory { size } => {
                // One for all containers that mount it.
                let shared = PathBuf::from(format!("{ROOTS}/volumes/{}", volume.name));
                if !shared.exists() {
                    create_dir_all(&shared).map_err(|e| format!("{}: {e}", volume.name))?;
                    tmpfs(&shared, size.bytes())?;
                }
                let to = inside(&at.path)?;
                mount_bind(&shared, &to).map_err(|e| format!("{}: {e}", at.path))?;
                if at.read_only {
                    mount_remount(&to, MountFlags::BIND | MountFlags::RDONLY, "")
                        .map_err(|e| format!("{}: {e}", at.path))?;
                }
            }
            _ => return Err(format!("a MODEL has no volume such as that at {}", at.path)),
        }
    }
    Ok(())
}
