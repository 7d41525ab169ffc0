//! One body per exit variant: build what the kernel would put into `kvm_run`, translate, dispatch,
//! check.

use crate::run_bytes::{IO_DATA, RunBytes, U};
use crate::world::{RAM, RECORDER_MMIO, RECORDER_PORT, World};
use arbitrary::{Result, Unstructured};
use casemate_attestation::evidence::GuestCertTable;
use casemate_hypervisor::exits::{Exit, Outcome, PageRule, Stop};
use casemate_hypervisor::memory::{GpaRange, HOLE_END, HOLE_START, PAGE_SIZE, Refusal, Visibility};

/// Runs `body` on structured input; input too short for it is no test.
fn structured(data: &[u8], body: impl FnOnce(&mut Unstructured) -> Result<()>) {
    let _ = body(&mut Unstructured::new(data));
}

/// A port: nine of ten times near a device.
fn port(u: &mut Unstructured) -> Result<u16> {
    const BASES: [u16; 4] = [RECORDER_PORT, 0x3f8, 0x600, 0xcf8];
    if u.ratio(9, 10)? {
        let base = *u.choose(&BASES)?;
        Ok(base.wrapping_add(u.int_in_range(0..=0x50)?).wrapping_sub(8))
    } else {
        u.arbitrary()
    }
}

/// An address: nine of ten times near a border.
fn address(u: &mut Unstructured) -> Result<u64> {
    const BASES: [u64; 8] =
        [0, HOLE_START, HOLE_END, RAM, RECORDER_MMIO, 0xe000_0000, HOLE_END + (64 << 20), u64::MAX];
    if u.ratio(9, 10)? {
        let base = *u.choose(&BASES)?;
        Ok(base.wrapping_add(u.int_in_range(0..=0x3000_u64)?).wrapping_sub(0x1000))
    } else {
        u.arbitrary()
    }
}

fn io(u: &mut Unstructured, out: bool) -> Result<()> {
    let world = World::new(None);
    for _ in 0..u.int_in_range(1..=8)? {
        let (port, width) = (port(u)?, u.int_in_range(0..=7_u8)?);
        let count: u32 = if u.ratio(9, 10)? { u.int_in_range(0..=600)? } else { u.arbitrary()? };
        let offset: u64 = if u.ratio(9, 10)? { IO_DATA as u64 } else { u.arbitrary()? };
        let mut run = RunBytes::new(2);
        run.put(U, &[u8::from(out), width]).put(U + 2, &port.to_le_bytes());
        run.put_u32(U + 4, count).put_u64(U + 8, offset);
        let bytes: [u8; 64] = u.arbitrary()?;
        run.put(IO_DATA, &bytes);
        let seen = world.accesses().len();
        let exit = Exit::decode(Ok(()), run.area());
        let malformed = matches!(exit, Exit::Unknown(_));
        let outcome = world.handle(exit);
        if malformed {
            assert_eq!(outcome, Outcome::Stop(Stop::UnexpectedExit { reason: 2 }));
            return Ok(());
        }
        let accesses = world.accesses();
        let elements = accesses.len() - seen;
        assert!(elements <= count as usize, "more accesses than elements");
        assert!(
            accesses
                .iter()
                .skip(seen)
                .all(|(_, len, write)| *len == width as usize && *write == out)
        );
        let stops = out && (0x600..0x610).contains(&port);
        assert!(stops || outcome == Outcome::Resume, "only the platform registers stop a VM");
        let nobody = accesses.len() == seen
            && !(0x3f0..0x400).contains(&port)
            && !(0x5f0..0x610).contains(&port);
        if !out && nobody && offset == IO_DATA as u64 {
            let len = (count as usize * width as usize).min(4096);
            assert!(
                run.get(IO_DATA, len).iter().all(|b| *b == 0xff),
                "an empty port reads as ones"
            );
        }
    }
    Ok(())
}

/// Port input.
pub fn io_in(data: &[u8]) {
    structured(data, |u| io(u, false));
}

/// Port output.
pub fn io_out(data: &[u8]) {
    structured(data, |u| io(u, true));
}

