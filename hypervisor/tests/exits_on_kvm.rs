//! Exits of hand-made guests on the machine's own /dev/kvm; skipped, and said so, where there is
//! none.

use casemate_hypervisor::exits::Stop;
use casemate_test_support::guests::{DATA, dx, out, plan, power_off, rbx, run};

const OFF: Stop = Stop::PowerOff { status: None };

#[test]
fn bytes_written_to_the_serial_port_come_out_and_s5_stops_the_vm() {
    let code = [dx(0x3f8), out(b'h'), out(b'i'), power_off()].concat();
    let Some(ran) = run(&plan(&code, 1)) else { return };
    assert_eq!((ran.stop, ran.output.as_str()), (OFF, "hi"));
}

#[test]
fn string_output_delivers_every_byte_in_order() {
    let text = b"sixteen bytes ok";
    // mov rsi, DATA; mov ecx, len; cld; rep outsb
    let rsi = [&[0x48, 0xbe][..], &DATA.to_le_bytes()].concat();
    let ecx = [&[0xb9][..], &u32::try_from(text.len()).unwrap().to_le_bytes()].concat();
    let code = [dx(0x3f8), rsi, ecx, vec![0xfc, 0xf3, 0x6e], power_off()].concat();
    let mut plan = plan(&code, 1);
    plan.add_pages("data", casemate_hypervisor::launch::PageKind::Normal, DATA, text.to_vec())
        .unwrap();
    let Some(ran) = run(&plan) else { return };
    assert_eq!((ran.stop, ran.output.as_bytes()), (OFF, &text[..]));
}

#[test]
fn workload_status_and_marks_reach_the_host() {
    let code = [dx(0x603), out(17), dx(0x604), out(3), power_off()].concat();
    let Some(ran) = run(&plan(&code, 1)) else { return };
    assert_eq!((ran.stop, ran.marks), (Stop::PowerOff { status: Some(3) }, vec![17]));
}

#[test]
fn a_refusal_of_pid_1_reaches_the_host_as_its_sentence() {
    let code = [dx(0x604), out(0), dx(0x605), out(6), power_off()].concat();
    let Some(ran) = run(&plan(&code, 1)) else { return };
    assert_eq!(ran.stop, Stop::Refused(6));
    let said = ran.stop.to_string();
    assert!(said.starts_with("the guest says that its PID 1 refused: the root disk"), "{said}");
    assert!(!ran.stop.is_success());
    assert!(
        Stop::Refused(0xee).to_string().contains("for a reason that this version does not know")
    );
}

#[test]
fn reset_register_stops_the_vm_as_a_reset() {
    let code = [dx(0x602), out(1), vec![0xf4]].concat();
    let Some(ran) = run(&plan(&code, 1)) else { return };
    assert_eq!(ran.stop, Stop::Reset);
}

#[test]
fn triple_fault_stops_the_vm_as_a_shutdown() {
    // ud2 without an IDT
    let Some(ran) = run(&plan(&[0x0f, 0x0b], 1)) else { return };
    assert_eq!(ran.stop, Stop::Shutdown);
}

/// Protects other users of the processor from being watched: the counters that every AMD guest had
/// hold nothing, neither what to count nor a count. KVM takes writes to them in any case, so what
/// is read tells. Cannot tell on a KVM that never had counters.
#[test]
fn performance_counters_older_than_cpuids_bits_hold_nothing() {
    // mov ecx, msr; mov eax, 0x4300c0 (retired instructions, user and kernel, enabled); xor edx,
    // edx; wrmsr
    let write = |msr: u32| {
        let value = [0xb8, 0xc0, 0x00, 0x43, 0x00, 0x31, 0xd2, 0x0f, 0x30];
        [&[0xb9][..], &msr.to_le_bytes(), &value].concat()
    };
    // mov ecx, msr; rdmsr; or eax, edx; setnz al; then al as the workload's status
    let read = |msr: u32| {
        let nonzero = vec![0x0f, 0x32, 0x09, 0xd0, 0x0f, 0x95, 0xc0];
        [vec![0xb9], msr.to_le_bytes().to_vec(), nonzero, dx(0x604), vec![0xee]].concat()
    };
    let status = |code: &[Vec<u8>]| run(&plan(&code.concat(), 1)).map(|ran| ran.stop);
    let holds = |something| Stop::PowerOff { status: Some(u8::from(something)) };
    for (selector, counter) in (0xc001_0000..0xc001_0004).zip(0xc001_0004..) {
        let Some(stop) = status(&[write(selector), read(selector), power_off()]) else { return };
        assert_eq!(stop, holds(false), "{selector:#x}");
        let stop = status(&[write(selector), read(counter), power_off()]).unwrap();
        assert_eq!(stop, holds(false), "{counter:#x}");
    }
    // KERNEL_GS_BASE: what was written is read.
    let other = 0xc000_0102;
    assert_eq!(status(&[write(other), read(other), power_off()]), Some(holds(true)));
}

#[test]
fn unclaimed_mmio_reads_as_ones_and_ecam_shows_the_host_bridge() {
    // mov al, [rbx]; out dx, al
    let read = vec![0x8a, 0x03, 0xee];
    let code = [
        dx(0x3f8),
        rbx(0xd000_0000),
        read.clone(),
        rbx(0xe000_0000),
        read.clone(),
        rbx(0xe000_0001),
        read,
        power_off(),
    ];
    let Some(ran) = run(&plan(&code.concat(), 1)) else { return };
    assert_eq!(ran.stop, OFF);
    let seen: Vec<char> = ran.output.chars().collect();
    assert_eq!(seen, ['\u{fffd}', '\x36', '\x1b']);
}

#[test]
fn thousands_of_marks_are_told_only_as_often_as_the_guard_allows() {
    // mov ecx, 5000; 1: out dx, al; loop 1b
    let code = [dx(0x603), vec![0xb9, 0x88, 0x13, 0, 0, 0xee, 0xe2, 0xfd], power_off()].concat();
    let Some(ran) = run(&plan(&code, 1)) else { return };
    assert_eq!((ran.stop, ran.marks.len()), (OFF, 32));
}
