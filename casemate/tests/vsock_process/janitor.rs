//! The janitor, which removes a VM's sockets when the VM is over: those, and nothing else.

use crate::place::{IMAGE, Place};
use casemate_device_process::{
    DONE, FromDevice, JANITOR, PathSocket, janitor_body, janitor_layers, spawn_janitor,
};
use casemate_sandbox::{Child, Exit, Image, Observer};
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{end_of_attack, pair, said};
use casemate_test_support::sandbox::assert_least;
use casemate_test_support::target::Target;
use rustix::net::SocketType;

/// Protects who uses the folder: a janitor removes the sockets that are its VM's, at the end of
/// whoever has its other end, and nothing that is another's by then.
pub fn a_janitor_removes_what_is_still_its_vms_and_makes_no_other_call() {
    let place = Place::new();
    let mut places = vec![place.path.place().unwrap(), place.forward.place().unwrap()];
    // Another's by the time of the end, and one that is gone by then.
    let (taken, gone) = (place.scratch.path("taken"), place.scratch.path("gone"));
    for path in [&taken, &gone] {
        let socket = PathSocket::at("path", path).unwrap();
        places.push(socket.place().unwrap());
        socket.leave();
    }
    std::fs::remove_file(&gone).unwrap();
    std::fs::rename(&taken, place.scratch.path("old")).unwrap();
    std::fs::write(&taken, "another's").unwrap();
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let mut observer = None;
    let layers = janitor_layers(&place.folder());
    let attach = |child: &Child| observer = Some(Observer::attach(child).unwrap());
    let mut child = spawn_janitor(&image, layers, &places, &its_control, attach).unwrap();
    drop(its_control);
    let path = place.scratch.path("v");
    let user = std::thread::spawn(move || {
        assert_eq!(said(&control), Some(FromDevice::Locked));
        assert!(path.exists());
        // As when its supervisor is killed.
        drop(control);
    });
    let observed = observer.unwrap().finish().unwrap();
    user.join().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
    assert_least(&observed, &JANITOR);
    for name in ["v", "f"] {
        assert!(!place.scratch.path(name).exists(), "{name}");
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "another's");
    assert!(place.scratch.path("old").exists() && place.scratch.path("v_52").exists());
}

pub fn an_attacker_in_a_janitor_dies_at_each_attack_on_others() {
    let place = Place::new();
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let (_control, its_control) = pair(SocketType::SEQPACKET);
        let layers = janitor_layers(&place.folder()).keep(&its_control);
        let victim = target.victim();
        let mut child = casemate_sandbox::spawn(layers, move |born| {
            janitor_body(&[], &its_control, born, || end_of_attack(attack.attempt(victim).is_ok()))
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Filter, "{attack:?}");
    }
}
