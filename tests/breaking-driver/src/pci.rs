//! PCI functions, as sysfs has them.

use crate::bar::Bar;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where things are in the BAR, as the capabilities say (virtio 1.2, 4.1.4).
#[derive(Debug, Clone, Copy, Default)]
pub struct Places {
    pub common: usize,
    pub notify: usize,
    /// Bytes between two doorbells.
    pub step: usize,
    pub isr: usize,
    pub config: usize,
    pub config_len: usize,
    /// Of the MSI-X capability, in configuration space.
    pub msix: u64,
    pub table: usize,
    pub pending: usize,
}

/// A virtio function that no driver of Linux holds any more.
#[derive(Debug)]
pub struct Function {
    config: File,
    pub bar: Bar,
    pub places: Places,
}

impl Function {
    /// All virtio devices of this number, in the order of their addresses.
    pub fn all(number: u16) -> Vec<Self> {
        let devices = fs::read_dir("/sys/bus/pci/devices").unwrap();
        let mut paths: Vec<_> = devices.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let device = format!("{number:#06x}");
        let is_one = |path: &&Path| {
            let id = |name: &str| fs::read_to_string(path.join(name)).unwrap();
            id("vendor").trim() == "0x1af4" && id("device").trim() == device
        };
        paths.iter().map(PathBuf::as_path).filter(is_one).map(Self::take).collect()
    }

    fn take(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap();
        let _ = fs::write(path.join("driver/unbind"), name);
        let open = |name: &str| OpenOptions::new().read(true).write(true).open(path.join(name));
        let config = open("config").unwrap();
        let bar = Bar::map(&open("resource0").unwrap());
        let mut function = Self { config, bar, places: Places::default() };
        function.set_command(MEMORY | MASTER);
        function.places = function.find();
        function
    }

    /// Follows the list of capabilities; it is bounded, whatever it says.
    fn find(&self) -> Places {
        let mut places = Places::default();
        let mut at = u64::from(self.byte(0x34));
        for _ in 0..48 {
            let offset = self.double(at + 8) as usize;
            match (self.byte(at), self.byte(at + 3)) {
                (0x09, 1) => places.common = offset,
                (0x09, 2) => {
                    places.notify = offset;
                    places.step = self.double(at + 16) as usize;
                }
                (0x09, 3) => places.isr = offset,
                (0x09, 4) => {
                    places.config = offset;
                    places.config_len = self.double(at + 12) as usize;
                }
                (0x11, _) => {
                    places.msix = at;
                    places.table = self.double(at + 4) as usize & !7;
                    places.pending = self.double(at + 8) as usize & !7;
                }
                _ => {}
            }
            at = u64::from(self.byte(at + 1));
            if at == 0 {
                return places;
            }
        }
        panic!("the list of capabilities has no end");
    }

    /// Reads configuration space.
    pub fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.config.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// Writes configuration space.
    pub fn set(&self, at: u64, bytes: &[u8]) {
        self.config.write_all_at(bytes, at).unwrap();
    }

    fn byte(&self, at: u64) -> u8 {
        let [byte] = self.get(at);
        byte
    }

    pub fn double(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    /// Writes the command register.
    pub fn set_command(&self, command: u16) {
        self.set(4, &command.to_le_bytes());
    }
}

/// Bits of the command register.
pub const MEMORY: u16 = 2;
pub const MASTER: u16 = 4;
