//! The source of random numbers.

use crate::device::{Device, Kind, that_was_all};
use casemate_device_process::{DONE, DeviceKind, FrontEnd, Start};
use casemate_device_rng::MAX_BYTES;
use casemate_device_rng::profile::{FOREIGN, SET_UP, STEADY, layers};
use casemate_sandbox::{Exit, inspect};
use casemate_test_devices::driver::{DATA, Driver};
use casemate_test_support::device::{assert_confined, assert_locked};
use casemate_test_support::sandbox::{assert_least_before, assert_least_in};

const RNG: Kind = Kind {
    start: |front_end| Start { kind: DeviceKind::Rng, front_end, config: Vec::new() },
    layers,
    queues: 1,
};

/// Gets `len` bytes: what was written, and how many there are said to be.
fn random(driver: &mut Driver, len: u32) -> (Vec<u8>, u32) {
    driver.ram.write(DATA, &vec![0; len as usize]);
    driver.chain(0, 0, &[(DATA, len, true)]);
    driver.put(0, 0);
    driver.publish(0);
    let (_, given) = driver.wait(0).expect("the device is silent");
    (driver.ram.read(DATA, len as usize), given)
}

fn use_it(driver: &mut Driver) {
    driver.activate(0);
    let (first, given) = random(driver, 64);
    assert_eq!(given, 64);
    let (second, _) = random(driver, 64);
    assert_ne!(first, second);
    let (long, given) = random(driver, 0x1_0000);
    assert_eq!(given as usize, MAX_BYTES);
    let (random, behind) = long.split_at(MAX_BYTES);
    // 4096 bytes of a coin have a zero in each 64 but for once in so many runs that none is seen.
    assert!(random.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    assert!(behind.iter().all(|byte| *byte == 0));
    driver.stop(0);
    driver.forget(0);
}

fn drive_ours(mut driver: Driver) {
    that_was_all(&mut driver);
    for _ in 0..2 {
        use_it(&mut driver);
    }
}

/// As other VMMs do: memory and events come again while it runs.
fn drive_foreign(mut driver: Driver) {
    that_was_all(&mut driver);
    for _ in 0..2 {
        driver.send_memory();
        driver.send_events();
        use_it(&mut driver);
    }
}

pub fn rng_profile_allows_what_is_used_and_nothing_else() {
    let ours = RNG.observed(FrontEnd::Ours, &[], drive_ours);
    assert_least_in(&ours, 2, &STEADY);
    let foreign = RNG.observed(FrontEnd::Foreign, &[], drive_foreign);
    assert_least_in(&foreign, 2, &FOREIGN);
    let mut both = ours;
    both.merge(foreign);
    assert_least_before(&both, &SET_UP, &[&STEADY, &FOREIGN]);
    assert_eq!(STEADY.syscalls().len(), 8, "{:?}", STEADY.syscalls());
}

/// Protects the host: what is in force is what SECURITY.md says. Cannot tell of landlock, which no
/// other process can see.
pub fn rng_process_is_locked_as_the_kernel_tells() {
    let Device { mut child, socket, .. } = RNG.begin(FrontEnd::Ours, &[], |_| ());
    assert_confined(&mut child, true);
    let mut driver = RNG.driver(socket);
    that_was_all(&mut driver);
    use_it(&mut driver);
    let told = inspect(child.pid()).unwrap();
    assert_locked(&told, 2);
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    assert!(told.fence.unwrap().is_whole(), "{told}");
    // The front end's socket and the watcher's; no file but /dev/null.
    let open: Vec<&String> = told.descriptors.as_ref().unwrap().values().collect();
    let files = open.iter().filter(|what| what.starts_with('/') && !what.contains("null"));
    assert_eq!(files.count(), 0, "{told}");
    assert_eq!(open.iter().filter(|what| what.starts_with("socket:")).count(), 2, "{told}");
    drop(driver);
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects everybody from a process that is an attacker's: it kills only itself.
pub fn what_a_source_of_random_numbers_holds_takes_an_attacker_nowhere() {
    RNG.assert_harmless(Vec::new);
}

pub fn an_attacker_in_a_source_of_random_numbers_dies_at_each_attack_on_others() {
    RNG.assert_harmless_to_others(Vec::new);
}
