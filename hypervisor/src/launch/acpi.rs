//! ACPI tables: RSDP, XSDT, FADT (hardware-reduced), MADT, MCFG, DSDT (ACPI 6.5).
//!
//! The tables are one blob to be placed at a given address. They describe no more than is there:
//! processors, an IOAPIC, the ECAM window, the serial port, the power button, and how to switch off
//! and reset.

use crate::devices::pci_root::{ECAM_BASE, ECAM_SIZE};
use crate::devices::platform::{
    PLATFORM_PORT, PLATFORM_SIZE, RESET_VALUE, SLEEP_TYPE_S5, register,
};
use crate::devices::{POWER_BUTTON_GSI, SERIAL_GSI, SERIAL_PORT};
use crate::memory::HOLE_START;
use acpi_tables::aml::{
    Arg, Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name, Notify, Package, Path,
    ResourceTemplate, Scope, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace as GasSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use casemate_layout::{Range, map};

const OEM: [u8; 6] = *b"CSMATE";
const TABLE: [u8; 8] = *b"CASEMATE";
const REVISION: u32 = 1;
/// Local interrupt controllers named by an 8-bit id.
const MAX_APIC_ID: u32 = 254;
/// Where tables start: each on its own 64-byte line.
const TABLE_ALIGN: u64 = 64;

/// The tables, and where the RSDP is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiTables {
    /// The blob, for the address it was built for.
    pub bytes: Vec<u8>,
    /// Guest physical address of the RSDP.
    pub rsdp: u64,
}

/// Builds the tables for `vcpus` processors, to be placed at `base`.
#[must_use]
pub fn build(base: u64, vcpus: u32) -> AcpiTables {
    let mut blob = Blob { base, bytes: Vec::new() };
    let dsdt = blob.add(&dsdt());
    let tables = [
        blob.add(&fadt(dsdt)),
        blob.add(&table_bytes(&madt(vcpus))),
        blob.add(&table_bytes(&mcfg())),
    ];
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    for table in tables {
        xsdt.add_entry(table);
    }
    let xsdt = blob.add(&table_bytes(&xsdt));
    let rsdp = blob.add(&table_bytes(&Rsdp::new(OEM, xsdt)));
    AcpiTables { bytes: blob.bytes, rsdp }
}

struct Blob {
    base: u64,
    bytes: Vec<u8>,
}

impl Blob {
    /// Appends a table; gives its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let at = (self.bytes.len() as u64).next_multiple_of(TABLE_ALIGN);
        self.bytes.resize(usize::try_from(at).unwrap_or(usize::MAX), 0);
        self.bytes.extend_from_slice(table);
        self.base + at
    }
}

fn table_bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn port_register(offset: u64) -> GAS {
    let port = u64::from(PLATFORM_PORT) + offset;
    GAS::new(GasSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port)
}

fn fadt(dsdt: u64) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Wbinvd)
        // The power button is a device in the DSDT, not a fixed feature.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    // IAPC_BOOT_ARCH: no VGA (bit 2), no CMOS RTC (bit 5); no 8042 and no legacy devices by leaving
    // bits 1:0 clear.
    fadt.iapc_boot_arch = (1_u16 << 2 | 1 << 5).into();
    fadt.reset_reg = port_register(register::RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port_register(register::SLEEP_CONTROL);
    fadt.sleep_status_reg = port_register(register::SLEEP_STATUS);
    table_bytes(&fadt.finalize())
}

/// First address of a range in the device hole, which ends at 4 GiB.
fn below_4_gib(range: Range) -> u32 {
    u32::try_from(range.start).unwrap_or(u32::MAX)
}

fn madt(vcpus: u32) -> MADT {
    let mut madt = MADT::new(
        OEM,
        TABLE,
        REVISION,
        LocalInterruptController::Address(below_4_gib(map::LOCAL_APIC)),
    );
    for id in 0..vcpus.min(MAX_APIC_ID) {
        let id = u8::try_from(id).unwrap_or(u8::MAX);
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, below_4_gib(map::IOAPIC), 0));
    madt
}

fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM, TABLE, REVISION);
    mcfg.add_ecam(ECAM_BASE, 0, 0, 0);
    mcfg
}

fn dsdt() -> Vec<u8> {
    let sleep = SLEEP_TYPE_S5;
    let s5 = Name::new("_S5_".into(), &Package::new(vec![&sleep, &ZERO, &ZERO, &ZERO]));
    let mut body = Vec::new();
    s5.to_aml_bytes(&mut body);
    system_bus(&mut body);
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, TABLE, REVISION);
    dsdt.append_slice(&body);
    dsdt.as_slice().to_vec()
}

