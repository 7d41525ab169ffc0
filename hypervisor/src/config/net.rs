//! Network devices: `[[net]]`, and `--net` in one line.

use super::limits::{LimitsOf, RawLimits};
use super::size::with_unit;
use super::{ConfigError, OnDeviceDeath, disk};
use casemate_device_net::{MAX_MTU, MIN_MTU, Wanted, parse_mac, random_mac};
use casemate_device_process::Limits;
use casemate_foreign_text::value;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;

/// Most network devices of a VM.
pub const MAX_NETS: usize = 4;
/// What a link has that says nothing else.
const MTU: u16 = 1500;

/// A network device as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawNet {
    /// What messages call it.
    pub name: Option<String>,
    /// Name of a TAP.
    pub tap: Option<String>,
    /// Whether it is made, and gone with the VM.
    #[serde(default)]
    pub create: bool,
    /// A TAP that whoever starts the program has opened, by its number.
    pub fd: Option<i32>,
    /// The guest's address on the link.
    pub mac: Option<String>,
    /// Largest packet that the guest is told to send.
    pub mtu: Option<u16>,
    /// What becomes of the VM when the device's process is dead.
    pub on_device_death: Option<OnDeviceDeath>,
    /// Bytes of frames in a second, in both directions together, such as "50M".
    #[serde(default, deserialize_with = "with_unit")]
    pub bandwidth: Option<String>,
    /// Bytes at once.
    #[serde(default, deserialize_with = "with_unit")]
    pub bandwidth_burst: Option<String>,
    /// Frames in a second, in both directions together.
    pub packets: Option<u64>,
    /// Frames at once.
    pub packets_burst: Option<u64>,
}

/// A network device as it will be given to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// Unique among the VM's devices.
    pub name: String,
    /// The TAP.
    pub tap: Wanted,
    /// The guest's address on the link.
    pub mac: [u8; 6],
    /// Largest packet that the guest is told to send.
    pub mtu: u16,
    /// What becomes of the VM when the device's process is dead. It goes on, unless that is
    /// written: a network that does not answer is nothing new to a guest.
    pub on_device_death: OnDeviceDeath,
    /// How much of it its guest gets, until somebody changes that.
    pub limits: Limits,
}

impl RawNet {
    /// The device of a flag: `tap=NAME` or `fd=N`, then any of `create`, `mac=ADDRESS`, `mtu=N`,
    /// `name=TEXT`, `on_device_death=stop|keep`, `bandwidth=SIZE`, `bandwidth_burst=SIZE`,
    /// `packets=N`, `packets_burst=N`, with commas between.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        let wrong = |part: &str| {
            let limits = LimitsOf::Net.flags();
            let remedy = format!(
                "write tap=NAME[,create] or fd=N, then any of [,mac=ADDRESS][,mtu=N][,name=TEXT]\
                 [,on_device_death=stop|keep]{limits}"
            );
            ConfigError::invalid("net", format!("\"{}\"", value(part).at_most(64)), remedy)
        };
        let mut net = Self::default();
        let mut limits = RawLimits { of: LimitsOf::Net, ..RawLimits::default() };
        for part in flag.split(',') {
            let (key, text) = part.split_once('=').unwrap_or((part, ""));
            let first = match key {
                "create" if part == "create" => !std::mem::replace(&mut net.create, true),
                _ if text.is_empty() => false,
                "tap" => net.tap.replace(text.into()).is_none(),
                "name" => net.name.replace(text.into()).is_none(),
                "on_device_death" => {
                    let what = match text {
                        "stop" => OnDeviceDeath::Stop,
                        "keep" => OnDeviceDeath::Keep,
                        _ => return Err(wrong(part)),
                    };
                    net.on_device_death.replace(what).is_none()
                }
                "mac" => net.mac.replace(text.into()).is_none(),
                "fd" => net.fd.replace(text.parse().map_err(|_| wrong(part))?).is_none(),
                "mtu" => net.mtu.replace(text.parse().map_err(|_| wrong(part))?).is_none(),
                _ => limits.take(key, text),
            };
            if !first {
                return Err(wrong(part));
            }
        }
        let RawLimits { bandwidth, bandwidth_burst, operations, operations_burst, .. } = limits;
        let (packets, packets_burst) = (operations, operations_burst);
        let net = Self { bandwidth, bandwidth_burst, packets, packets_burst, ..net };
        if net.tap.is_some() || net.fd.is_some() { Ok(net) } else { Err(wrong(flag)) }
    }

    fn check(self, index: usize) -> Result<Net, ConfigError> {
        let name = self.name.unwrap_or_else(|| format!("net{index}"));
        let name = disk::name("net.name", name)?;
        let limits = RawLimits {
            bandwidth: self.bandwidth,
            bandwidth_burst: self.bandwidth_burst,
            operations: self.packets,
            operations_burst: self.packets_burst,
            of: LimitsOf::Net,
        };
        let limits = limits.check()?;
        let on_device_death = self.on_device_death.unwrap_or(OnDeviceDeath::Keep);
        let mtu = self.mtu.unwrap_or(MTU);
        if !(MIN_MTU..=MAX_MTU).contains(&mtu) {
            let remedy = format!("use {MIN_MTU} to {MAX_MTU}; {MTU} is the default");
            return Err(ConfigError::invalid("net.mtu", mtu, remedy));
        }
        let tap = match (self.tap, self.fd, self.create) {
            (Some(name), None, true) => Wanted::New { name, mtu },
            (Some(name), None, false) => Wanted::Existing(name),
            (None, Some(fd), false) if fd > 2 => Wanted::Descriptor(fd),
            (None, Some(fd), false) => {
                let remedy = "0, 1 and 2 are standard input and output: use another descriptor";
                return Err(ConfigError::invalid("net.fd", fd, remedy));
            }
            (None, None, _) => {
                let remedy = "name a TAP, or a descriptor of one (`fd`)";
                return Err(ConfigError::Missing { field: "net.tap", remedy });
            }
            (_, Some(fd), _) => {
                let remedy = "a descriptor is a TAP that is there: leave `tap` and `create` out";
                return Err(ConfigError::invalid("net.fd", fd, remedy));
            }
        };
        let mac = mac("net.mac", self.mac.as_deref())?;
        Ok(Net { name, tap, mac, mtu, on_device_death, limits })
    }
}

