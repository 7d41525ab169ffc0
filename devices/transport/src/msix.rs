//! The MSI-X table (PCI Local Bus Specification 3.0, 6.8.2): where interrupts go.

/// Bytes of an entry.
pub(crate) const ENTRY: u64 = 16;
/// `Mask Bit` of an entry's vector control; the other bits are reserved and stay 0.
const MASKED: u32 = 1;
/// Where interrupt messages go: the local APICs' window (Intel SDM 3A, 11.11.1; AMD's is the same).
const APIC_WINDOW: u64 = 0xfee0_0000;
const APIC_WINDOW_MASK: u64 = !0xf_ffff;

/// An interrupt message: to whom, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Inside the local APICs' window.
    pub address: u32,
    /// Vector and delivery mode.
    pub data: u32,
}

/// Address low, address high, data, control.
#[derive(Debug, Clone, Copy)]
struct Entry([u32; 4]);

/// The vectors of a function.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    entries: Vec<Entry>,
}

impl Table {
    /// Every vector masked, as after a reset: Linux would otherwise spend the boot masking them.
    pub(crate) fn new(vectors: u16) -> Self {
        Self { entries: vec![Entry([0, 0, 0, MASKED]); usize::from(vectors)] }
    }

    /// The double words of an access of 4 or 8 bytes, aligned to its width; no other is allowed
    /// (6.8.2). Those of an access beyond the table are not there.
    fn words(at: u64, len: usize) -> Option<impl Iterator<Item = (usize, usize)>> {
        if !matches!(len, 4 | 8) || !at.is_multiple_of(len as u64) {
            return None;
        }
        let entry = usize::try_from(at / ENTRY).ok()?;
        let first = usize::try_from(at % ENTRY / 4).ok()?;
        // Eight aligned bytes never reach into the next entry.
        Some((first..first + len / 4).map(move |word| (entry, word)))
    }

    /// Reads at offset `at` of the table; ones where nothing is, or the access is of no legal kind.
    pub(crate) fn read(&self, at: u64, data: &mut [u8]) {
        data.fill(0xff);
        let Some(words) = Self::words(at, data.len()) else { return };
        for ((entry, word), bytes) in words.zip(data.chunks_exact_mut(4)) {
            if let Some(value) = self.entries.get(entry).and_then(|entry| entry.0.get(word)) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// Writes at offset `at` of the table; nothing where nothing is.
    pub(crate) fn write(&mut self, at: u64, data: &[u8]) {
        let Some(words) = Self::words(at, data.len()) else { return };
        for ((entry, word), bytes) in words.zip(data.chunks_exact(4)) {
            let value = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            if let Some(slot) = self.entries.get_mut(entry).and_then(|entry| entry.0.get_mut(word))
            {
                *slot = if word == 3 { value & MASKED } else { value };
            }
        }
    }

    /// Reads at offset `at` of the pending bits, one for each vector in whole quad words: zeros,
    /// see the crate's documentation.
    pub(crate) fn read_pending(&self, at: u64, data: &mut [u8]) {
        let bytes = (self.entries.len() as u64).div_ceil(64) * 8;
        let len = data.len() as u64;
        let legal = matches!(len, 4 | 8) && at.is_multiple_of(len) && at + len <= bytes;
        data.fill(if legal { 0 } else { 0xff });
    }

    /// The message of a vector that is not masked and leads to a processor.
    ///
    /// An address outside the window is a write to memory on hardware. KVM would take it for an
    /// interrupt to whatever processor its bits happen to name, or refuse the whole table with
    /// every other device's routes in it; such a vector leads nowhere.
    pub(crate) fn message(&self, vector: u16) -> Option<Message> {
        let Entry([low, high, data, control]) = *self.entries.get(usize::from(vector))?;
        let address = u64::from(high) << 32 | u64::from(low);
        let leads = address & APIC_WINDOW_MASK == APIC_WINDOW && control & MASKED == 0;
        leads.then_some(Message { address: low, data })
    }
}