fn mmio(u: &mut Unstructured, write: bool) -> Result<()> {
    let world = World::new(None);
    for _ in 0..u.int_in_range(1..=16)? {
        let address = address(u)?;
        let len: u32 = if u.ratio(9, 10)? { u.int_in_range(0..=8)? } else { u.arbitrary()? };
        let mut run = RunBytes::new(6);
        run.put_u64(U, address).put_u64(U + 8, u.arbitrary()?);
        run.put_u32(U + 16, len).put(U + 20, &[u8::from(write)]);
        let before = run.get(U + 16, 8).to_vec();
        let seen = world.accesses().len();
        let outcome = world.handle(Exit::decode(Ok(()), run.area()));
        assert_eq!(outcome, Outcome::Resume, "no device behind MMIO stops a VM");
        assert!(world.accesses().len() - seen <= 1, "one access is one access");
        assert_eq!(run.get(U + 16, 8), before, "a read wrote beyond its eight bytes");
        if !write && world.machine.ram.covers(page_of(address)) {
            let len = len.min(8) as usize;
            assert!(run.get(U + 8, len).iter().all(|b| *b == 0xff), "RAM was read through MMIO");
        }
    }
    Ok(())
}

/// MMIO read.
pub fn mmio_read(data: &[u8]) {
    structured(data, |u| mmio(u, false));
}

/// MMIO write.
pub fn mmio_write(data: &[u8]) {
    structured(data, |u| mmio(u, true));
}

fn page_of(address: u64) -> GpaRange {
    let page = (address & !(PAGE_SIZE - 1)).min(u64::MAX - 2 * PAGE_SIZE + 1);
    GpaRange::new(page, PAGE_SIZE).unwrap()
}

/// The pages of a request by plain arithmetic in 128 bits: an independent answer to "is all of it
/// RAM?".
fn all_ram(gpa: u64, pages: u64) -> bool {
    let (start, end) = (u128::from(gpa), u128::from(gpa) + u128::from(pages) * 4096);
    let inside = |from: u64, to: u64| start >= u128::from(from) && end <= u128::from(to);
    pages > 0
        && gpa.is_multiple_of(4096)
        && (inside(0, HOLE_START) || inside(HOLE_END, HOLE_END + (RAM - HOLE_START)))
}

/// Hypercalls, MAP_GPA_RANGE above all.
pub fn hypercall(data: &[u8]) {
    structured(data, |u| {
        let answer = *u.choose(&[
            None,
            None,
            None,
            Some(Refusal::NotConfidential),
            Some(Refusal::RateLimit(PageRule::Changes)),
            Some(Refusal::Denied(PageRule::Shared)),
            Some(Refusal::Killed(PageRule::Changes)),
            Some(Refusal::Kernel(12)),
        ])?;
        let world = World::new(answer);
        for _ in 0..u.int_in_range(1..=200)? {
            let number: u64 = if u.ratio(9, 10)? { 12 } else { u.arbitrary()? };
            let mut gpa = address(u)?;
            if u.ratio(9, 10)? {
                gpa &= !0xfff;
            }
            let pages: u64 =
                if u.ratio(8, 10)? { u.int_in_range(0..=0x5000)? } else { u.arbitrary()? };
            let attributes: u64 =
                if u.ratio(9, 10)? { u.int_in_range(0..=0x1f)? } else { u.arbitrary()? };
            let mut run = RunBytes::new(3);
            run.put_u64(U, number)
                .put_u64(U + 8, gpa)
                .put_u64(U + 16, pages)
                .put_u64(U + 24, attributes);
            run.put_u64(U + 56, u.arbitrary()?);
            let (before, denied) = (world.changes().len(), world.denied());
            let outcome = world.handle(Exit::decode(Ok(()), run.area()));
            let named = number == 12 && attributes >> 5 == 0 && all_ram(gpa, pages);
            let ends = named && matches!(answer, Some(Refusal::Killed(_)));
            let stop = Outcome::Stop(Stop::PageStateLimit);
            assert_eq!(outcome, if ends { stop } else { Outcome::Resume });
            let by_policy = named && answer.is_some_and(|refusal| refusal.denied_by().is_some());
            assert_eq!(world.denied() - denied, u32::from(by_policy), "each denial is told");
            let reply = run.u64(U + 56);
            assert!(matches!(reply, 0 | 11 | 22), "KVM refuses the reply {reply}");
            let good = named && answer.is_none();
            assert_eq!(reply == 0, good, "{number} {gpa:#x} {pages:#x} {attributes:#x}");
            let changes = world.changes();
            assert_eq!(changes.len() - before, usize::from(good));
            if good {
                let to =
                    if attributes & 16 != 0 { Visibility::Private } else { Visibility::Shared };
                let range = GpaRange::new(gpa, pages * PAGE_SIZE).unwrap();
                assert_eq!(changes.last(), Some(&(range, to)));
            }
        }
        Ok(())
    });
}