/// The address that is written, or any for who gave none.
pub(super) fn mac(field: &'static str, written: Option<&str>) -> Result<[u8; 6], ConfigError> {
    if let Some(text) = written {
        return parse_mac(text).ok_or_else(|| {
            let written = format!("\"{}\"", value(text).at_most(64));
            let remedy = "use six pairs of hexadecimal digits, the first even, such as \
                          52:54:00:12:34:56";
            ConfigError::invalid(field, written, remedy)
        });
    }
    let mut bytes = [0; 5];
    match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
        Ok(5) => Ok(random_mac(bytes)),
        _ => {
            let remedy = "the kernel gave no random one";
            Err(ConfigError::Missing { field, remedy })
        }
    }
}

/// Checks all of them together, and beside devices of these names: a TAP has one user, and a link
/// has each address once.
pub(super) fn check(raw: Vec<RawNet>, others: &[&str]) -> Result<Vec<Net>, ConfigError> {
    if raw.len() > MAX_NETS {
        let remedy = format!("a VM has at most {MAX_NETS}");
        return Err(ConfigError::invalid("net", format!("{} times there", raw.len()), remedy));
    }
    let mut nets: Vec<Net> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let net = raw.check(index)?;
        let mut names = nets.iter().map(|other| other.name.as_str()).chain(others.iter().copied());
        if names.any(|other| other == net.name) {
            let twice = format!("{:?} twice", net.name);
            let remedy = "give each device another name";
            return Err(ConfigError::invalid("net.name", twice, remedy));
        }
        let name = |net: &Net| match &net.tap {
            Wanted::Existing(name) | Wanted::New { name, .. } => name.clone(),
            Wanted::Descriptor(fd) => format!("fd {fd}"),
        };
        if nets.iter().any(|other| name(other) == name(&net)) {
            let twice = format!("\"{}\" twice", value(name(&net)).at_most(64));
            return Err(ConfigError::invalid("net.tap", twice, "give each device one of its own"));
        }
        if nets.iter().any(|other| other.mac == net.mac) {
            let remedy = "give each device another address, or none";
            return Err(ConfigError::invalid("net.mac", "there twice", remedy));
        }
        nets.push(net);
    }
    Ok(nets)
}

#[cfg(test)]
mod tests {
    use super::{OnDeviceDeath, RawNet, Wanted, check};
    use casemate_device_process::Rate;

