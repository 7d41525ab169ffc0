//! A device's process with everybody else's ends, observed or taken over.

use casemate_device_process::{DONE, FromDevice, FrontEnd, Input, Start, body_with, spawn};
use casemate_sandbox::{Child, Exit, Image, Layer, Layers, Observed, Observer};
use casemate_test_devices::driver::{DATA, Driver};
use casemate_test_devices::memory::GuestRam;
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{end_of_attack, pair, said};
use casemate_test_support::device_attack::{DeviceAttack, Fate, Held};
use casemate_test_support::memory::held;
use casemate_test_support::target::Target;
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));
const RAM: usize = 16 << 20;

/// A kind of device, as tests start it.
pub struct Kind {
    pub start: fn(FrontEnd) -> Start,
    pub layers: fn(&str) -> Layers,
    pub queues: u16,
}

/// A device's process, and everybody else's ends.
pub struct Device {
    pub child: Child,
    pub control: OwnedFd,
    pub socket: UnixStream,
}

impl Kind {
    fn fenced(&self) -> Layers {
        (self.layers)("device").with(Layer::MemoryFence)
    }

    /// Starts one, as of a confidential guest; `own` are its own descriptors.
    pub fn begin(
        &self,
        front_end: FrontEnd,
        own: &[OwnedFd],
        before: impl FnOnce(&Child),
    ) -> Device {
        let (socket, theirs) = pair(SocketType::STREAM);
        let (control, its_control) = pair(SocketType::SEQPACKET);
        let image = Image::new("casemate-device", IMAGE).unwrap();
        let (layers, start) = (self.fenced(), (self.start)(front_end));
        let own: Vec<_> = own.iter().map(AsFd::as_fd).collect();
        let child = spawn(&image, layers, &start, &theirs, &its_control, &own, before);
        Device { child: child.unwrap(), control, socket: socket.into() }
    }

    pub fn driver(&self, socket: UnixStream) -> Driver {
        Driver::negotiate(socket, self.queues, GuestRam::new(RAM))
    }

    /// Observes one while `drive` drives it.
    pub fn observed(
        &self,
        front_end: FrontEnd,
        own: &[OwnedFd],
        drive: impl FnOnce(Driver) + Send,
    ) -> Observed {
        let mut observer = None;
        let Device { mut child, control, socket } =
            self.begin(front_end, own, |child| observer = Some(Observer::attach(child).unwrap()));
        let observed = std::thread::scope(|scope| {
            scope.spawn(|| drive(self.driver(socket)));
            observer.unwrap().finish().unwrap()
        });
        assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
        assert_eq!(said(&control), Some(FromDevice::Locked));
        assert!(matches!(said(&control), Some(FromDevice::Ended(_))));
        observed
    }

    /// Takes one of a confidential guest over once it is locked; a copy, so that there is code to
    /// run in it. How it ended, and how many pages the host held before and after.
    fn take_over(
        &self,
        own: Vec<OwnedFd>,
        attack: impl FnOnce(Held) -> bool,
    ) -> (Exit, usize, usize) {
        let (socket, theirs) = pair(SocketType::STREAM);
        let (_control, its_control) = pair(SocketType::SEQPACKET);
        let layers = self.fenced().keep(&theirs).keep(&its_control);
        let layers = own.iter().fold(layers, Layers::keep);
        let start = (self.start)(FrontEnd::Ours);
        let mut child = casemate_sandbox::spawn(layers, move |born| {
            let input = Input { start, socket: theirs, control: its_control, own };
            body_with(input, born, |holdings| {
                let held = Held {
                    memory: holdings.memory[0],
                    fence: holdings.fence.unwrap(),
                    // It has none: what it has best of its own is tried in its place.
                    image: holdings.own.first().copied().unwrap_or(holdings.socket),
                    image_size: 0,
                    socket: holdings.socket,
                };
                end_of_attack(attack(held))
            })
        })
        .unwrap();
        let mut driver = self.driver(UnixStream::from(socket));
        driver.ram.write(DATA, &[7; 4096]);
        let before = held(driver.ram.file());
        driver.front.set_vring_enable(0, false).unwrap();
        let exit = child.wait().unwrap();
        (exit, before, held(driver.ram.file()))
    }

    /// What is an attack with what it holds kills only itself, and the host holds not one page
    /// more.
    pub fn assert_harmless(&self, own: impl Fn() -> Vec<OwnedFd>) {
        for (attack, fate) in DeviceAttack::ALL {
            // By its profile it may take what somebody sends it, within its limit.
            if attack == DeviceAttack::TakeDescriptor {
                continue;
            }
            // What is a request of a disk is a call that nobody makes here.
            let expected = match fate {
                Fate::Fence => Exit::Signal(libc::SIGBUS),
                Fate::Filter | Fate::Refused | Fate::AnsweredInPart => Exit::Filter,
            };
            let attacked = self.take_over(own(), |held| attack.attempt(held).is_ok());
            assert_eq!(attacked, (expected, 1, 1), "{attack:?}");
        }
    }

    pub fn assert_harmless_to_others(&self, own: impl Fn() -> Vec<OwnedFd>) {
        let target = Target::new();
        for (attack, _) in Attack::ALL {
            let (exit, ..) = self.take_over(own(), |_| attack.attempt(target.victim()).is_ok());
            assert_eq!(exit, Exit::Filter, "{attack:?}");
        }
    }
}

/// The message that ends the set-up of a VM of ours. Before it the driver clears its rings, as
/// Linux does with memory that it shares: behind a fence there is no page that nobody has touched.
pub fn that_was_all(driver: &mut Driver) {
    for queue in 0..driver.queues.len() {
        driver.forget(queue);
    }
    driver.front.set_vring_enable(0, false).unwrap();
    driver.front.get_features().unwrap();
}
