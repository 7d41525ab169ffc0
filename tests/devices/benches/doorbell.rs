//! From a driver's doorbell to the used ring: a guest of a few instructions on this machine's KVM,
//! which looks at the used ring by itself, against the same loop without KVM, with the same program
//! as the device. A request of 512 bytes from the page cache, one at a time; interleaved, medians.
//! The guest's loop runs at CPL 3, which every KVM leaves to the processor: one in software
//! interprets what runs at CPL 0, and the loop that waits would measure that. Skipped, and said so,
//! without /dev/kvm. The goal is 1.3.
//!
//! `cargo bench -p casemate-test-devices --bench doorbell [-- ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_device_process::DeviceKind;
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::launch::PageKind;
use casemate_hypervisor::vm::virtio::{BackEndOf, DeviceSocket};
use casemate_test_devices::driver::{Block, Driver};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::process::Process;
use casemate_test_devices::scratch::Scratch;
use casemate_test_support::guests::{kvm, plan, run_with};
use casemate_test_support::script::{SCRIPT, Script, interpreter_then};
use casemate_test_support::virtio::{BAR, Driver as _, RING};
use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::time::Instant;

const BACKEND: &str = env!("CARGO_BIN_EXE_block-backend");
const FLUSH: u32 = 1 << 9;
/// Requests of a guest that is started for its start alone, and of one that is measured.
const REQUESTS: [u32; 2] = [1, 20_001];

/// On to CPL 3: SYSRET needs no descriptor table, only EFER.SCE and the selectors of STAR (AMD64
/// manual, volume 2, 6.1.1).
fn leave_cpl_0() -> Vec<u8> {
    [
        // mov ecx, EFER; rdmsr; or eax, 1; wrmsr
        &[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x83, 0xc8, 1, 0x0f, 0x30][..],
        // mov ecx, STAR; xor eax, eax; mov edx, 0x100008; wrmsr
        &[0xb9, 0x81, 0, 0, 0xc0, 0x31, 0xc0, 0xba, 8, 0, 0x10, 0, 0x0f, 0x30],
        // lea rcx, [rip + 9]; mov r11d, 2; sysretq
        &[0x48, 0x8d, 0x0d, 9, 0, 0, 0, 0x41, 0xbb, 2, 0, 0, 0, 0x48, 0x0f, 7],
    ]
    .concat()
}

/// The guest's loop, `requests` times: the index of the available ring one further, the doorbell,
/// and the index of the used ring until it is the same.
fn requests(requests: u32) -> Vec<u8> {
    let load = |register: u8, value: u64| [&[0x48, register][..], &value.to_le_bytes()].concat();
    [
        leave_cpl_0(),
        load(0xb9, requests.into()),
        load(0xbb, RING[1] + 2),
        load(0xbe, RING[2] + 2),
        load(0xbf, BAR + 0x1000),
        // 1: mov ax, [rbx]; inc ax; mov [rbx], ax; mov word [rdi], 0
        vec![0x66, 0x8b, 0x03, 0x66, 0xff, 0xc0, 0x66, 0x89, 0x03, 0x66, 0xc7, 0x07, 0, 0],
        // 2: mov dx, [rsi]; cmp dx, ax; jne 2b; dec rcx; jnz 1b
        vec![0x66, 0x8b, 0x16, 0x66, 0x39, 0xc2, 0x75, 0xf8, 0x48, 0xff, 0xc9, 0x75, 0xe5],
        // ud2: without an interrupt table that ends the VM, and nothing else at CPL 3 does
        vec![0x0f, 0x0b],
    ]
    .concat()
}

/// How long a guest takes for so many requests, its start and end included.
fn guest(scratch: &Scratch, count: u32) -> f64 {
    let image = scratch.path("disk");
    let mut process =
        Process::start(BACKEND, &scratch.path("guest"), &[image.to_str().unwrap(), "lock"]);
    let socket = process.connect().into();
    let (kind, of) = (DeviceKind::Block, BackEndOf::Others);
    let device = DeviceSocket { kind, of, queues: 1, socket, standby: None, mac: None };
    // Flags of the available ring: no interrupts. One request by the script, whose descriptors
    // stay.
    let script = Script::default().open().reset().drive(FLUSH).write(2, RING[1], 1);
    let script = script.request(0, 0, 0, 512);
    let mut plan = plan(&interpreter_then(&requests(count)), 1);
    plan.add_pages("script", PageKind::Normal, SCRIPT, script.memory()).unwrap();
    let begun = Instant::now();
    let ran = run_with(&plan, vec![device]).unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert!(matches!(ran.stop, Stop::Shutdown), "{:?}", ran.stop);
    process.kill();
    took
}

/// Seconds of one request of a guest.
fn in_a_guest(scratch: &Scratch) -> f64 {
    let [few, many] = REQUESTS;
    (guest(scratch, many) - guest(scratch, few)) / f64::from(many - few)
}

/// Seconds of one request without KVM.
fn natively(scratch: &Scratch) -> f64 {
    let image = scratch.path("disk");
    let process =
        Process::start(BACKEND, &scratch.path("native"), &[image.to_str().unwrap(), "lock"]);
    let mut driver = Driver::negotiate(process.connect(), 1, GuestRam::new(16 << 20));
    driver.activate(FLUSH.into());
    let (status, ..) = driver.block(0, &Block { back: 512, ..Block::default() });
    assert_eq!(status, 0);
    driver.set_available_flags(0, 1);
    // Every entry of the ring is the head of the request that was made, 0.
    let (base, mut index) = (driver.queues[0].base, driver.queues[0].available);
    let (available, used) = (driver.ram.word(base + 0x1002), driver.ram.word(base + 0x2002));
    let [few, many] = REQUESTS;
    let begun = Instant::now();
    for _ in few..many {
        index = index.wrapping_add(1);
        available.store(index, Ordering::Release);
        driver.queues[0].kick.write(1).unwrap();
        while used.load(Ordering::Acquire) != index {
            spin_loop();
        }
    }
    begun.elapsed().as_secs_f64() / f64::from(many - few)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

fn main() {
    if kvm().is_none() {
        println!("doorbell to used ring: SKIPPED: no /dev/kvm");
        return;
    }
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(7_u32);
    let scratch = Scratch::in_memory();
    let _ = scratch.image("disk", 64);
    let (mut guests, mut natives) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        guests.push(in_a_guest(&scratch));
        natives.push(natively(&scratch));
    }
    let micros = |seconds: Vec<f64>| median(seconds) * 1e6;
    let (guest, native) = (micros(guests), micros(natives));
    // The end of a guest does not say how far its loop came. None is twice as fast as without KVM.
    assert!(guest > native / 2.0, "{guest:.2} us of {native:.2}: the loop did not run");
    println!(
        "doorbell to used ring, {rounds} rounds: a guest on KVM {guest:.2} us, without KVM \
         {native:.2} us, ratio {:.2} (goal 1.3)",
        guest / native
    );
}