    #[test]
    fn a_flag_says_what_a_table_says() {
        let flag = "tap=tap0,create,mac=52:54:00:12:34:56,mtu=9000,name=lan,on_device_death=stop,\
                    bandwidth=2M,packets=50,packets_burst=9";
        let net = RawNet::from_flag(flag).unwrap();
        let table = "tap = \"tap0\"\ncreate = true\nmac = \"52:54:00:12:34:56\"\nmtu = 9000\n\
                     name = \"lan\"\non_device_death = \"stop\"\nbandwidth = \"2M\"\n\
                     packets = 50\npackets_burst = 9\n";
        assert_eq!(toml::from_str::<RawNet>(table).unwrap(), net);
        let nets = check(vec![net, RawNet::from_flag("fd=5").unwrap()], &[]).unwrap();
        assert_eq!(nets[0].tap, Wanted::New { name: "tap0".into(), mtu: 9000 });
        assert_eq!(nets[0].mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!((&nets[1].tap, nets[1].mtu), (&Wanted::Descriptor(5), 1500));
        assert_eq!(nets[1].mac[0], 2, "an address of nobody's");
        assert_eq!((nets[0].name.as_str(), nets[1].name.as_str()), ("lan", "net1"));
        assert_eq!(nets[0].limits.operations, Rate::new(50, 9));
        assert_eq!(nets[0].limits.bytes, Rate::new(2 << 20, 2 << 20));
        let (stop, keep) = (OnDeviceDeath::Stop, OnDeviceDeath::Keep);
        assert_eq!((nets[0].on_device_death, nets[1].on_device_death), (stop, keep));
    }

    #[test]
    fn flags_that_leave_something_open_are_refused() {
        for flag in [
            "",
            "tap0",
            "tap=",
            "create",
            "tap=a,tap=b",
            "tap=a,create=1",
            "tap=a,create,create",
            "tap=a,",
            "tap=a,mtu=x",
            "tap=a,mtu=70000",
            "tap=a,name=a,name=b",
            "tap=a,on_device_death=perhaps",
            "tap=a,iops=5",
            "tap=a,packets=-1",
            "fd=x",
            "tap=a,\u{1b}[2J",
        ] {
            let error = RawNet::from_flag(flag).unwrap_err().to_string();
            assert!(error.starts_with("`net` is") && !error.contains('\u{1b}'), "{flag}: {error}");
        }
    }

    #[test]
    fn devices_that_cannot_be_are_refused_by_key() {
        let error = |flags: &[&str]| {
            let raw = flags.iter().map(|flag| RawNet::from_flag(flag).unwrap()).collect();
            check(raw, &["disk0"]).unwrap_err().to_string()
        };
        for (flags, begins) in [
            (&["tap=a,mtu=1279"][..], "`net.mtu` is 1279"),
            (&["tap=a,mtu=65522"], "`net.mtu` is 65522"),
            (&["tap=a,name=a/b"], "`net.name` is \"a/b\""),
            (&["tap=a,name=x", "tap=b,name=x"], "`net.name` is \"x\" twice"),
            (&["tap=a,name=disk0"], "`net.name` is \"disk0\" twice"),
            (&["tap=a,packets=0"], "`net.packets` is 0"),
            (&["tap=a,packets_burst=5"], "`net.packets_burst` is 5"),
            (&["tap=a,mac=x"], "`net.mac` is \"x\""),
            (&["tap=a,mac=ff:ff:ff:ff:ff:ff"], "`net.mac` is"),
            (&["fd=1"], "`net.fd` is 1"),
            (&["fd=5,create"], "`net.fd` is 5"),
            (&["fd=5,tap=a"], "`net.fd` is 5"),
            (&["tap=a", "tap=a,create"], "`net.tap` is \"a\" twice"),
            (&["fd=5", "fd=5"], "`net.tap` is \"fd 5\" twice"),
            (&["tap=a,mac=52:54:00:12:34:56", "tap=b,mac=52:54:00:12:34:56"], "`net.mac` is there"),
            (&["tap=a", "tap=b", "tap=c", "tap=d", "tap=e"], "`net` is 5 times there"),
        ] {
            let error = error(flags);
            assert!(error.starts_with(begins), "{flags:?}: {error}");
        }
        let neither = check(vec![RawNet { create: true, ..RawNet::default() }], &[]).unwrap_err();
        assert!(neither.to_string().starts_with("`net.tap` is missing"));
    }
}
