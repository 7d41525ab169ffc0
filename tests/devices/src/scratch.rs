//! Directories and images of one test, gone with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test's.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    ///
    /// # Panics
    /// Where none can be made.
    #[must_use]
    pub fn new() -> Self {
        Self::in_directory(&std::env::temp_dir())
    }

    /// A new one in memory, where the machine has that; else as any other.
    ///
    /// # Panics
    /// Where none can be made.
    #[must_use]
    pub fn in_memory() -> Self {
        let shm = Path::new("/dev/shm");
        if shm.is_dir() { Self::in_directory(shm) } else { Self::new() }
    }

    fn in_directory(directory: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("casemate-devices-{}-{number}", std::process::id());
        let path = directory.join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An image in it: sector n is filled with n.
    ///
    /// # Panics
    /// Where it cannot be written.
    #[must_use]
    pub fn image(&self, name: &str, sectors: u64) -> PathBuf {
        let path = self.path(name);
        let bytes: Vec<u8> = (0..sectors).flat_map(|sector| [sector as u8; 512]).collect();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A sparse image in it.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[must_use]
    pub fn sparse(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
