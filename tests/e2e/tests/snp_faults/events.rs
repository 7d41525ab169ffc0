//! A host that injects events, and runs vCPUs that the guest never started. Every event (256
//! interrupts, NMI, 32 exceptions with and without an error code, 256 software interrupts) is tried
//! at thousands of places of one boot: each is a *trial*, which the MODEL undoes, so that the next
//! one finds the guest as it was, and the guest itself must then end as if nothing had been.

use crate::session::{Ended, FILES, Guest, KERNEL_REACHED, session};
use casemate_layout::{TERMINATION_SET, Termination, map};

/// What the MODEL counted of one kind of trial: a line each of the file `trials`.
struct Trials<'a>(&'a str, &'a str);

impl Trials<'_> {
    fn rest(&self, what: &str) -> Option<&str> {
        let start = format!("{} {what} ", self.0);
        self.1.lines().find_map(|line| line.strip_prefix(&start))
    }

    fn count(&self, what: &str) -> u64 {
        let rest = self.rest(what).unwrap_or_else(|| panic!("no {what}:\n{}", self.1));
        rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
    }

    /// From where to where guest memory had changed.
    fn wrote(&self, what: &str) -> Option<(u64, u64)> {
        let (_, range) = self.rest(what)?.split_once(" wrote ")?;
        let (from, to) = range.split_once(" to ")?;
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        Some((number(from), number(to)))
    }

    /// All 577 events were tried; at how many instructions.
    fn all_events(&self) -> u32 {
        let places = self.rest("events").and_then(|rest| rest.strip_prefix("577 of 577 places "));
        places.and_then(|places| places.parse().ok()).unwrap_or_else(|| panic!("{}", self.1))
    }
}

fn guest(fault: &str, vcpus: u32) -> Guest {
    Guest {
        name: fault.to_owned(),
        fault: fault.to_owned(),
        before: format!(
            "echo {} >/sys/module/snpemu/parameters/inject_end",
            map::BOOT_CODE.start + map::BOOT_CODE.size
        ),
        after: format!("cat {FILES}/trials; echo >{FILES}/trials"),
        vcpus,
        ..Guest::default()
    }
}

/// Before it has gates of its own an event shuts the boot vCPU down, and writes nothing; afterwards
/// the guest asks for its end, with a frame where all frames go and nowhere else. Nothing else
/// ever comes of one, and the guest that was asked all this reaches its kernel.
fn boot_vcpu_is_never_led_astray(ended: &Ended) {
    let boot = Trials("boot", &ended.after);
    // The whole way to the gates and from the last request to the kernel, step by step.
    assert!(boot.all_events() > 400, "{}", ended.after);
    let by_exception =
        u64::from(TERMINATION_SET) << 12 | u64::from(Termination::Exception.code()) << 16 | 0x100;
    assert_eq!((boot.count("other"), boot.count("still")), (0, 0), "{}", ended.after);
    assert_eq!(boot.wrote("shutdown"), None, "{}", ended.after);
    assert!(boot.count("shutdown") > 100 && boot.count("ended") > 1000, "{}", ended.after);
    let asked = boot.rest("asked for its end by");
    assert_eq!(asked, Some(format!("{by_exception:x}, otherwise 0").as_str()), "{}", ended.after);
    // Event upon event, and no end that the host grants: no frame lies below the one before.
    let deep = Trials("deep", &ended.after);
    assert!(deep.count("ended") + deep.count("interrupted") > 0, "{}", ended.after);
    for what in ["other", "still", "shutdown"] {
        assert_eq!(deep.count(what), 0, "{}", ended.after);
    }
    for (trials, what) in [(&boot, "ended"), (&boot, "interrupted"), (&deep, "ended")] {
        let place = map::SCRATCH_FRAME.start..map::SCRATCH_FRAME.end();
        if let Some((from, to)) = trials.wrote(what) {
            assert!(place.contains(&from) && place.contains(&to), "{from:#x} to {to:#x}");
        }
    }
    assert!(boot.wrote("ended").is_some(), "{}", ended.after);
}

/// The launched state of a vCPU that the guest did not start shuts down at once, with and without
/// an event, and writes nothing.
pub fn parked_vcpu_leads_nowhere(ended: &Ended) {
    for name in ["parked", "parked-run"] {
        let parked = Trials(name, &ended.after);
        if name == "parked" {
            parked.all_events();
        }
        assert!(parked.count("shutdown") > 500, "{name}: {}", ended.after);
        for what in ["ended", "other", "still"] {
            assert_eq!(parked.count(what), 0, "{name} {what}: {}", ended.after);
        }
        for what in ["shutdown", "refused", "interrupted"] {
            assert_eq!(parked.wrote(what), None, "{name} {what}: {}", ended.after);
        }
    }
}

#[test]
fn no_event_at_any_place_leads_the_boot_code_or_a_parked_vcpu_astray() {
    let guests = [guest("inject:1+", 1), guest("inject:1+,ap-run:1+", 2)];
    let (ended, output) = session("snp-events", "", &guests);
    for (guest, ended) in guests.iter().zip(&ended) {
        println!("{} with {} vCPU: {}\n{}", guest.name, guest.vcpus, ended.said, ended.after);
        assert!(ended.said.contains(KERNEL_REACHED), "{ended:?}\n{}", output.log);
        assert!(ended.happened > 1000, "{ended:?}");
        boot_vcpu_is_never_led_astray(ended);
    }
    parked_vcpu_leads_nowhere(&ended[1]);
}

/// The same for good, as `casemate run` sees it.
#[test]
fn an_event_or_a_vcpu_that_nobody_asked_for_ends_the_vm() {
    const SHUT_DOWN: &str = "triple-faulted";
    const EXCEPTION: &str = "took away or replaced a page";
    let cases = [
        // Before the gates; long after them; the last one just before the kernel is entered.
        ("inject:1", 1, SHUT_DOWN),
        ("inject:1", 2, SHUT_DOWN),
        ("inject:4000", 1, EXCEPTION),
        ("inject:4000", 2, EXCEPTION),
        ("ap-run:1", 2, SHUT_DOWN),
        ("ap-run:3000", 2, SHUT_DOWN),
        // There is no other vCPU that could be run.
        ("ap-run:1", 1, KERNEL_REACHED),
    ];
    let guests: Vec<Guest> = cases.iter().map(|(fault, vcpus, _)| guest(fault, *vcpus)).collect();
    let (ended, output) = session("snp-event", "", &guests);
    for ((fault, vcpus, said), ended) in cases.iter().zip(ended) {
        println!("{fault:12} {vcpus} vCPU: {}", ended.said);
        assert!(ended.said.contains(said), "{fault} {vcpus}: {ended:?}\n{}", output.log);
        assert!(ended.happened == 1 && ended.status == 3, "{fault} {vcpus}: {ended:?}");
    }
}