fn system_bus(body: &mut Vec<u8>) {
    let serial_port = IO::new(SERIAL_PORT, SERIAL_PORT, 0, 8);
    let serial_line = Interrupt::new(true, true, false, false, SERIAL_GSI);
    let serial = Device::new(
        "COM1".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&serial_port, &serial_line])),
        ],
    )
    .bytes();
    let button = Device::new(
        "PWRB".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C0C")),
            &Name::new("_UID".into(), &ZERO),
        ],
    )
    .bytes();
    let button_line = Interrupt::new(true, true, false, false, POWER_BUTTON_GSI);
    // Generic Event Device: its only interrupt is the power button (ACPI 6.5 §5.6.9).
    let events = Device::new(
        "GED_".into(),
        vec![
            &Name::new("_HID".into(), &"ACPI0013"),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&button_line])),
            &Method::new(
                "_EVT".into(),
                1,
                true,
                vec![&Notify::new(&Path::new("\\_SB_.PWRB"), &0x80_u8), &Arg(0)],
            ),
        ],
    )
    .bytes();
    let parts = [serial, button, events, pci_root(), motherboard()].map(Raw);
    let children: Vec<&dyn Aml> = parts.iter().map(|part| part as &dyn Aml).collect();
    Scope::new("_SB_".into(), children).to_aml_bytes(body);
}

/// Host bridge of segment 0, bus 0. The windows are where device functions get their fixed BARs.
fn pci_root() -> Vec<u8> {
    let window = aml::AddressSpace::new_memory(
        aml::AddressSpaceCacheable::NotCacheable,
        true,
        u32::try_from(HOLE_START).unwrap_or(u32::MAX),
        u32::try_from(ECAM_BASE - 1).unwrap_or(u32::MAX),
        None,
    );
    Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_SEG".into(), &ZERO),
            &Name::new("_BBN".into(), &ZERO),
            &Name::new("_UID".into(), &ZERO),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &aml::AddressSpace::new_bus_number(0_u16, 0_u16),
                    &window,
                ]),
            ),
        ],
    )
    .bytes()
}

/// Linux uses an ECAM window only when a motherboard resource reserves it; the platform registers
/// likewise.
fn motherboard() -> Vec<u8> {
    let ecam = Memory32Fixed::new(
        true,
        u32::try_from(ECAM_BASE).unwrap_or(u32::MAX),
        u32::try_from(ECAM_SIZE).unwrap_or(u32::MAX),
    );
    let ports = IO::new(PLATFORM_PORT, PLATFORM_PORT, 0, u8::try_from(PLATFORM_SIZE).unwrap_or(0));
    Device::new(
        "MBRD".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ecam, &ports])),
        ],
    )
    .bytes()
}

/// AML that is encoded already.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

/// Encodes while the parts it refers to are alive.
trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

impl<T: Aml> Bytes for T {
    fn bytes(&self) -> Vec<u8> {
        table_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn every_table_has_a_right_checksum_and_is_reached_from_the_rsdp() {
        let base = 0xe_0000;
        let tables = build(base, 3);
        let at = |address: u64| &tables.bytes[usize::try_from(address - base).unwrap()..];
        let length = |table: &[u8]| u32::from_le_bytes(table[4..8].try_into().unwrap()) as usize;
        let rsdp = at(tables.rsdp);
        assert_eq!(&rsdp[..8], b"RSD PTR ");
        assert_eq!(sum(&rsdp[..36]), 0);
        let xsdt = at(u64::from_le_bytes(rsdp[24..32].try_into().unwrap()));
        let xsdt = &xsdt[..length(xsdt)];
        assert_eq!((&xsdt[..4], sum(xsdt)), (&b"XSDT"[..], 0));
        let mut names = Vec::new();
        for entry in xsdt[36..].chunks(8) {
            let table = at(u64::from_le_bytes(entry.try_into().unwrap()));
            let table = &table[..length(table)];
            assert_eq!(sum(table), 0);
            names.push(table[..4].to_vec());
            if table.starts_with(b"FACP") {
                let dsdt = at(u64::from_le_bytes(table[140..148].try_into().unwrap()));
                let dsdt = &dsdt[..length(dsdt)];
                assert_eq!((&dsdt[..4], sum(dsdt)), (&b"DSDT"[..], 0));
            }
        }
        assert_eq!(names, [b"FACP", b"APIC", b"MCFG"]);
    }

    #[test]
    fn tables_are_the_same_every_time() {
        assert_eq!(build(0xe_0000, 4), build(0xe_0000, 4));
    }
}
