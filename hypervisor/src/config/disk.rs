//! Disks: `[[disk]]`, and `--disk` in one line.

use super::ConfigError;
use super::limits::{LimitsOf, RawLimits};
use super::size::with_unit;
use casemate_device_block::SERIAL;
use casemate_device_process::{Limits, MAX_QUEUES};
use casemate_foreign_text::value;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Most disks of a VM.
pub const MAX_DISKS: usize = 8;
/// Longest name of a disk, in bytes.
const MAX_NAME: usize = 32;

/// A disk as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDisk {
    /// Raw image or block device.
    pub path: Option<PathBuf>,
    /// What messages call it.
    pub name: Option<String>,
    /// Whether it is opened and offered for reading only.
    #[serde(default)]
    pub read_only: bool,
    /// Past the host's page cache.
    #[serde(default)]
    pub direct: bool,
    /// What the guest sees as its serial number.
    pub serial: Option<String>,
    /// Queues, each with a thread of its process.
    pub queues: Option<u16>,
    /// Whether another process stands by.
    pub standby: Option<bool>,
    /// What becomes of the VM when the disk's process is dead and none takes over.
    pub on_device_death: Option<OnDeviceDeath>,
    /// Bytes in a second that its guest gets, such as "50M".
    #[serde(default, deserialize_with = "with_unit")]
    pub bandwidth: Option<String>,
    /// Bytes that it gets at once.
    #[serde(default, deserialize_with = "with_unit")]
    pub bandwidth_burst: Option<String>,
    /// Requests in a second that its guest gets.
    pub iops: Option<u64>,
    /// Requests that it gets at once.
    pub iops_burst: Option<u64>,
}

/// What becomes of a VM when the process of a device is dead and no other one takes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDeviceDeath {
    /// It ends, and says why: a stock Linux waits for ever for a disk that does not answer.
    #[default]
    Stop,
    /// It goes on without the device: what its driver asked for is never answered, and the driver
    /// is told that the device needs a reset, after which it does not run.
    Keep,
}

/// A disk as it will be given to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Unique among the VM's disks.
    pub name: String,
    /// Raw image or block device.
    pub path: PathBuf,
    /// Whether it is opened and offered for reading only.
    pub read_only: bool,
    /// Past the host's page cache.
    pub direct: bool,
    /// Serial number; empty for none.
    pub serial: String,
    /// Queues, 1 to [`MAX_QUEUES`] and no more than the VM has vCPUs.
    pub queues: u16,
    /// Whether another process stands by, to go on when the disk's own is gone.
    pub standby: bool,
    /// What becomes of the VM when none goes on.
    pub on_device_death: OnDeviceDeath,
    /// How much of it its guest gets, until somebody changes that.
    pub limits: Limits,
}

