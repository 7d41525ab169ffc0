//! From the first instruction to the kernel's.

use crate::machine::Machine;
use crate::sha256::{Engine, sha256};
use crate::{accept, cc, e820, zero_page};
use casemate_kernel::{BzImage, Elf, KernelError, Placement};
use casemate_layout::map::{BIOS_DATA, CMDLINE, RESET_VECTOR, ZERO_PAGE};
use casemate_layout::ports::{RESET_PORT, RESET_VALUE, mark};
use casemate_layout::{Blob, KernelKind, Mode, Params, ParamsError, Range, Termination};

/// How the kernel is entered: RIP, and RSI with the zero page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First instruction.
    pub rip: u64,
    /// Address of the zero page.
    pub zero_page: u64,
}

const RSDP_SIGNATURE: &[u8] = b"RSD PTR ";

/// Does everything up to the kernel's first instruction.
///
/// # Errors
/// The [`Termination`] that the guest must end with; nothing of the kernel has run.
pub fn boot(machine: &mut impl Machine) -> Result<Entry, Termination> {
    let params = Params::decode(machine.params_page()).map_err(ParamsError::termination)?;
    if params.mode == Mode::Snp {
        cc::check_protection(machine, &params)?;
    }
    machine.map_memory(params.ram.as_slice(), params.c_bit)?;
    tell(machine, &params, mark::BOOT_CODE);
    if params.mode == Mode::Snp {
        accept::accept_ram(machine, &params)?;
    }
    tell(machine, &params, mark::ACCEPTED);
    machine.clear(BIOS_DATA)?;
    if params.mode == Mode::Plain {
        place_reset_code(machine)?;
    }
    take_blobs(machine, &params)?;
    tell(machine, &params, mark::VERIFIED);
    let (entry, header) = place_kernel(machine, &params)?;
    if params.mode == Mode::Snp && params.flags.reclaim_staging {
        accept::reclaim_staging(machine, params.staging)?;
    }
    write_zero_page(machine, &params, header.as_ref())?;
    tell(machine, &params, mark::KERNEL);
    Ok(Entry { rip: entry, zero_page: ZERO_PAGE.start })
}

/// Copies each blob, then hashes the copy.
fn take_blobs(machine: &mut impl Machine, params: &Params) -> Result<(), Termination> {
    let engine = match params.flags.sha_extensions {
        true => machine.hash_engine(),
        false => Engine::Software,
    };
    zeroed(machine, CMDLINE)?;
    let blobs = [
        (&params.cmdline, Termination::CmdlineHash),
        (&params.acpi, Termination::AcpiHash),
        (&params.kernel, Termination::KernelHash),
        (&params.initrd, Termination::InitrdHash),
    ];
    for (blob, mismatch) in blobs {
        take(machine, blob, engine, mismatch)?;
    }
    if params.cmdline.is_present() {
        let cmdline = machine.memory(params.cmdline.target()).ok_or(Termination::Internal)?;
        if cmdline.contains(&0) {
            return Err(Termination::CmdlineContents);
        }
    }
    if params.acpi.is_present() {
        let size = RSDP_SIGNATURE.len() as u64;
        let rsdp = machine.memory(Range { start: params.rsdp, size });
        if rsdp != Some(RSDP_SIGNATURE) {
            return Err(Termination::Rsdp);
        }
    }
    Ok(())
}

fn take(
    machine: &mut impl Machine,
    blob: &Blob,
    engine: Engine,
    mismatch: Termination,
) -> Result<(), Termination> {
    if !blob.is_present() {
        return Ok(());
    }
    machine.copy_staged(blob.staged, blob.destination)?;
    let copy = machine.memory(blob.target()).ok_or(Termination::Internal)?;
    if sha256(engine, copy) == blob.sha256 { Ok(()) } else { Err(mismatch) }
}