/// Memory faults.
pub fn memory_fault(data: &[u8]) {
    structured(data, |u| {
        let answer = if u.ratio(1, 5)? { Some(Refusal::Kernel(12)) } else { None };
        let world = World::new(answer);
        for _ in 0..u.int_in_range(1..=64)? {
            let gpa = address(u)?;
            let size: u64 = if u.ratio(9, 10)? { 4096 } else { u.arbitrary()? };
            let flags: u64 = u.arbitrary()?;
            let errno = *u.choose(&[14, 133])?;
            let mut run = RunBytes::new(39);
            run.put_u64(U, flags).put_u64(U + 8, gpa).put_u64(U + 16, size);
            let before = world.changes().len();
            let outcome = world.handle(Exit::decode(Err(errno), run.area()));
            let served = size <= 1 << 30 && all_ram(gpa, size.div_ceil(4096)) && answer.is_none();
            assert_eq!(outcome == Outcome::Resume, served);
            assert_eq!(world.changes().len() - before, usize::from(served));
        }
        Ok(())
    });
}

/// System events.
pub fn system_event(data: &[u8]) {
    structured(data, |u| {
        let world = World::new(None);
        let kind: u32 = if u.ratio(9, 10)? { u.int_in_range(0..=8)? } else { u.arbitrary()? };
        let value: u64 = u.arbitrary()?;
        let mut run = RunBytes::new(24);
        run.put_u32(U, kind).put_u32(U + 4, u.arbitrary()?).put_u64(U + 8, value);
        let outcome = world.handle(Exit::decode(Ok(()), run.area()));
        let Outcome::Stop(stop) = outcome else { panic!("an event of the whole VM must stop it") };
        if let Stop::Terminated { set, code } = stop {
            assert_eq!(kind, 6);
            assert!(set < 16 && (code == 0 || value & 0xfff == 0x100));
        }
        Ok(())
    });
}

/// A certificate table of `size` bytes with one entry.
fn cert_table(size: usize) -> GuestCertTable {
    let mut bytes = vec![0; size.max(64)];
    bytes[..16].fill(0x11);
    bytes[16..20].copy_from_slice(&48_u32.to_le_bytes());
    let contents = bytes.len() as u32 - 48;
    bytes[20..24].copy_from_slice(&contents.to_le_bytes());
    GuestCertTable::new(bytes).unwrap()
}

/// Certificate requests: one legal answer; the table is written once, whole, where the guest says,
/// or not at all.
pub fn req_certs(data: &[u8]) {
    structured(data, |u| {
        let answer = *u.choose(&[None, None, Some(Refusal::NotShared), Some(Refusal::NotRam)])?;
        let mut world = World::new(answer);
        let size = u.int_in_range(0..=0x4000_usize)?;
        if size > 0 {
            world.machine.certs = Some(cert_table(size));
        }
        let table = world.machine.certs.as_ref().map_or(0, |table| table.bytes().len());
        for _ in 0..u.int_in_range(1..=4)? {
            let gpa = address(u)?;
            let pages: u64 = if u.ratio(9, 10)? { u.int_in_range(0..=6)? } else { u.arbitrary()? };
            let mut run = RunBytes::new(43);
            run.put_u64(U, gpa).put_u64(U + 8, pages).put_u64(U + 16, u.arbitrary()?);
            let before = world.written().len();
            assert_eq!(world.handle(Exit::decode(Ok(()), run.area())), Outcome::Resume);
            let needed = table.div_ceil(4096) as u64;
            let expected = match table {
                0 => 5,
                _ if pages < needed => 28,
                // No guest physical address has more than 52 bits.
                _ if gpa >= 1 << 52 => 5,
                _ if answer.is_some() => 5,
                _ => 0,
            };
            assert_eq!(run.u64(U + 16), expected, "KVM_RUN fails with anything but 0, 5, 11, 28");
            assert!(expected != 28 || run.u64(U + 8) == needed, "the guest must learn how many");
            let written = world.written();
            assert_eq!(written.len() - before, usize::from(expected == 0));
            assert!(expected != 0 || written.last() == Some(&(gpa, table)));
            assert!(world.changes().is_empty());
        }
        Ok(())
    });
}

