//! A guest that follows a script: a few instructions that read steps from memory and do each. It
//! drives a device as a kernel's driver does, without a kernel.

use crate::guests::{CODE, power_off};

/// Where the script is.
pub const SCRIPT: u64 = 0x12_0000;

/// The steps of a guest, in order.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<u8>);

impl Script {
    fn step(mut self, kind: u64, address: u64, value: u64) -> Self {
        for word in [kind, address, value] {
            self.0.extend_from_slice(&word.to_le_bytes());
        }
        self
    }

    /// Writes 1, 2, 4 or 8 bytes.
    pub fn write(self, width: u64, address: u64, value: u64) -> Self {
        let kind = match width {
            1 => 1,
            2 => 2,
            4 => 3,
            8 => 4,
            _ => panic!("no such width"),
        };
        self.step(kind, address, value)
    }

    /// Writes bytes one by one.
    pub fn bytes(self, address: u64, bytes: &[u8]) -> Self {
        (address..)
            .zip(bytes)
            .fold(self, |script, (at, byte)| script.write(1, at, u64::from(*byte)))
    }

    /// Waits until the byte there is this.
    pub fn wait_u8(self, address: u64, value: u8) -> Self {
        self.step(5, address, value.into())
    }

    /// Waits until the two bytes there are this.
    pub fn wait_u16(self, address: u64, value: u16) -> Self {
        self.step(6, address, value.into())
    }

    /// Waits until some of these bits are set in the four bytes there.
    pub fn wait_bits(self, address: u64, bits: u32) -> Self {
        self.step(9, address, bits.into())
    }

    /// Writes memory to the serial port.
    pub fn print(self, address: u64, len: u64) -> Self {
        self.step(7, address, len)
    }

    /// Ends the guest by a triple fault unless the four bytes there are this.
    pub fn expect_u32(self, address: u64, value: u32) -> Self {
        self.step(8, address, value.into())
    }

    /// The script's bytes, for [`SCRIPT`].
    pub fn memory(&self) -> Vec<u8> {
        // What follows is zeros: step 0, switch off.
        [&self.0[..], &[0; 24]].concat()
    }
}

/// The code that follows the script and switches off, for [`CODE`].
pub fn interpreter() -> Vec<u8> {
    interpreter_then(&power_off())
}

/// The same with other code behind the script.
pub fn interpreter_then(end: &[u8]) -> Vec<u8> {
    let steps: [(u8, &[u8]); 9] = [
        // mov [rbx], cl / cx / ecx / rcx
        (1, &[0x88, 0x0b]),
        (2, &[0x66, 0x89, 0x0b]),
        (3, &[0x89, 0x0b]),
        (4, &[0x48, 0x89, 0x0b]),
        // 1: mov dl, [rbx]; cmp dl, cl; jne 1b
        (5, &[0x8a, 0x13, 0x38, 0xca, 0x75, 0xfa]),
        // 1: mov dx, [rbx]; cmp dx, cx; jne 1b
        (6, &[0x66, 0x8b, 0x13, 0x66, 0x39, 0xca, 0x75, 0xf8]),
        // 1: test rcx, rcx; jz 2f; mov al, [rbx]; mov dx, 0x3f8; out dx, al; inc rbx; dec rcx;
        // jmp 1b; 2:
        (
            7,
            &[
                0x48, 0x85, 0xc9, 0x74, 0x0f, 0x8a, 0x03, 0x66, 0xba, 0xf8, 0x03, 0xee, 0x48, 0xff,
                0xc3, 0x48, 0xff, 0xc9, 0xeb, 0xec,
            ],
        ),
        // mov edx, [rbx]; cmp edx, ecx; je 1f; ud2; 1:
        (8, &[0x8b, 0x13, 0x39, 0xca, 0x74, 0x02, 0x0f, 0x0b]),
        // 1: mov edx, [rbx]; test edx, ecx; jz 1b
        (9, &[0x8b, 0x13, 0x85, 0xca, 0x74, 0xfa]),
    ];
    // mov rsi, SCRIPT
    let mut code = [&[0x48, 0xbe][..], &SCRIPT.to_le_bytes()].concat();
    let top = code.len();
    // mov rax, [rsi]; mov rbx, [rsi + 8]; mov rcx, [rsi + 16]; add rsi, 24
    code.extend_from_slice(&[0x48, 0x8b, 0x06, 0x48, 0x8b, 0x5e, 0x08]);
    code.extend_from_slice(&[0x48, 0x8b, 0x4e, 0x10, 0x48, 0x83, 0xc6, 0x18]);
    for (kind, body) in steps {
        // cmp al, kind; jne over body and the jump back
        let len = u8::try_from(body.len() + 5).unwrap();
        code.extend_from_slice(&[0x3c, kind, 0x75, len]);
        code.extend_from_slice(body);
        let back = i32::try_from(top).unwrap() - i32::try_from(code.len() + 5).unwrap();
        code.push(0xe9);
        code.extend_from_slice(&back.to_le_bytes());
    }
    code.extend_from_slice(end);
    assert!(code.len() < 4096 && CODE + 4096 <= SCRIPT);
    code
}
