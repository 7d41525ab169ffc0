//! The platform registers: ACPI sleep and reset (hardware-reduced ACPI, ACPI 6.5 §4.8.3.7), and
//! what a guest tells its host: boot marks, the exit status of its workload, refusals of the boot
//! code and of PID 1.

use crate::bus::{BusDevice, Effect};
use casemate_layout::ports;

/// The first of the ports behind which platform registers are.
pub const PLATFORM_PORT: u16 = 0x600;
/// How many ports there are.
pub const PLATFORM_SIZE: u64 = 16;

/// Offsets of the registers.
pub mod register {
    use super::{PLATFORM_PORT, ports};

    /// Sleep control, one byte: SLP_EN is bit 5, SLP_TYP bits 4:2.
    pub const SLEEP_CONTROL: u64 = 0;
    /// Sleep status, one byte.
    pub const SLEEP_STATUS: u64 = 1;
    /// Reset, one byte: [`super::RESET_VALUE`] resets.
    pub const RESET: u64 = (ports::RESET_PORT - PLATFORM_PORT) as u64;
    /// A boot mark, one byte.
    pub const MARK: u64 = (ports::MARK_PORT - PLATFORM_PORT) as u64;
    /// The workload's exit status, one byte, before the guest switches itself off.
    pub const STATUS: u64 = (ports::STATUS_PORT - PLATFORM_PORT) as u64;
    /// The refusal of PID 1, one byte, before the guest switches itself off.
    pub const REFUSAL: u64 = (ports::REFUSAL_PORT - PLATFORM_PORT) as u64;
    /// The boot code's refusal, four bytes.
    pub const BOOT_REFUSAL: u64 = (ports::REPORT_PORT - PLATFORM_PORT) as u64;
}

pub use ports::RESET_VALUE;

/// SLP_TYP of S5, as the DSDT's `_S5` object says.
pub const SLEEP_TYPE_S5: u8 = 5;
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;

/// The platform registers: power, reset, and what ACPI's fixed hardware has.
#[derive(Debug, Default)]
pub struct PlatformRegisters {
    status: Option<u8>,
    refusal: Option<u8>,
}

impl BusDevice for PlatformRegisters {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        const S5: u8 = SLEEP_ENABLE | SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT;
        match (offset, data) {
            (register::SLEEP_CONTROL, &[value]) if value & 0x3c == S5 => {
                match self.refusal {
                    // There was no workload, so there is no status of one.
                    Some(code) => Effect::Refused(code),
                    None => Effect::PowerOff { status: self.status },
                }
            }
            (register::RESET, &[RESET_VALUE]) => Effect::Reset,
            (register::MARK, &[step]) => Effect::Mark(step),
            (register::STATUS, &[status]) => {
                self.status = Some(status);
                Effect::None
            }
            (register::REFUSAL, &[code]) => {
                self.refusal = Some(code);
                Effect::None
            }
            (register::BOOT_REFUSAL, &[a, b, c, d]) => {
                Effect::BootRefused(u32::from_le_bytes([a, b, c, d]))
            }
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_powers_off_with_the_status_written_before() {
        let mut registers = PlatformRegisters::default();
        assert_eq!(registers.write(register::SLEEP_CONTROL, &[0x14]), Effect::None, "not enabled");
        assert_eq!(registers.write(register::SLEEP_CONTROL, &[0x20]), Effect::None, "not S5");
        let off = registers.write(register::SLEEP_CONTROL, &[0x34]);
        assert_eq!(off, Effect::PowerOff { status: None });
        let _ = registers.write(register::STATUS, &[7]);
        let off = registers.write(register::SLEEP_CONTROL, &[0x34]);
        assert_eq!(off, Effect::PowerOff { status: Some(7) });
    }

    #[test]
    fn registers_take_only_their_own_width() {
        let mut registers = PlatformRegisters::default();
        assert_eq!(registers.write(register::RESET, &[1, 0]), Effect::None);
        assert_eq!(registers.write(register::BOOT_REFUSAL, &[1]), Effect::None);
        assert_eq!(registers.write(register::BOOT_REFUSAL, &[1, 0, 0, 0]), Effect::BootRefused(1));
        assert_eq!(registers.write(register::REFUSAL, &[1, 0]), Effect::None);
        assert_eq!(
            registers.write(register::SLEEP_CONTROL, &[0x34]),
            Effect::PowerOff { status: None }
        );
    }

    #[test]
    fn a_refusal_of_pid_1_is_told_when_the_guest_switches_itself_off() {
        let mut registers = PlatformRegisters::default();
        assert_eq!(registers.write(register::STATUS, &[0]), Effect::None);
        assert_eq!(registers.write(register::REFUSAL, &[6]), Effect::None);
        assert_eq!(registers.write(register::SLEEP_CONTROL, &[0x34]), Effect::Refused(6));
    }
}