/// Puts the kernel where it runs; gives its entry, and the header of a bzImage.
fn place_kernel(
    machine: &mut impl Machine,
    params: &Params,
) -> Result<(u64, Option<BzImage>), Termination> {
    let file = machine.memory(params.kernel.target()).ok_or(Termination::Internal)?;
    match params.kernel_kind {
        KernelKind::BzImage => {
            let image = BzImage::parse(file).map_err(refusal)?;
            let place = image.place(params.kernel.target()).map_err(refusal)?;
            let Placement { entry, used } = place;
            let initrd = params.initrd.target();
            if !is_free(params, used) || initrd.end() > image.initrd_max.saturating_add(1) {
                return Err(Termination::KernelFit);
            }
            Ok((entry, Some(image)))
        }
        KernelKind::Elf => {
            let elf = Elf::parse(file).map_err(refusal)?;
            load_segments(machine, params, &elf)?;
            Ok((elf.entry, None))
        }
    }
}

/// What the guest ends with for a kernel that cannot be used.
fn refusal(error: KernelError) -> Termination {
    match error {
        KernelError::OldProtocol { .. } | KernelError::No64BitEntry => Termination::KernelProtocol,
        KernelError::DoesNotFit => Termination::KernelFit,
        _ => Termination::KernelFormat,
    }
}

/// Whether `range` is RAM with neither initrd nor staging in it.
fn is_free(params: &Params, range: Range) -> bool {
    params.ram.cover(range)
        && !range.overlaps(params.initrd.target())
        && !range.overlaps(params.staging)
}

fn load_segments(
    machine: &mut impl Machine,
    params: &Params,
    elf: &Elf,
) -> Result<(), Termination> {
    let file = params.kernel.target();
    for index in 0..elf.count() {
        let bytes = machine.memory(file).ok_or(Termination::Internal)?;
        let Some(segment) = elf.segment(bytes, index).map_err(refusal)? else { continue };
        if !is_free(params, segment.memory) || segment.memory.overlaps(file) {
            return Err(Termination::KernelFit);
        }
        let start = file.start.checked_add(segment.file.start).ok_or(Termination::Internal)?;
        machine.copy(Range { start, size: segment.file.size }, segment.memory.start)?;
        let start = segment.memory.start + segment.file.size;
        machine.clear(Range { start, size: segment.memory.end() - start })?;
    }
    Ok(())
}

fn write_zero_page(
    machine: &mut impl Machine,
    params: &Params,
    header: Option<&BzImage>,
) -> Result<(), Termination> {
    let setup_data = match params.mode {
        Mode::Plain => 0,
        Mode::Snp => cc::write_blob(machine)?,
    };
    let page = zeroed(machine, ZERO_PAGE)?;
    zero_page::fill(page, params, header, setup_data).ok_or(Termination::Internal)?;
    e820::write(page, params)
}

fn tell(machine: &mut impl Machine, params: &Params, step: u8) {
    match params.mode {
        _ if params.mark_port == 0 => {}
        Mode::Plain => machine.mark(params.mark_port, step),
        Mode::Snp => machine.mark_by_page(mark::page(step)),
    }
}

/// Real-mode code at the reset vector, as firmware has it. Linux on hardware-reduced ACPI without EFI resets by a jump
/// to it (arch/x86/kernel/reboot.c, BOOT_BIOS), unless it is told `reboot=acpi`.
fn place_reset_code(machine: &mut impl Machine) -> Result<(), Termination> {
    let [low, high] = RESET_PORT.to_le_bytes();
    // mov dx, RESET_PORT; mov al, RESET_VALUE; out dx, al; 1: hlt; jmp 1b
    let code = [0xba, low, high, 0xb0, RESET_VALUE, 0xee, 0xf4, 0xeb, 0xfd];
    let vector = zeroed(machine, RESET_VECTOR)?;
    vector.get_mut(..code.len()).ok_or(Termination::Internal)?.copy_from_slice(&code);
    Ok(())
}

fn zeroed(machine: &mut impl Machine, range: Range) -> Result<&mut [u8], Termination> {
    let memory = machine.memory_mut(range).ok_or(Termination::Internal)?;
    memory.fill(0);
    Ok(memory)
}