impl RawDisk {
    /// The disk of a flag: `path=FILE`, then any of `ro`, `direct`, `serial=TEXT`, `queues=N`,
    /// `name=TEXT`, `no-standby`, `on_device_death=stop|keep`, `bandwidth=SIZE`,
    /// `bandwidth_burst=SIZE`, `iops=N`, `iops_burst=N`, with commas between.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        let wrong = |part: &str| {
            let limits = LimitsOf::Disk.flags();
            let remedy = format!(
                "write path=FILE[,ro][,direct][,serial=TEXT][,queues=N][,name=TEXT][,no-standby]\
                 [,on_device_death=stop|keep]{limits}; a path with a comma goes into a [[disk]] \
                 table"
            );
            ConfigError::invalid("disk", format!("\"{}\"", value(part).at_most(64)), remedy)
        };
        let (mut disk, mut limits) = (Self::default(), RawLimits::default());
        for part in flag.split(',') {
            let (key, text) = part.split_once('=').unwrap_or((part, ""));
            let once = |slot: &mut Option<String>| match slot.replace(text.into()) {
                None if !text.is_empty() => Ok(()),
                _ => Err(wrong(part)),
            };
            match key {
                "path" if disk.path.is_none() && !text.is_empty() => disk.path = Some(text.into()),
                "ro" if part == "ro" => disk.read_only = true,
                "direct" if part == "direct" => disk.direct = true,
                "no-standby" if part == "no-standby" => disk.standby = Some(false),
                "on_device_death" if disk.on_device_death.is_none() => {
                    disk.on_device_death = Some(match text {
                        "stop" => OnDeviceDeath::Stop,
                        "keep" => OnDeviceDeath::Keep,
                        _ => return Err(wrong(part)),
                    });
                }
                "serial" => once(&mut disk.serial)?,
                "name" => once(&mut disk.name)?,
                "queues" if disk.queues.is_none() => {
                    disk.queues = Some(text.parse().map_err(|_| wrong(part))?);
                }
                _ if limits.take(key, text) => {}
                _ => return Err(wrong(part)),
            }
        }
        let RawLimits { bandwidth, bandwidth_burst, operations, operations_burst, .. } = limits;
        let (iops, iops_burst) = (operations, operations_burst);
        let disk = Self { bandwidth, bandwidth_burst, iops, iops_burst, ..disk };
        if disk.path.is_none() { Err(wrong(flag)) } else { Ok(disk) }
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        if let Some(path) = &mut self.path {
            *path = directory.join(&*path);
        }
    }

    fn check(self, index: usize, vcpus: u32) -> Result<Disk, ConfigError> {
        let path = self.path.ok_or(ConfigError::Missing {
            field: "disk.path",
            remedy: "name a raw image or a block device",
        })?;
        let name = name("disk.name", self.name.unwrap_or_else(|| format!("disk{index}")))?;
        let serial = self.serial.unwrap_or_default();
        if casemate_device_block::serial(&serial).is_none() {
            let remedy = format!("use at most {SERIAL} printable ASCII characters");
            return Err(ConfigError::invalid("disk.serial", format!("{serial:?}"), remedy));
        }
        let queues = queues("disk.queues", self.queues, vcpus)?;
        let (bandwidth, bandwidth_burst) = (self.bandwidth, self.bandwidth_burst);
        let (iops, iops_burst) = (self.iops, self.iops_burst);
        let limits = RawLimits {
            bandwidth,
            bandwidth_burst,
            operations: iops,
            operations_burst: iops_burst,
            of: LimitsOf::Disk,
        };
        let limits = limits.check()?;
        let (read_only, direct) = (self.read_only, self.direct);
        let standby = self.standby.unwrap_or(true);
        let on_device_death = self.on_device_death.unwrap_or_default();
        Ok(Disk { name, path, read_only, direct, serial, queues, standby, on_device_death, limits })
    }
}

/// A device's name, of the key `field`.
pub(super) fn name(field: &'static str, name: String) -> Result<String, ConfigError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        let remedy = format!("use 1 to {MAX_NAME} letters, digits, `-`, `_` or `.`");
        return Err(ConfigError::invalid(field, format!("{name:?}"), remedy));
    }
    Ok(name)
}

/// A device's queues, of the key `field`. Drivers use one for each processor: more would be threads
/// and events of the host for nothing.
pub(super) fn queues(
    field: &'static str,
    queues: Option<u16>,
    vcpus: u32,
) -> Result<u16, ConfigError> {
    let queues = queues.unwrap_or(1);
    if !(1..=MAX_QUEUES).contains(&queues) {
        return Err(ConfigError::invalid(field, queues, format!("use 1 to {MAX_QUEUES}")));
    }
    if u32::from(queues) > vcpus {
        let remedy =
            format!("a guest uses one for each vCPU, and `vcpus` is {vcpus}: use at most as many");
        return Err(ConfigError::invalid(field, queues, remedy));
    }
    Ok(queues)
}