fn msr(data: &[u8], reason: u32) {
    structured(data, |u| {
        let world = World::new(None);
        let mut run = RunBytes::new(reason);
        run.put_u32(U + 8, u.arbitrary()?)
            .put_u32(U + 12, u.arbitrary()?)
            .put_u64(U + 16, u.arbitrary()?);
        let index = run.get(U + 8, 16).to_vec();
        assert_eq!(world.handle(Exit::decode(Ok(()), run.area())), Outcome::Resume);
        assert_eq!(run.get(U, 1), [1], "the guest must get #GP");
        assert_eq!(run.get(U + 8, 16), index);
        Ok(())
    });
}

/// MSR reads.
pub fn rdmsr(data: &[u8]) {
    msr(data, 29);
}

/// MSR writes.
pub fn wrmsr(data: &[u8]) {
    msr(data, 30);
}

/// An exit that must stop the VM whatever its data is.
fn always_stops(data: &[u8], reason: u32) {
    let world = World::new(None);
    let mut run = RunBytes::new(reason);
    run.put(U, data.get(..64.min(data.len())).unwrap_or(&[]));
    assert!(matches!(world.handle(Exit::decode(Ok(()), run.area())), Outcome::Stop(_)));
}

/// An exit that never stops the VM whatever its data is.
fn always_resumes(data: &[u8], reason: u32) {
    let world = World::new(None);
    let mut run = RunBytes::new(reason);
    run.put(U, data.get(..64.min(data.len())).unwrap_or(&[]));
    assert_eq!(world.handle(Exit::decode(Ok(()), run.area())), Outcome::Resume);
}

/// Debug events.
pub fn debug(data: &[u8]) {
    always_stops(data, 4);
}

/// HLT without an in-kernel APIC.
pub fn hlt(data: &[u8]) {
    always_stops(data, 5);
}

/// Triple fault.
pub fn shutdown(data: &[u8]) {
    always_stops(data, 8);
}

/// Failed entry.
pub fn fail_entry(data: &[u8]) {
    always_stops(data, 9);
}

/// KVM's internal errors.
pub fn internal_error(data: &[u8]) {
    always_stops(data, 17);
}

/// Interrupted runs.
pub fn intr(data: &[u8]) {
    always_resumes(data, 10);
    let world = World::new(None);
    for errno in [4, 11] {
        let mut run = RunBytes::raw(data);
        assert_eq!(world.handle(Exit::decode(Err(errno), run.area())), Outcome::Resume);
    }
}

/// IOAPIC end of interrupt.
pub fn ioapic_eoi(data: &[u8]) {
    always_resumes(data, 26);
}

/// KVM_RUN errnos, with whatever a stale `kvm_run` holds.
pub fn errno(data: &[u8]) {
    structured(data, |u| {
        let errno: i32 = if u.ratio(9, 10)? { u.int_in_range(1..=133)? } else { u.arbitrary()? };
        let mut run = RunBytes::raw(u.bytes(u.len().min(512))?);
        let world = World::new(None);
        let exit = Exit::decode(Err(errno), run.area());
        let name = exit.name();
        let outcome = world.handle(exit);
        match name {
            "intr" => assert!(matches!(errno, 4 | 11)),
            "memory_fault" => assert!(matches!(errno, 14 | 133)),
            _ => assert_eq!(outcome, Outcome::Stop(Stop::RunFailed { errno })),
        }
        Ok(())
    });
}

/// Exit reasons beyond the known ones.
pub fn unknown(data: &[u8]) {
    structured(data, |u| {
        let reason: u32 = if u.ratio(1, 2)? { u.int_in_range(0..=64)? } else { u.arbitrary()? };
        let mut run = RunBytes::new(reason);
        let known = [2, 3, 4, 5, 6, 8, 9, 10, 17, 24, 26, 29, 30, 43].contains(&reason);
        let exit = Exit::decode(Ok(()), run.area());
        if !known {
            let outcome = World::new(None).handle(exit);
            assert_eq!(outcome, Outcome::Stop(Stop::UnexpectedExit { reason }));
        }
        Ok(())
    });
}

/// Arbitrary `kvm_run` bytes into the translation, and the result into its handler.
pub fn kvm_run_raw(data: &[u8]) {
    structured(data, |u| {
        let result = if u.ratio(3, 4)? { Ok(()) } else { Err(u.arbitrary()?) };
        let mut run = RunBytes::raw(u.bytes(u.len().min(4096 + 512))?);
        let exit = Exit::decode(result, run.area());
        assert!(casemate_hypervisor::exits::EXITS.contains(&exit.name()));
        let _ = World::new(None).handle(exit);
        Ok(())
    });
}
