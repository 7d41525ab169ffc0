//! What an attacker in a locked process would try: every attempt works in an ordinary process, and
//! fails under the layers, under the filter, and under both.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{Action, Exit, FdTable, Layer, Layers};
use casemate_test_support::attack::Attack;
use casemate_test_support::device::REFUSED;
use casemate_test_support::sandbox::{MINIMAL, as_ordinary_user, confined};
use casemate_test_support::target::Target;
use std::process::ExitCode;

fn status(attack: Attack, target: &Target) -> i32 {
    match attack.attempt(target.victim()) {
        Ok(()) => 0,
        Err(_) => REFUSED,
    }
}

fn attacked(layers: Layers, filter: Option<Action>, attack: Attack, target: &Target) -> Exit {
    let mut child = confined(layers, |setup| match filter {
        None => status(attack, target),
        Some(action) => {
            let _locked = setup.lock(&MINIMAL, &FdTable::new(), action).unwrap();
            status(attack, target)
        }
    });
    child.confined().unwrap();
    child.wait().unwrap()
}

fn no_layers() -> Layers {
    Layer::ALL
        .into_iter()
        .filter(|layer| *layer != Layer::Seccomp)
        .fold(Layers::new("attacker"), Layers::without)
}

fn each_attack_works_in_an_ordinary_process() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        assert_eq!(attacked(no_layers(), None, attack, &target), Exit::Code(0), "{attack:?}");
    }
}

fn layers_without_a_filter_stop_what_they_can() {
    let target = Target::new();
    for (attack, stopped) in Attack::ALL {
        let exit = attacked(Layers::new("attacker"), None, attack, &target);
        assert_eq!(exit, Exit::Code(if stopped { REFUSED } else { 0 }), "{attack:?}");
    }
}

fn filter_alone_kills_each_attacker() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let exit = attacked(no_layers(), Some(Action::Kill), attack, &target);
        assert_eq!(exit, Exit::Filter, "{attack:?}");
    }
}

fn locked_process_dies_at_each_attack() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let exit = attacked(Layers::new("attacker"), Some(Action::Kill), attack, &target);
        assert_eq!(exit, Exit::Filter, "{attack:?}");
    }
}

fn errno_filter_refuses_each_attack_and_lets_the_process_live() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let exit = attacked(Layers::new("attacker"), Some(Action::Errno(1)), attack, &target);
        assert_eq!(exit, Exit::Code(REFUSED), "{attack:?}");
    }
}

fn process_of_an_ordinary_user_dies_at_each_attack() {
    let exit = as_ordinary_user(|| {
        let target = Target::new();
        for (attack, _) in Attack::ALL {
            let exit = attacked(Layers::new("attacker"), Some(Action::Kill), attack, &target);
            assert_eq!(exit, Exit::Filter, "{attack:?}");
        }
        0
    });
    assert_eq!(exit, Exit::Code(0));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        each_attack_works_in_an_ordinary_process,
        layers_without_a_filter_stop_what_they_can,
        filter_alone_kills_each_attacker,
        locked_process_dies_at_each_attack,
        errno_filter_refuses_each_attack_and_lets_the_process_live,
        process_of_an_ordinary_user_dies_at_each_attack,
    ])
}
