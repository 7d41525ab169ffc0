//! From the first instruction to the kernel's.

use crate::machine::Machine;
use crate::paging::WINDOW_BYTES;
use crate::sha256::{Engine, Hash};
use crate::{accept, cc, e820, zero_page};
use casemate_kernel::{BzImage, Elf, KernelError};
use casemate_layout::map::{BIOS_DATA, CMDLINE, RESET_VECTOR, ZERO_PAGE};
use casemate_layout::ports::{RESET_PORT, RESET_VALUE, mark};
use casemate_layout::{
    KernelKind, MapError, MemoryMap, Mode, Params, ParamsError, Place, Places, Range, Termination,
};

/// How the kernel is entered: RIP, and RSI with the zero page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Address of the kernel's first instruction, in its 64-bit entry.
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
    let bits = match params.mode {
        Mode::Plain => machine.address_bits(),
        Mode::Snp => {
            cc::check_protection(machine, &params)?;
            // RAM ends below the C-bit at the latest: an address that has it is another page's.
            cc::address_bits(machine)?.min(params.c_bit)
        }
    };
    // From here on the host's map is this copy, whatever the host makes of the original.
    let map = MemoryMap::decode(&machine.copy_map(), bits).map_err(MapError::termination)?;
    let places = params.places(map.ram()).map_err(MapError::termination)?;
    machine.map_memory(map.ram(), params.c_bit)?;
    tell(machine, &params, mark::BOOT_CODE);
    if params.mode == Mode::Snp {
        accept::accept_ram(machine, map.ram(), places.window)?;
    }
    tell(machine, &params, mark::ACCEPTED);
    machine.clear(BIOS_DATA)?;
    if params.mode == Mode::Plain {
        place_reset_code(machine)?;
    }
    take_blobs(machine, &params, &places)?;
    tell(machine, &params, mark::VERIFIED);
    let (entry, header) = place_kernel(machine, &params, places.kernel.target)?;
    if params.mode == Mode::Snp {
        accept::reclaim_staging(machine, places.window)?;
    }
    write_zero_page(machine, &params, places.initrd.target, header.as_ref(), map.ram())?;
    tell(machine, &params, mark::KERNEL);
    Ok(Entry { rip: entry, zero_page: ZERO_PAGE.start })
}

/// Copies each blob, then hashes the copy.
fn take_blobs(
    machine: &mut impl Machine,
    params: &Params,
    places: &Places,
) -> Result<(), Termination> {
    let engine = match params.sha_extensions {
        true => machine.hash_engine(),
        false => Engine::Software,
    };
    zeroed(machine, CMDLINE)?;
    let blobs = [
        (&places.cmdline, &params.cmdline, Termination::CmdlineHash),
        (&places.acpi, &params.acpi, Termination::AcpiHash),
        (&places.kernel, &params.kernel, Termination::KernelHash),
        (&places.initrd, &params.initrd, Termination::InitrdHash),
    ];
    for (place, blob, mismatch) in blobs {
        if blob.is_present() && take(machine, place, engine)? != blob.sha256 {
            return Err(mismatch);
        }
    }
    if params.cmdline.is_present() {
        let cmdline = machine.memory(places.cmdline.target).ok_or(Termination::Internal)?;
        #[allow(
            clippy::manual_contains,
            reason = "that brings a search by words, which is measured"
        )]
        if cmdline.iter().any(|byte| *byte == 0) {
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

/// Copies what is staged to its place, and gives the hash of the copy. In parts that end where a
/// GiB does: memory above 4 GiB is seen through a window of that size. All parts but the last are
/// whole pages, and so whole blocks.
fn take(
    machine: &mut impl Machine,
    place: &Place,
    engine: Engine,
) -> Result<[u8; 32], Termination> {
    let (mut from, mut to) = (place.staged, place.target);
    let mut hash = Hash::new(engine);
    loop {
        let size = WINDOW_BYTES - to.start % WINDOW_BYTES;
        let ((source, more), (target, rest)) = (from.split(size), to.split(size));
        machine.copy_staged(source, target.start)?;
        let copy = machine.far_memory(target).ok_or(Termination::Internal)?;
        let tail = hash.take(copy);
        if rest.size == 0 {
            return Ok(hash.finish(tail));
        }
        (from, to) = (more, rest);
    }
}

/// Moves the kernel from its file to where it runs; gives its entry, and the header of a bzImage.
fn place_kernel(
    machine: &mut impl Machine,
    params: &Params,
    file: Range,
) -> Result<(u64, Option<BzImage>), Termination> {
    let bytes = machine.memory(file).ok_or(Termination::Internal)?;
    match params.kernel_kind {
        KernelKind::BzImage => {
            let image = BzImage::parse(bytes).map_err(refusal)?;
            let load = params.kernel_memory.start;
            let place = image.place(load).map_err(refusal)?;
            if !params.kernel_memory.contains(place.used) {
                return Err(Termination::KernelFit);
            }
            let (_, code) = file.split(image.setup_bytes);
            machine.copy(code, load)?;
            Ok((place.entry, Some(image)))
        }
        KernelKind::Elf => {
            let elf = Elf::parse(bytes).map_err(refusal)?;
            load_segments(machine, params, &elf, file)?;
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

fn load_segments(
    machine: &mut impl Machine,
    params: &Params,
    elf: &Elf,
    file: Range,
) -> Result<(), Termination> {
    for index in 0..elf.count() {
        let bytes = machine.memory(file).ok_or(Termination::Internal)?;
        let Some(segment) = elf.segment(bytes, index).map_err(refusal)? else { continue };
        if !params.kernel_memory.contains(segment.memory) {
            return Err(Termination::KernelFit);
        }
        let (_, from) = file.split(segment.file.start);
        let (from, _) = from.split(segment.file.size);
        machine.copy(from, segment.memory.start)?;
        let (_, rest) = segment.memory.split(from.size);
        machine.clear(rest)?;
    }
    Ok(())
}

fn write_zero_page(
    machine: &mut impl Machine,
    params: &Params,
    initrd: Range,
    header: Option<&BzImage>,
    ram: &[Range],
) -> Result<(), Termination> {
    let setup_data = match params.mode {
        Mode::Plain => 0,
        Mode::Snp => cc::write_blob(machine)?,
    };
    let page = zeroed(machine, ZERO_PAGE)?;
    zero_page::fill(page, params.rsdp, initrd, header, setup_data).ok_or(Termination::Internal)?;
    e820::write(page, ram)
}

fn tell(machine: &mut impl Machine, params: &Params, step: u8) {
    match params.mode {
        _ if params.mark_port == 0 => {}
        Mode::Plain => machine.mark(params.mark_port, step),
        Mode::Snp => machine.mark_by_page(mark::page(step)),
    }
}

/// Real-mode code at the reset vector, as firmware has it. Linux on hardware-reduced ACPI without
/// EFI resets by a jump to it (arch/x86/kernel/reboot.c, BOOT_BIOS), unless it is told
/// `reboot=acpi`.
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