/// Checks all of them together: guests find disks by serial number, people by name.
pub(super) fn check(raw: Vec<RawDisk>, vcpus: u32) -> Result<Vec<Disk>, ConfigError> {
    if raw.len() > MAX_DISKS {
        let remedy = format!("a VM has at most {MAX_DISKS}");
        return Err(ConfigError::invalid("disk", format!("{} times there", raw.len()), remedy));
    }
    let mut disks: Vec<Disk> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let disk = raw.check(index, vcpus)?;
        if disks.iter().any(|other| other.name == disk.name) {
            let remedy = "give each disk another name";
            return Err(ConfigError::invalid(
                "disk.name",
                format!("{:?} twice", disk.name),
                remedy,
            ));
        }
        if !disk.serial.is_empty() && disks.iter().any(|other| other.serial == disk.serial) {
            let remedy = "a guest tells disks apart by it: give each another one, or none";
            let twice = format!("{:?} twice", disk.serial);
            return Err(ConfigError::invalid("disk.serial", twice, remedy));
        }
        disks.push(disk);
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::{OnDeviceDeath, RawDisk, check};

    #[test]
    fn a_flag_says_what_a_table_says() {
        let disk = RawDisk::from_flag(
            "path=a.img,ro,direct,serial=S1,queues=2,name=root,iops=50,bandwidth=2M,iops_burst=9",
        )
        .unwrap();
        let table = "path = \"a.img\"\nread_only = true\ndirect = true\nserial = \"S1\"\n\
                     name = \"root\"\nqueues = 2\nbandwidth = \"2M\"\niops = 50\niops_burst = 9\n";
        assert_eq!(toml::from_str::<RawDisk>(table).unwrap(), disk);
        let disks = check(vec![disk, RawDisk::from_flag("path=b.img").unwrap()], 2).unwrap();
        let names: Vec<_> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["root", "disk1"]);
        assert!(disks[0].read_only && !disks[1].read_only);
        assert_eq!(disks.iter().map(|disk| disk.queues).collect::<Vec<_>>(), [2, 1]);
    }

    /// Protects the host: a guest has no more threads and events of it than it has use for.
    #[test]
    fn a_disk_has_no_more_queues_than_the_guest_has_processors() {
        let asked = |queues, vcpus| {
            let disk = RawDisk { path: Some("x".into()), queues, ..RawDisk::default() };
            check(vec![disk], vcpus).map(|disks| disks[0].queues).map_err(|e| e.to_string())
        };
        assert_eq!(
            (asked(None, 4), asked(Some(4), 4), asked(Some(16), 64)),
            (Ok(1), Ok(4), Ok(16))
        );
        for (queues, vcpus) in [(2, 1), (5, 4), (17, 64), (0, 4), (u16::MAX, 64)] {
            let said = asked(Some(queues), vcpus).unwrap_err();
            assert!(said.starts_with("`disk.queues` is") && said.contains("use "), "{said}");
        }
    }

    #[test]
    fn a_disk_has_a_standby_unless_its_user_wants_none() {
        let flag = "path=a.img,no-standby,on_device_death=keep";
        let table = "path = \"a.img\"\nstandby = false\non_device_death = \"keep\"\n";
        let disk = RawDisk::from_flag(flag).unwrap();
        assert_eq!(toml::from_str::<RawDisk>(table).unwrap(), disk);
        let disks = check(vec![disk, RawDisk::from_flag("path=b.img").unwrap()], 1).unwrap();
        assert!(!disks[0].standby && disks[1].standby);
        let on_death: Vec<_> = disks.iter().map(|disk| disk.on_device_death).collect();
        assert_eq!(on_death, [OnDeviceDeath::Keep, OnDeviceDeath::Stop]);
        assert!(toml::from_str::<RawDisk>("on_device_death = \"restart\"").is_err());
    }

    #[test]
    fn flags_that_leave_something_open_are_refused() {
        for flag in [
            "",
            "a.img",
            "path=",
            "ro",
            "path=a,path=b",
            "path=a,rw",
            "path=a,ro=1",
            "path=a,",
            "path=a,serial=",
            "path=a,name=x,name=y",
            "path=a,no-standby=1",
            "path=a,on_device_death",
            "path=a,on_device_death=restart",
            "path=a,on_device_death=stop,on_device_death=keep",
            "path=a,queues=",
            "path=a,queues=-1",
            "path=a,queues=1,queues=1",
            "path=a,iops=",
            "path=a,iops=1,iops=1",
            "path=a,bandwidth=",
            "path=a,\u{1b}[2J",
        ] {
            let error = RawDisk::from_flag(flag).unwrap_err().to_string();
            assert!(error.starts_with("`disk` is") && !error.contains('\u{1b}'), "{flag}: {error}");
        }
    }

    #[test]
    fn disks_that_cannot_be_told_apart_are_refused_by_key() {
        let disk = |name: &str, serial: &str| RawDisk {
            path: Some("x".into()),
            name: Some(name.into()),
            serial: Some(serial.into()),
            ..RawDisk::default()
        };
        let error = |disks: Vec<RawDisk>| check(disks, 1).unwrap_err().to_string();
        assert!(
            error(vec![disk("a", ""), disk("a", "")]).starts_with("`disk.name` is \"a\" twice")
        );
        assert!(error(vec![disk("a", "s"), disk("b", "s")]).starts_with("`disk.serial` is"));
        assert!(check(vec![disk("a", ""), disk("b", "")], 1).is_ok());
        assert!(error(vec![disk("a b", "")]).starts_with("`disk.name` is"));
        assert!(error(vec![disk("a", "123456789012345678901")]).starts_with("`disk.serial` is"));
        assert!(error(vec![RawDisk::default()]).starts_with("`disk.path` is missing"));
        assert!(error(vec![disk("a", ""); 9]).starts_with("`disk` is 9 times there"));
    }
}
